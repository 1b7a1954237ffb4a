"""The cross entropy: standard training."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gradsculpt.objectives.base import DataTerm
from gradsculpt.objectives.passes import Passes
from gradsculpt.perturbations import State


@dataclass(frozen=True)
class CrossEntropy(DataTerm):
    """The cross entropy of the clean batch: standard training, the baseline of every table.

    In a sum it changes nothing: it is the data term of every objective that brings no other.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 5, "standard training".

    Example:
        >>> import torch
        >>> losses = CrossEntropy()(torch.nn.Flatten(), torch.zeros(2, 2, 1, 1), torch.tensor([0, 1]))
        >>> round(losses.loss.item(), 4)
        0.6931
    """

    name: ClassVar[str] = "cross_entropy"

    def logits(self, passes: Passes, state: State) -> tuple[Tensor, State]:
        """Return the logits of the clean batch."""
        return passes.clean.output, state

    def scaled(self, factor: float) -> "CrossEntropy":
        """Return the cross entropy as it is: there is no penalty to scale."""
        return self
