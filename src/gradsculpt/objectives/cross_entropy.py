"""The cross entropy: standard training."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from gradsculpt.gradients import Model
from gradsculpt.objectives.base import Losses, Objective


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """The cross entropy of the clean batch: standard training, the baseline of every table.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 5, "standard training".

    Example:
        >>> import torch
        >>> losses = CrossEntropy()(torch.nn.Flatten(), torch.zeros(2, 2, 1, 1), torch.tensor([0, 1]))
        >>> round(losses.loss.item(), 4)
        0.6931
    """

    def __call__(self, model: Model, x: Tensor, y: Tensor, attention: Tensor | None = None) -> Losses:
        """Return the mean cross entropy at x; attention is not used."""
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        return Losses(loss, logits, {"cross_entropy": loss})
