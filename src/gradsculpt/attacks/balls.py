"""How far an image may be moved: balls around it, whose radius may differ between entries."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Ball(ABC):
    """The perturbations delta for which the norm of delta / eps is at most 1.

    `eps` broadcasts over [N, C, H, W]; where it is 0, nothing may be moved.
    """

    @abstractmethod
    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Return the perturbation [N, C, H, W] of the ball that is nearest, in units of eps."""

    @abstractmethod
    def random(self, noise: torch.Generator, like: Tensor) -> Tensor:
        """Return a point of the unit ball at random, shaped like one image [C, H, W]."""

    @abstractmethod
    def entry(self, size: int) -> float:
        """Return the size of the entries of a unit vector whose `size` entries are equal in magnitude."""


@dataclass(frozen=True)
class Linf(Ball):
    """No entry moves by more than its eps.

    Example:
        >>> Linf().project(torch.tensor([[[[3.0, -1.0]]]]), torch.tensor(2.0))
        tensor([[[[ 2., -1.]]]])
    """

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Cut every entry off."""
        return torch.maximum(torch.minimum(delta, eps), -eps)

    def random(self, noise: torch.Generator, like: Tensor) -> Tensor:
        """Draw every entry uniformly."""
        return (2 * torch.rand(like.shape, generator=noise, dtype=torch.float32) - 1).to(like)

    def entry(self, size: int) -> float:
        """Return 1: every entry may reach its eps."""
        return 1.0


@dataclass(frozen=True)
class L2(Ball):
    """The Euclidean length of the perturbation of an image, in units of eps, is at most 1.

    Example:
        >>> L2().project(torch.tensor([[[[3.0, 4.0]]]]), torch.tensor(1.0))
        tensor([[[[0.6000, 0.8000]]]])
    """

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Shorten what is too long."""
        open_ = eps > 0
        inside = torch.where(open_, delta / torch.where(open_, eps, 1.0), 0.0)
        return eps * inside / length(inside).clamp(min=1.0)

    def random(self, noise: torch.Generator, like: Tensor) -> Tensor:
        """Draw a direction from a Gaussian, and the length so that the ball is filled evenly."""
        direction = torch.randn(like.shape, generator=noise, dtype=torch.float32)
        reach = torch.rand((), generator=noise, dtype=torch.float32) ** (1 / max(1, like.numel()))
        scaled: Tensor = direction * (reach / torch.linalg.vector_norm(direction))
        return scaled.to(like)

    def entry(self, size: int) -> float:
        """Return 1 / sqrt(size)."""
        return float(size**-0.5)


BALLS: dict[str, Ball] = {"linf": Linf(), "l2": L2()}


def length(t: Tensor) -> Tensor:
    """Return the Euclidean length of every image, [N, 1, 1, 1]."""
    found: Tensor = torch.linalg.vector_norm(t, dim=(1, 2, 3), keepdim=True)
    return found
