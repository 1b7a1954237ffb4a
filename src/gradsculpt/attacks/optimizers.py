"""Which way an attack goes from a gradient: directions whose entries have a root mean square of about 1."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

State = tuple[Tensor, ...]
"""What is remembered from step to step, one entry an image."""


class Optimizer(ABC):
    """Turns gradients [N, C, H, W], each scaled to a root mean square of 1, into directions of descent.

    Attributes:
        remembers: Whether a direction depends on earlier gradients.
    """

    remembers: ClassVar[bool]

    def start(self, like: Tensor) -> State:
        """Return what is remembered before the first step."""
        return ()

    @abstractmethod
    def direction(self, gradient: Tensor, state: State, step: int) -> tuple[Tensor, State]:
        """Return the direction to go, and what to remember; steps are counted from 0."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Mean gradient over the root of the mean squared gradient, each entry by itself.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.
    """

    decay: tuple[float, float] = (0.9, 0.999)
    floor: float = 1e-8
    remembers: ClassVar[bool] = True

    def start(self, like: Tensor) -> State:
        """Return two zeros."""
        return torch.zeros_like(like), torch.zeros_like(like)

    def direction(self, gradient: Tensor, state: State, step: int) -> tuple[Tensor, State]:
        """Return the direction and both means."""
        state = tuple(
            old.lerp(new, 1 - decay)
            for old, new, decay in zip(state, (gradient, gradient.square()), self.decay, strict=True)
        )
        mean, square = (value / (1 - decay ** (step + 1)) for value, decay in zip(state, self.decay, strict=True))
        return -mean / (square.sqrt() + self.floor), state


@dataclass(frozen=True)
class Sign(Optimizer):
    """The sign of the gradient: the steepest way in the l-infinity norm.

    Source: Madry et al., ICLR 2018 (PGD).
    """

    remembers: ClassVar[bool] = False

    def direction(self, gradient: Tensor, state: State, step: int) -> tuple[Tensor, State]:
        """Return the negative sign."""
        return -gradient.sign(), state


@dataclass(frozen=True)
class Normalized(Optimizer):
    """The gradient with unit root mean square: the steepest way in the L2 norm.

    Source: Madry et al., ICLR 2018 (PGD).
    """

    remembers: ClassVar[bool] = False

    def direction(self, gradient: Tensor, state: State, step: int) -> tuple[Tensor, State]:
        """Return the negative gradient."""
        return -gradient, state


OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "sign": Sign(), "gradient": Normalized()}


def scaled(gradient: Tensor) -> Tensor:
    """Scale the gradient of every image to a root mean square of 1; one that is zero or not finite becomes zero."""
    flat = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).flatten(1)
    peak = flat.abs().amax(dim=1, keepdim=True)  # first, as the squares of small entries would vanish
    flat = flat / torch.where(peak > 0, peak, 1.0)
    size = flat.square().mean(dim=1, keepdim=True).sqrt()
    return (flat / torch.where(size > 0, size, 1.0)).view_as(gradient)
