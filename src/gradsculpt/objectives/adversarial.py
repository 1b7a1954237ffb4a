"""Adversarial training with the conjugate of a penalty: the AdvGrad method."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt.gradients import undisturbed
from gradsculpt.objectives.base import DataTerm
from gradsculpt.objectives.passes import Passes
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations import OneStep, Perturbation


@dataclass(frozen=True)
class AdversarialTraining(DataTerm):
    """Cross entropy at x + delta, where delta nearly maximises L(x + delta) - h(delta).

    To first order this trains with L + h*(grad L): the input gradient is penalised without differentiating twice.
    A step costs the passes of the perturbation (two for `OneStep`) and one training step on x + delta.
    `0.5 * AdversarialTraining(penalty)` is `AdversarialTraining(0.5 * penalty)`.

    While delta is sought, running statistics, random state, mode and parameter gradients stay as they are; batch
    statistics are those of training, and a dropout mask is the same as in the training pass that follows.

    Args:
        penalty: h*, what the input gradients are to be small in.
        perturbation: How delta is found.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.2, Proposition 1; B.3.
    Deviation: the inner loss is summed over the batch, so delta does not depend on the batch size. h(delta) does not
        depend on the network, so it is left out of the reported loss. The released code updates running statistics in
        the inner pass too, and draws another dropout mask there.

    Example:
        >>> from gradsculpt.penalties import L1
        >>> objective = AdversarialTraining(L1(0.01))
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> losses = objective(model, torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 1]))
        >>> losses.loss.backward()
    """

    penalty: Penalty
    perturbation: Perturbation = field(default_factory=OneStep)
    name: ClassVar[str] = "adversarial_cross_entropy"

    def logits(self, passes: Passes) -> Tensor:
        """Return the logits at x + delta."""
        with undisturbed(passes.model):
            delta = self.perturbation(passes.loss_gradient, passes.x, self.penalty.given(passes.attention))
        with torch.no_grad():
            perturbed = passes.x + delta
        return passes.model(self.perturbation.watch(perturbed))

    def scaled(self, factor: float) -> "AdversarialTraining":
        """Return adversarial training with the penalty times a factor."""
        return self if factor == 1 else replace(self, penalty=factor * self.penalty)

    @property
    def replays(self) -> int:
        """How many steps in a row want the same batch."""
        return self.perturbation.replays
