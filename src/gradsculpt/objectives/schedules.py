"""Numbers of an objective that are only known during training: schedules, and sizes in pixel levels."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, TypeVar

from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.penalties import Size


@dataclass(frozen=True)
class Moment:
    """Where a training stands.

    Args:
        epoch: Epochs done, with fractions.
        step: Batches done since the start.
        space: That of the network's inputs; needed by sizes in pixel levels.

    Raises: ArgumentError if a number is negative.
    """

    epoch: float = 0.0
    step: int = 0
    space: InputSpace | None = None

    def __post_init__(self) -> None:
        checks.each_at_least(self, epoch=0, step=0)


class Setting(ABC):
    """A number of an objective that depends on the moment of the training; `Objective.at` puts its value in.

    Shape: a number, or a tensor that broadcasts over [N, C, H, W].
    Units: those of the number that it stands for; sizes of perturbations are in model units.
    """

    needs_space: ClassVar[bool] = False
    """Whether the moment has to name the space of the network's inputs."""

    @abstractmethod
    def at(self, moment: Moment) -> Size | tuple[Tensor, Tensor]:
        """Return the value at that moment."""

    def phase(self, moment: Moment) -> Hashable | None:
        """Return what is equal at two moments only if their values are; None, by default, if each has its own."""
        return None


Number = TypeVar("Number", bound=float | Tensor | tuple[Tensor, Tensor])
Weight = float | Setting
"""A number, or a schedule of one."""


@dataclass(frozen=True)
class Ramp(Setting):
    """A weight that goes from one value to another in a straight line, and stays there.

    Args:
        start, stop: Value until the epoch `begin`, and from the epoch `end` on.
        begin, end: Epochs done when the ramp begins and ends; fractions are allowed.

    Raises: ArgumentError if a value is negative, or the end comes before the beginning.
    Source: Goyal et al. 2017, section 2.2, for the gradual warm-up of a rate; here of any weight.

    Example:
        >>> Ramp(start=0.0, stop=0.5, begin=2, end=4).at(Moment(epoch=3.0))
        0.25
    """

    start: float
    stop: float
    begin: float
    end: float

    def __post_init__(self) -> None:
        checks.each_at_least(self, start=0, stop=0, begin=0, end=0)
        checks.at_least("end", self.end, self.begin)

    def phase(self, moment: Moment) -> Hashable | None:
        """Return the value before the ramp and after it, and None on it."""
        return None if self.begin <= moment.epoch < self.end else self.at(moment)

    def at(self, moment: Moment) -> float:
        """Return the value after that many epochs."""
        if not self.begin <= moment.epoch < self.end:
            return self.start if moment.epoch < self.begin else self.stop
        share = (moment.epoch - self.begin) / (self.end - self.begin)
        return self.start + share * (self.stop - self.start)


def warmup(epochs: float, value: float = 1.0) -> Ramp:
    """Return a weight that grows from 0 to `value` over the first epochs: `warmup(5) * objective`."""
    return Ramp(0.0, value, 0.0, epochs)


class _Constant(Setting):
    """What the space of the network's inputs decides, once."""

    needs_space: ClassVar[bool] = True

    def phase(self, moment: Moment) -> Hashable:
        """Return one phase for all moments."""
        return True


@dataclass(frozen=True)
class Pixels(_Constant):
    """A size in 8-bit pixel levels, 255 from black to white, whatever the network's input space makes of it.

    Raises: ArgumentError if the size is negative; in use, if the moment names no space.
    Source: Joo et al., AAAI 2023 (local gradient alignment), experiments: eps is given in levels.

    Example:
        >>> round(Pixels(51).at(Moment(space=InputSpace(mean=(0.5,), std=(0.25,)))).item(), 4)
        0.8
    """

    levels: float

    def __post_init__(self) -> None:
        checks.each_at_least(self, levels=0)

    def at(self, moment: Moment) -> Size:
        """Return the size in model units, one for each channel, [1, C, 1, 1]."""
        return _pixels(_space_for(self, moment, "pass space.pixels(levels / 255) instead"), self.levels / 255)


@dataclass(frozen=True)
class PixelBounds(_Constant):
    """From black to white, whatever the network's input space makes of them: `bounds=PixelBounds()`.

    Raises: ArgumentError in use, if the moment names no space.
    Source: Madry et al., ICLR 2018, section 2: perturbed images stay images.
    """

    def at(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Return the bounds in model units, one for each channel, [1, C, 1, 1]."""
        return _bounds(_space_for(self, moment, "pass bounds=space.bounds"))


@cache
def _pixels(space: InputSpace, eps: float) -> Tensor:
    return space.pixels(eps)  # one tensor for all steps, as it is brought to the device of the images once


@cache
def _bounds(space: InputSpace) -> tuple[Tensor, Tensor]:
    return space.bounds


def _space_for(setting: Setting, moment: Moment, instead: str) -> InputSpace:
    if moment.space is None:
        raise ArgumentError(
            f"{setting!r} is in pixel levels, and the space of the network's inputs is not known. "
            f"Evaluate objective.at(Moment(space=...)), or {instead}."
        )
    return moment.space


def check_weights(objective: object, *names: str) -> None:
    """Raise `ArgumentError` if one of these weights or sizes is negative; a setting has checked its own values."""
    checks.each_at_least(objective, **{n: 0.0 for n in names if not isinstance(getattr(objective, n), Setting)})


def resolved(value: Number | Setting) -> Number:
    """Return a number that is one already; raise `ArgumentError` if it is still a setting."""
    if isinstance(value, Setting):
        raise ArgumentError(
            f"{value!r} changes during training, and the moment is not known. "
            "Call objective.at(Moment(epoch, step, space)) and use what it returns."
        )
    return value
