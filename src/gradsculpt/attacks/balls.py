"""How far an image may be moved: balls around it, whose radius may differ between entries, and the bounds of images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import Bounds
from gradsculpt.numerics import divided, length, unit

_TOLERANCE = 1e-4  # of the range that the bounds leave


@dataclass(frozen=True)
class Linf:
    """No entry moves by more than its eps."""

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Return the nearest perturbation [N, C, H, W] within eps: every entry is cut off."""
        return delta.clamp(-eps, eps)

    def random(self, noise: torch.Generator, like: Tensor) -> Tensor:
        """Return a point of the unit ball, shaped like one image [C, H, W]: every entry is drawn uniformly."""
        return (2 * torch.rand(like.shape, generator=noise, dtype=torch.float32) - 1).to(like)

    def entry(self, size: int) -> float:
        """Return the size of the entries of a unit vector whose `size` entries are equal: 1, as each may reach eps."""
        return 1.0


@dataclass(frozen=True)
class L2:
    """The Euclidean length of the perturbation of an image, in units of eps, is at most 1.

    Example:
        >>> L2().project(torch.tensor([[[[3.0, 4.0]]]]), torch.tensor(1.0))
        tensor([[[[0.6000, 0.8000]]]])
    """

    def project(self, delta: Tensor, eps: Tensor) -> Tensor:
        """Shorten what is too long."""
        inside = divided(delta, eps)
        return eps * inside / length(inside, keepdim=True).clamp(min=1.0)

    def random(self, noise: torch.Generator, like: Tensor) -> Tensor:
        """Draw a direction from a Gaussian, and the length so that the ball is filled evenly."""
        direction = self.direction(noise, like)
        radius = torch.rand((), generator=noise, dtype=torch.float32) ** (1 / max(1, like.numel()))
        return (radius * direction).to(like)

    def direction(self, noise: torch.Generator, like: Tensor) -> Tensor:
        """Return a vector of length 1 at random, shaped like one image."""
        return unit(torch.randn(1, *like.shape, generator=noise, dtype=torch.float32))[0]

    def entry(self, size: int) -> float:
        """Return 1 / sqrt(size)."""
        return float(size**-0.5)


Ball = Linf | L2
"""The perturbations delta for which the norm of delta / eps is at most 1; where eps is 0, nothing may be moved."""

BALLS: dict[str, Ball] = {"linf": Linf(), "l2": L2()}


@dataclass(frozen=True)
class FeasibleSet:
    """Where the images of a batch may go: within eps of x in a ball, and within the bounds; all are shaped like x.

    Use `around` to make one.
    """

    ball: Ball
    x: Tensor
    eps: Tensor
    bounds: tuple[Tensor, Tensor] | None = None

    @classmethod
    def around(cls, x: Tensor, ball: Ball, eps: float | Tensor, bounds: Bounds | None) -> "FeasibleSet":
        """Return what may become of images; raise `ArgumentError` if eps or bounds do not fit or these lie outside."""
        eps = checks.broadcast("eps", eps, x)
        if bounds is None:
            return cls(ball, x, eps)
        low, high = (checks.broadcast("bounds", edge, x) for edge in bounds)
        slack = _TOLERANCE * (high - low)
        if bool(((x < low - slack) | (x > high + slack)).any()):
            raise ArgumentError(
                f"x has values from {float(x.min()):g} to {float(x.max()):g}, outside the bounds, so an attack within "
                "them could not start from it; pass the bounds of what the model takes (InputSpace.bounds), or None."
            )
        # A clean image may lie outside by rounding.
        return cls(ball, x, eps, (torch.minimum(low, x), torch.maximum(high, x)))

    def nearest(self, delta: Tensor) -> Tensor:
        """Return the nearest perturbation within both: cutting at the bounds never leads out of the ball."""
        delta = self.ball.project(delta, self.eps)
        return delta if self.bounds is None else (self.x + delta).clamp(*self.bounds) - self.x

    def of(self, rows: Tensor) -> "FeasibleSet":
        """Return the feasible set of some of the images."""
        bounds = None if self.bounds is None else (self.bounds[0][rows], self.bounds[1][rows])
        return FeasibleSet(self.ball, self.x[rows], self.eps[rows], bounds)
