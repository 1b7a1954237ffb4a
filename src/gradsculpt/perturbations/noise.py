"""Gaussian noise, the control of adversarial training."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Generator, Tensor

from gradsculpt import checks
from gradsculpt.penalties import Penalty, Size
from gradsculpt.penalties.base import matching
from gradsculpt.perturbations.base import LossGradient, Perturbation, State


@dataclass(frozen=True)
class Noise(Perturbation):
    """Gaussian noise that looks neither at the loss nor at the penalty: delta ~ N(0, sigma^2).

    Costs no pass. `AdversarialTraining(perturbation=Noise(0.1))` needs no penalty and ignores one;
    `0.5 * AdversarialTraining(perturbation=Noise(0.1))` halves sigma, as it halves the step of `OneStep`.

    Args:
        sigma: Standard deviation; a tensor gives every channel or entry its own. Units: model input.

    Raises: ArgumentError if sigma is negative or not finite.
    Source: Gong et al., CVPR 2024 (AdvGrad), C.2.1; the standard deviation is not given there.
    """

    sigma: Size
    needs_penalty: ClassVar[bool] = False
    needs_randomness: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.at_least("sigma", self.sigma, 0.0)

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return fresh noise shaped like x."""
        noise = torch.empty_like(x, requires_grad=False).normal_(generator=generator)
        return noise * matching(self.sigma, x), state

    def scaled(self, factor: float) -> "Noise":
        """Return noise with the standard deviation times a factor."""
        return replace(self, sigma=factor * self.sigma)
