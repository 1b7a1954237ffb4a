"""Which way an attack goes from a gradient: directions whose entries have a root mean square of about 1."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt.numerics import unit

Memory = tuple[Tensor, ...]
"""What is remembered from step to step, one entry an image."""


class Optimizer(ABC):
    """Turns gradients [N, C, H, W], each scaled to a root mean square of 1, into directions of descent.

    Attributes:
        remembers: Whether a direction depends on earlier gradients.
    """

    remembers: ClassVar[bool] = False

    def start(self, like: Tensor) -> Memory:
        """Return what is remembered before the first step."""
        return ()

    @abstractmethod
    def direction(self, gradient: Tensor, memory: Memory, step: int) -> tuple[Tensor, Memory]:
        """Return the direction to go, and what to remember; steps are counted from 0."""


@dataclass(frozen=True)
class Adam(Optimizer):
    """Mean gradient over the root of the mean squared gradient, each entry by itself.

    Source: Kingma and Ba, ICLR 2015, algorithm 1.
    """

    decay: tuple[float, float] = (0.9, 0.999)
    floor: float = 1e-8
    remembers: ClassVar[bool] = True

    def start(self, like: Tensor) -> Memory:
        """Return two zeros."""
        return torch.zeros_like(like), torch.zeros_like(like)

    def direction(self, gradient: Tensor, memory: Memory, step: int) -> tuple[Tensor, Memory]:
        """Return the direction and both means."""
        memory = tuple(
            old.lerp(new, 1 - decay)
            for old, new, decay in zip(memory, (gradient, gradient.square()), self.decay, strict=True)
        )
        mean, square = (value / (1 - decay ** (step + 1)) for value, decay in zip(memory, self.decay, strict=True))
        return -mean / (square.sqrt() + self.floor), memory


@dataclass(frozen=True)
class Steepest(Optimizer):
    """The steepest way down in a norm.

    Args:
        ascent: The way up from a gradient: its sign in the l-infinity norm, itself in L2.

    Source: Madry et al., ICLR 2018 (PGD).
    """

    ascent: Callable[[Tensor], Tensor]

    def direction(self, gradient: Tensor, memory: Memory, step: int) -> tuple[Tensor, Memory]:
        """Return the opposite of the way up."""
        return -self.ascent(gradient), memory


OPTIMIZERS: dict[str, Optimizer] = {"adam": Adam(), "sign": Steepest(torch.sign), "gradient": Steepest(lambda g: g)}


def scaled(gradient: Tensor) -> Tensor:
    """Scale the gradient of every image to a root mean square of 1; one that is zero or not finite becomes zero."""
    entries: float = gradient[0].numel() ** 0.5
    return unit(gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)) * entries
