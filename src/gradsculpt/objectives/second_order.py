"""Regularisers that differentiate twice: what they have in common, the gradient penalty and the Hessian norm."""

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import dot
from gradsculpt.objectives.base import Objective, Regulariser, Scaled
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Moment, Weight, check_weights, resolved
from gradsculpt.penalties import Penalty


@dataclass(frozen=True, kw_only=True)
class SecondOrder(Regulariser):
    """A regulariser whose gradient takes a second differentiation, with two ways of paying less for it.

    To write one, derive a frozen dataclass, name its terms, and give it `terms_of`; `GradientPenalty` is an example.

    Args:
        every: Compute it at every so many steps only, with so many times the weight.
        share: Compute it on this share of each batch only.

    Raises: ArgumentError if it is to be computed at some steps only, and the step is not known.
    """

    every: int = 1
    share: float = 1.0

    def __post_init__(self) -> None:
        checks.each_at_least(self, every=1)
        checks.share("share", self.share)

    def phase(self, moment: Moment) -> Hashable | None:
        """Return the phase of the settings, and whether the step is one of those at which it counts."""
        settings = super().phase(moment)
        return None if settings is None else (moment.step % self.every == 0, settings)

    def at(self, moment: Moment) -> Objective:
        """Return the regulariser with its settings resolved; between its steps, it counts nothing."""
        if self.every == 1:
            return super().at(moment)
        return Scaled(replace(self, every=1).at(moment), self.every if moment.step % self.every == 0 else 0.0)

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted terms of the share of the batch."""
        if self.every > 1:
            raise ArgumentError(
                f"{type(self).__name__} counts at every {self.every} steps, and the step is not known. "
                "Call objective.at(Moment(epoch, step)) and use what it returns."
            )
        count = max(1, round(self.share * len(passes.x)))
        return self.terms_of(passes if self.share == 1 else passes.first(count))

    @abstractmethod
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted terms, averaged over the images of these passes."""


@dataclass(frozen=True)
class GradientPenalty(SecondOrder):
    """h* of the input gradient of the loss: what adversarial training stands for to first order, taken literally.

    The penalty is that of each image's own loss gradient, averaged over the batch. A step costs about twice
    what cross entropy costs. The arguments beside the penalty h* are those of `SecondOrder`.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 5.2 and Figure 4, the "penalty" protocol.

    Example:
        >>> import torch
        >>> from gradsculpt.penalties import L1
        >>> losses = GradientPenalty(L1(0.5))(torch.nn.Flatten(), torch.zeros(1, 2, 1, 1), torch.tensor([0]))
        >>> losses.terms["gradient_penalty"].item()
        0.5
    """

    penalty: Penalty
    names: ClassVar[tuple[str, ...]] = ("gradient_penalty",)

    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the mean penalty of the loss gradients."""
        gradient = passes.clean.gradient(passes.losses(passes.clean.output), create_graph=True)
        return {"gradient_penalty": self.penalty.given(passes.attention).value(gradient).mean()}


@dataclass(frozen=True)
class HessianNorm(SecondOrder):
    """weight |H|_F^2, with H the Hessian of the true class's logit in the input: flat networks have steady gradients.

    The squared Frobenius norm is the mean of |H v|^2 over standard normal v; one v is drawn for each image and step.

    Args:
        weight: Weight of the squared norm; the other arguments are those of `SecondOrder`.

    Source: Joo et al., AAAI 2023 (local gradient alignment), Table 1 ("Hessian"); Hutchinson 1990 for the estimate.

    Example:
        >>> import torch
        >>> def model(x): return x.flatten(1).sigmoid()  # whose point of inflection is at 0
        >>> HessianNorm(0.1)(model, torch.zeros(1, 2, 1, 1), torch.tensor([0])).terms["hessian_norm"].item()
        0.0
    """

    weight: Weight
    names: ClassVar[tuple[str, ...]] = ("hessian_norm",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, "weight")

    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted estimate."""
        product = passes.clean.hessian_product(passes.logit_gradient(passes.clean), passes.gaussian())
        return {"hessian_norm": resolved(self.weight) * dot(product, product).mean()}
