"""Steps along gradients that remember the ones before."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from gradsculpt import checks
from gradsculpt.numerics import per_sample, spread
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations.base import LossGradient, Perturbation, State


@dataclass(frozen=True)
class Momentum(Perturbation):
    """Momentum iterative gradient steps: delta grows by dual(momentum) / steps, `steps` times.

    The momentum is a running sum of gradients, each divided by its L1 norm, so that the direction is that of no
    single step. Costs `steps` forward and backward passes. For `L1` it is MI-FGSM; one step is `OneStep`, and so are
    many on a loss that is linear.

    For penalties whose dual depends on the size of its argument, the momentum is brought back to the size of a
    gradient: its weights are made to sum to 1, and it is multiplied by the mean of the gradients' L1 norms with the
    same weights. The result is a mean of points `dual(...)`, each of which maximises <momentum, delta> - h(delta), so
    it is inside the domain of h, which is convex, without a projection: a conditional-gradient method.

    Args:
        steps: Number of steps, and of gradients.
        decay: What the momentum of a step is multiplied by for the next; 0 forgets it.

    Raises: ArgumentError if there is not at least one step, or the decay is negative.
    Source: Dong et al., CVPR 2018 (MI-FGSM), equations 6 and 7, algorithm 1, with its 10 steps and decay 1; trained
        with in Gong et al., CVPR 2024 (AdvGrad), C.2.3, which gives no settings.
    Deviation: a sample whose gradient is 0 keeps its momentum instead of dividing by 0.
    """

    steps: int = 10
    decay: float = 1.0

    def __post_init__(self) -> None:
        checks.at_least("steps", self.steps, 1)
        checks.at_least("decay", self.decay, 0.0)

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return the sum of the steps."""
        delta = direction = torch.zeros_like(x, requires_grad=False)
        size, weight = torch.zeros_like(direction[:, :1, :1, :1]), 0.0
        for number in range(self.steps):
            gradient = loss_gradient(x.detach() + delta if number else x)[1]
            norm = spread(per_sample(gradient.abs()), gradient)
            direction = self.decay * direction + gradient / torch.where(norm > 0, norm, 1.0)
            size, weight = self.decay * size + norm, self.decay * weight + 1
            delta = delta + penalty.dual(direction * (size / weight**2)) / self.steps
        return delta, state
