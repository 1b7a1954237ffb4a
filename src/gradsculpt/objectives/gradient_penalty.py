"""The penalty itself in the loss, by differentiating twice."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.second_order import SecondOrder
from gradsculpt.penalties import Penalty


@dataclass(frozen=True)
class GradientPenalty(SecondOrder):
    """h* of the input gradient of the loss: what adversarial training stands for to first order, taken literally.

    The penalty is that of each image's own loss gradient, averaged over the batch. A step costs about twice
    what cross entropy costs.

    Args:
        penalty: h*.
        every: Compute it at every so many steps only, with so many times the weight.
        share: Compute it on this share of each batch only.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 5.2 and Figure 4, the "penalty" protocol.

    Example:
        >>> import torch
        >>> from gradsculpt.penalties import L1
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> losses = GradientPenalty(L1(0.01))(model, torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 1]))
        >>> list(losses.terms)
        ['cross_entropy', 'gradient_penalty']
    """

    penalty: Penalty
    names: ClassVar[tuple[str, ...]] = ("gradient_penalty",)

    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the mean penalty of the loss gradients."""
        gradient = passes.clean.gradient(passes.losses(passes.clean.output), create_graph=True)
        return {"gradient_penalty": self.penalty.given(passes.attention).value(gradient).mean()}
