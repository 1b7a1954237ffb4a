"""What attack a visitor asks for, and what its size means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from gradsculpt.cli.parts import attack_of, family, names, settings_of
from gradsculpt.cli.sized import LEVELS, sized
from gradsculpt.cli.sources import summary
from gradsculpt.errors import ArgumentError
from gradsculpt.viewer.stages import whole_steps
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from gradsculpt.attacks import Attack
    from gradsculpt.cli.opened import NamedNetwork


@dataclass(frozen=True)
class AttackSettings:
    """What is asked for.

    Args:
        attack: One of `attacks`.
        eps: How far the picture may be moved, in 8-bit levels, from 0 to 255: every colour value, or the root mean
            square over all of them where the attack is in L2.
        method: The attribution whose map is attacked, by one of the names of `gradsculpt list`.
        steps: Steps of the attack; those that take none have none.
        target: The class whose map is attacked, by name; None for the one that each network predicts.

    Raises: ArgumentError if there is no such attack or attribution, or a number is out of range.
    """

    attack: str = "targeted"
    eps: float = 4.0
    method: str = "gradient"
    steps: float = 30
    target: str | None = None
    most_steps: int = field(default=256, repr=False)

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("attack", self.attack, list(attacks())),
            ("attribution", self.method, list(names(family("Attribution")))),
        ):
            if name not in known:
                raise ArgumentError(f"there is no {kind} {printable(str(name))}; choose one of {', '.join(known)}.")
        if isinstance(self.eps, bool) or not isinstance(self.eps, int | float) or not 0 <= self.eps <= LEVELS:
            raise ArgumentError(f"the size {self.eps} is out of range; choose one from 0 to {LEVELS}, in 8-bit levels.")
        whole_steps(self.steps, self.most_steps)

    def of(self, network: NamedNetwork) -> Attack:
        """Return the attack for a network: its size in the network's own units."""
        takes = "steps" in settings_of(names(family("Attack"))[self.attack])
        steps = int(self.steps) if takes else None
        attack = attack_of(self.attack, steps=steps, bounds=network.bounds)
        entries = len(network.classifier.space.mean) * network.classifier.image_size**2
        return sized(attack, self.eps, network.classifier, entries)


def attacks() -> dict[str, str]:
    """Return what `gradsculpt list` has of attacks: a line on each, by its name."""
    return {name: summary(cls) for name, cls in names(family("Attack")).items()}


def in_words_of(attack: Attack, eps: float) -> str:
    """Return in words how far an attack may move a picture, the size in 8-bit levels."""
    if _is_mean(attack):
        return f"the root mean square of the change of all colour values is at most {eps:g} of {LEVELS} levels"
    return f"no colour value may move by more than {eps:g} of {LEVELS} levels"


def unit_of(name: str) -> str:
    """Return in words what the size of an attack means, by its name.

    Example:
        >>> unit_of("targeted")
        'In levels of 255: no colour value moves further.'
    """
    attack = attack_of(name, steps=None, bounds=(torch.zeros(1), torch.ones(1)))
    whole = "the root mean square over all colour values is no larger"
    return f"In levels of {LEVELS}: {whole if _is_mean(attack) else 'no colour value moves further'}."


def _is_mean(attack: Attack) -> bool:
    """Whether the size of an attack is a root mean square, as `sized` has it."""
    return getattr(attack, "norm", None) == "l2" or getattr(attack, "kind", None) == "gaussian"
