"""Penalties that follow a human's attention."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.devices import at_hand, placed
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import in_range, per_sample, unit, wide
from gradsculpt.penalties.base import Penalty, Size, stride


@dataclass(frozen=True)
class Harmonization(Penalty):
    """The squared L2 norm weight * sum of A~ g^2, which weighs a pixel more the less attention it got.

    The attention map A of each image is bound with `given(attention)`; objectives do so for every batch.
    With `positive=True`, A~ = max(A) - A + sigma, and h* is the convex penalty of Proposition 4. By default
    A~ = max(A) / 2 - A, whose negative entries reward gradients where a human looked: h* is then indefinite and has no
    convex conjugate, and `dual` is the step of the paper's experiments, 2 weight A~ g / |g|_2. Maxima are per image.
    That step lowers the loss where a human looked: a large weight teaches the network to rely on being helped.

    Args:
        weight: Units: model input squared per unit of loss if `positive`; model input otherwise, as the gradient is
            normalised.
        positive: Which of the paper's two weightings to use.
        sigma: What keeps A~ positive where attention is at its maximum; only with `positive`.
        attention: Non-negative maps that broadcast over [N, C, H, W], normally [N, 1, H, W].
        saturation: Share of the image's maximum, above 0 and up to 1, from which on attention counts as maximal. At 1 A
            is as it was given; at .4, the maps of the cells mark a whole cell, and not the evidence on it alone.

    Raises: ArgumentError if a number is negative, saturation is no share, or attention is missing or does not fit
        the gradient maps.
    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.3, Proposition 4; B.8 for the default.
    Deviation: the paper's attention is not saturated.

    Example:
        >>> penalty = Harmonization(1.0, positive=True, sigma=0.5).given(torch.tensor([[[[0.0, 1.0]]]]))
        >>> penalty.value(torch.ones(1, 1, 1, 2))
        tensor([2.])
    """

    weight: float
    positive: bool = False
    sigma: float = 0.01
    attention: Tensor | None = None
    saturation: float = 1.0

    def __post_init__(self) -> None:
        checks.each_at_least(self, weight=0, sigma=0)
        checks.share("saturation", self.saturation)

    @property
    def follows_attention(self) -> bool:
        """Yes."""
        return True

    def given(self, attention: Tensor | None) -> "Harmonization":
        """Return this penalty with the attention maps of a batch; None keeps the maps that are bound already."""
        return self if attention is None else replace(self, attention=attention)

    def value(self, g: Tensor) -> Tensor:
        """Return weight * sum of A~ g^2, shape [N]; it can be negative unless `positive`."""
        return per_sample(self._weights(g) * g.square())

    def conjugate(self, delta: Tensor) -> Tensor:
        """Return the sum of delta^2 / (4 weight A~), shape [N]; inf where an entry of A~ is negative."""
        exact, weights = wide(delta), self._weights(wide(delta))
        # Divided before it is squared: the square of a tiny entry would be 0, and its cost 0 / 0 where A~ = 0.
        convex = per_sample(torch.where(exact == 0, 0.0, exact * (exact / (4 * weights))))
        return torch.where((weights < 0).flatten(1).any(dim=1), torch.inf, convex).to(in_range(delta.dtype))

    def dual(self, g: Tensor) -> Tensor:
        """Return 2 weight A~ g, with g scaled to unit L2 norm for each image unless `positive`."""
        return 2 * self._weights(g) * (g if self.positive else unit(g))

    def prox(self, v: Tensor, step: Size) -> Tensor:
        """Return v / (1 + 2 step weight A~); refuse steps so long that h* plus the quadratic has no minimum.

        On an accelerator, where to look at all entries would be to wait, what cannot be had is NaN.
        """
        denominator = 1 + 2 * stride(step, v) * self._weights(v)
        if (unfit := at_hand(denominator <= 0)) is not None and unfit.any():
            raise ArgumentError(
                f"step={step!r} is too long for a penalty with negative weights: the proximal map does not exist. "
                "Take a shorter step or pass positive=True."
            )
        return v / torch.where(denominator > 0, denominator, torch.nan)

    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        """Return the proximal map of h; refuse negative entries of A~, where h is infinite everywhere; see `prox`."""
        step, weights = stride(step, v), self._weights(v)
        if (unfit := at_hand(weights < 0)) is not None and unfit.any():
            raise ArgumentError(
                "this penalty has negative weights, so its conjugate is infinite and has no proximal map. "
                "Pass positive=True, or seek the perturbation with OneStep, which needs none."
            )
        return torch.where(weights < 0, torch.nan, 2 * weights / (step + 2 * weights)) * v

    def _weights(self, like: Tensor) -> Tensor:
        if self.attention is None:
            raise ArgumentError(
                "Harmonization needs attention maps and none were given. Use data that has them (cells and cub-gha "
                "have; a folder of images has if maps, masks or boxes lie in its attention/, as "
                "attention/train/cat/x.png for train/cat/x.jpg), or bind them with penalty.given(attention)."
            )
        attention = placed(self.attention, like)
        # A map without its channel dimension would broadcast too, as channels of one image.
        sizes = zip(attention.shape, like.shape, strict=False)
        if attention.ndim != like.ndim or any(a not in (1, b) for a, b in sizes):
            raise ArgumentError(
                f"attention has shape {list(attention.shape)}, which does not fit maps of shape {list(like.shape)}; "
                "pass one map an image, [N, 1, H, W]."
            )
        peak = attention.amax(dim=tuple(range(1, attention.ndim)), keepdim=True) * self.saturation
        attention = torch.minimum(attention, peak)
        reverted = peak - attention + self.sigma if self.positive else peak / 2 - attention
        return self.weight * reverted.expand_as(like)
