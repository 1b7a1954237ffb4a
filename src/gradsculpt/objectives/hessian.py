"""The curvature of a logit, estimated from products with random vectors."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gradsculpt.numerics import per_sample
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Weight, check_weight, resolved
from gradsculpt.objectives.second_order import SecondOrder


@dataclass(frozen=True)
class HessianNorm(SecondOrder):
    """weight |H|_F^2, with H the Hessian of the true class's logit in the input: flat networks have steady gradients.

    The squared Frobenius norm is the mean of |H v|^2 over standard normal v; one v is drawn for each image and step.

    Args:
        weight: Weight of the squared norm.
        every: Compute it at every so many steps only, with so many times the weight.
        share: Compute it on this share of each batch only.

    Raises:
        ArgumentError: If the weight is negative.

    Source: Joo et al., AAAI 2023 (local gradient alignment), Table 1 ("Hessian"); Hutchinson 1990 for the estimate.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2), torch.nn.Softplus())
        >>> losses = HessianNorm(0.1)(model, torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 1]))
        >>> list(losses.terms)
        ['cross_entropy', 'hessian_norm']
    """

    weight: Weight
    names: ClassVar[tuple[str, ...]] = ("hessian_norm",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight("weight", self.weight)

    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted estimate."""
        gradient = passes.clean.gradient(passes.logit(passes.clean.output), create_graph=True)
        product = passes.clean.hessian_product(gradient, passes.gaussian())
        return {"hessian_norm": resolved(self.weight) * per_sample(product.square()).mean()}
