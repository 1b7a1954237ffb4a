"""Perturbations without a search: one step, a fixed number of steps that are added up, and noise as the control."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Generator, Tensor

from gradsculpt import checks
from gradsculpt.numerics import per_sample, spread, wide
from gradsculpt.penalties import Penalty, Size
from gradsculpt.penalties.base import matching
from gradsculpt.perturbations.base import LossGradient, Perturbation, State, moved
from gradsculpt.randomness import normal_like


@dataclass(frozen=True)
class OneStep(Perturbation):
    """One gradient, one step: delta = dual(grad L), which maximises <delta, grad L> - h(delta).

    Costs one forward and one backward pass. For `L1` it is FGSM without a random start.

    Source: Gong et al., CVPR 2024 (AdvGrad), Proposition 1 and B.3 ("fast").
    """

    one_gradient: ClassVar[bool] = True

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return `penalty.dual` of the loss gradient at x."""
        return penalty.dual(loss_gradient(x)[1]), state


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

    Raises: ArgumentError if there is no step, or the decay is negative.
    Source: Dong et al., CVPR 2018 (MI-FGSM), equations 6 and 7, algorithm 1, with its 10 steps and decay 1; trained
        with in Gong et al., CVPR 2024 (AdvGrad), C.2.3, which gives no settings.
    Deviation: a sample whose gradient is 0 keeps its momentum instead of dividing by 0.
    """

    steps: int = 10
    decay: float = 1.0

    def __post_init__(self) -> None:
        checks.each_at_least(self, steps=1, decay=0)

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return the sum of the steps."""
        delta = direction = torch.zeros_like(wide(x), requires_grad=False)
        size, weight = torch.zeros_like(direction[:, :1, :1, :1]), 0.0
        for number in range(self.steps):
            gradient = wide(loss_gradient(moved(x, delta) if number else x)[1])
            norm = spread(per_sample(gradient.abs()), gradient)
            direction = self.decay * direction + gradient / torch.where(norm > 0, norm, 1.0)
            size, weight = self.decay * size + norm, self.decay * weight + 1
            delta = delta + penalty.dual(direction * (size / weight**2)) / self.steps
        return delta.to(x.dtype), state


@dataclass(frozen=True)
class Noise(Perturbation):
    """Gaussian noise that looks neither at the loss nor at the penalty: delta ~ N(0, sigma^2).

    Costs no pass. `AdversarialTraining(perturbation=Noise(0.1))` needs no penalty and ignores one.

    Args:
        sigma: Standard deviation; a tensor gives every channel or entry its own. Units: model input.

    Raises: ArgumentError if the deviation is negative.
    Source: Gong et al., CVPR 2024 (AdvGrad), C.2.1; the standard deviation is not given there.
    """

    sigma: Size
    needs_penalty: ClassVar[bool] = False
    needs_randomness: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.each_at_least(self, sigma=0)

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return fresh noise shaped like x."""
        return normal_like(x, generator) * matching(self.sigma, x), state

    def scaled(self, factor: float) -> "Noise":
        """Return noise with the standard deviation times a factor."""
        return replace(self, sigma=factor * self.sigma)
