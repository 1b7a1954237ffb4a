"""Adversarial training with the conjugate of a penalty: the AdvGrad method."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.gradients import Model, differentiable, input_gradient, undisturbed
from gradsculpt.objectives.base import Losses, Objective
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations import OneStep, Perturbation


@dataclass(frozen=True)
class AdversarialTraining(Objective):
    """Cross entropy at x + delta, where delta nearly maximises L(x + delta) - h(delta).

    To first order this trains with L + h*(grad L): the input gradient is penalised without differentiating twice.
    A step costs the passes of the perturbation (two for `OneStep`) and one training step on x + delta.

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

    def __call__(self, model: Model, x: Tensor, y: Tensor, attention: Tensor | None = None) -> Losses:
        """Return the mean cross entropy at x + delta, and the logits there."""
        checks.images("x", x)

        def losses(inputs: Tensor) -> Tensor:
            return F.cross_entropy(model(inputs), differentiable(y), reduction="none")

        def loss_gradient(inputs: Tensor) -> tuple[Tensor, Tensor]:
            return input_gradient(losses, inputs)

        with undisturbed(model):
            delta = self.perturbation(loss_gradient, x, self.penalty.given(attention))
        with torch.no_grad():
            perturbed = x + delta
        logits = model(perturbed)
        loss = F.cross_entropy(logits, y)
        return Losses(loss, logits, {"adversarial_cross_entropy": loss})
