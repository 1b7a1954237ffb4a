"""The cross entropy, and a reward for uncertain predictions: confident networks have uneven gradients."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gradsculpt.objectives.base import DataTerm, Regulariser
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Weight, check_weights, resolved
from gradsculpt.outputs import two_sided
from gradsculpt.perturbations import State


@dataclass(frozen=True)
class CrossEntropy(DataTerm):
    """The cross entropy of the clean batch: standard training, the baseline of every table.

    In a sum it changes nothing: it is the data term of every objective that brings no other.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 5, "standard training".

    Example:
        >>> import torch
        >>> round(CrossEntropy()(torch.nn.Flatten(), torch.zeros(1, 2, 1, 1), torch.tensor([0])).loss.item(), 4)
        0.6931
    """

    name: ClassVar[str] = "cross_entropy"

    def logits(self, passes: Passes, state: State) -> tuple[Tensor, State]:
        """Return the logits of the clean batch."""
        return passes.clean.output, state

    def scaled(self, factor: float) -> "CrossEntropy":
        """Return the cross entropy as it is: there is no penalty to scale."""
        return self


@dataclass(frozen=True)
class MaxEntropy(Regulariser):
    """Minus weight times the entropy of the predicted probabilities, which keeps a network from being too sure.

    Costs nothing beside cross entropy: the pass at x is shared. The term is at most 0, and at least -weight log(K).

    Args:
        weight: Weight of the entropy, in nats.

    Source: Pereyra et al. 2017, equation 1; Joo et al., AAAI 2023 (local gradient alignment), Figure 1 ("MaxEnt").

    Example:
        >>> import torch
        >>> MaxEntropy(1.0)(torch.nn.Flatten(), torch.zeros(1, 2, 1, 1), torch.tensor([0])).terms["negative_entropy"]
        tensor(-0.6931)
    """

    weight: Weight
    names: ClassVar[tuple[str, ...]] = ("negative_entropy",)
    reads_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_weights(self, "weight")

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted negative entropy."""
        log_probabilities = two_sided(passes.clean.output).log_softmax(dim=1)
        negative_entropy = (log_probabilities.exp() * log_probabilities).sum(dim=1).mean()
        return {"negative_entropy": resolved(self.weight) * negative_entropy}
