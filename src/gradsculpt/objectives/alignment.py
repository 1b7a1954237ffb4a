"""Local gradient alignment: neighbouring images should have the same gradient."""

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from torch import Tensor

from gradsculpt.kernels import compared
from gradsculpt.numerics import unit
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Setting, Weight, check_weights, resolved
from gradsculpt.objectives.second_order import SecondOrder
from gradsculpt.penalties.base import Size, matching

Drawn = Literal["uniform", "gaussian", "gradient", "gradient_sign"]


@dataclass(frozen=True)
class LocalGradientAlignment(SecondOrder):
    """l2 |g(x) - g(x + delta)|^2 + cosine (1 - cos(g(x), g(x + delta))) / 2, with g the true logit's gradient.

    One random neighbour is drawn for each image and step. The l2 criterion keeps gradients near each other, the cosine
    criterion their directions, whatever the scale of the network.

    Args:
        l2: Weight of the squared distance.
        cosine: Weight of the cosine distance, which lies in [0, 1].
        eps: Size of the neighbourhood, in model units or as `Pixels`: half-width of the uniform noise,
            standard deviation of the Gaussian; along the gradient, the L2 length of the step.
        noise: How the neighbour is drawn: uniform, gaussian, or by a step along the gradient or its sign.
        detach_source: Treat g(x) as a constant, which spares differentiating through it.
        squared: Whether the l2 term is squared; the other arguments are those of `SecondOrder`.

    Raises: ArgumentError if a number is out of range or the noise unknown.
    Source: Joo et al., AAAI 2023 (local gradient alignment), equations 3 to 5.
    Deviation: equation 5 prints the distance without its square, as `squared=False` has it; the released code, to
        which the published weights belong, squares it. Running statistics are updated by the pass at x alone; the
        released code updates them at both.

    Example:
        >>> import torch
        >>> objective = LocalGradientAlignment(l2=0.01, cosine=1.0, eps=0.1)
        >>> list(objective(torch.nn.Flatten(), torch.zeros(1, 2, 1, 1), torch.tensor([0])).terms)
        ['cross_entropy', 'l2_alignment', 'cosine_alignment']
    """

    l2: Weight
    cosine: Weight
    eps: Size | Setting
    noise: Drawn = "uniform"
    detach_source: bool = True
    squared: bool = True
    names: ClassVar[tuple[str, ...]] = ("l2_alignment", "cosine_alignment")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, "l2", "cosine", "eps")

    @property
    def differentiates_clean(self) -> bool:
        """Only a gradient at x that is not detached is propagated back through the pass there."""
        return not self.detach_source and self.share == 1

    def read(self, passes: Passes) -> None:
        """Read the gradient at x."""
        if self.share == 1:
            _ = passes.clean_logit_gradient

    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted criteria."""
        source = passes.clean_logit_gradient if self.detach_source else passes.logit_gradient(passes.clean)
        other = passes.logit_gradient(passes.record(passes.x + self._delta(passes, source.detach()), order=2))
        distance, cosine = compared(source, other, squared=self.squared)
        return {
            "l2_alignment": resolved(self.l2) * distance.mean(),
            "cosine_alignment": resolved(self.cosine) * ((1 - cosine) / 2).mean(),
        }

    def _delta(self, passes: Passes, source: Tensor) -> Tensor:
        eps = matching(cast(Size, resolved(self.eps)), source)
        if self.noise in ("uniform", "gaussian"):
            return eps * (passes.uniform() if self.noise == "uniform" else passes.gaussian())
        return eps * unit(source if self.noise == "gradient" else source.sign())
