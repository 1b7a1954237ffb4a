"""Losses of images whose gradients are known by formula."""

from torch import Generator, Tensor

from gradsculpt.penalties import Penalty
from gradsculpt.perturbations import LossGradient, Perturbation
from tests.penalties.laws import dot


class Linear:
    """The loss <slope, x> of each sample, and its gradient; keeps what it was asked."""

    def __init__(self, slope: Tensor) -> None:
        self.slope = slope
        self.asked: list[Tensor] = []

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(x)
        return dot(self.slope, x), self.slope.clone()


class Curved(Linear):
    """The loss sum(slope x + curvature sin(2 x)): neither convex nor concave, each entry by itself."""

    def __init__(self, slope: Tensor, curvature: float = 0.5) -> None:
        super().__init__(slope)
        self.curvature = curvature

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(x)
        values = (self.slope * x + self.curvature * (2 * x).sin()).flatten(1).sum(dim=1)
        return values.detach(), (self.slope + 2 * self.curvature * (2 * x).cos()).detach()


def sought(
    solver: Perturbation, loss: LossGradient, x: Tensor, penalty: Penalty, *, generator: Generator | None = None
) -> Tensor:
    """The perturbation that a solver finds at the first step of a training."""
    return solver.step(solver.initial_state(), loss, x, penalty, generator=generator)[0]


def gain(loss: Linear, penalty: Penalty, x: Tensor, delta: Tensor) -> Tensor:
    """The objective of the inner problem: loss at x + delta, less the cost of delta."""
    return loss(x + delta)[0] - penalty.conjugate(delta)
