"""Penalties on groups of entries: whole patches of the map are kept or dropped together."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.numerics import in_range, per_sample, wide
from gradsculpt.penalties.base import Penalty, Size, beyond, stride


@dataclass(frozen=True)
class GroupL21(Penalty):
    """The group norm weight * sum over groups of |g_group|_2: maps that are sparse in whole patches.

    Groups are the squares of a grid of `patch` x `patch` pixels that starts at the top left corner. Where the
    patch does not divide the height or width, the groups at the lower and right edge are smaller. Without a patch the
    whole image is one group, or one a channel: `GroupL21(weight, patch=None, per_channel=False)` is the L2 norm.

    Args:
        weight: Weight of the norm, and radius of the L2 ball of every group of a perturbation. Units: model input.
        patch: Side of a patch in pixels; None for the whole image, of any size.
        per_channel: Whether each channel of a patch is a group of its own, or all channels form one.

    Raises: ArgumentError if the weight is negative, the patch not positive, or a map not [N, C, H, W].
    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.3, Proposition 2, B.3; groups per channel as in its released
        code, across channels as in that of MoreauGrad.
    Deviation: the released code assumes 14 x 14 patches of 224 x 224 images; any size works here, and a group
        whose gradient is zero gets no perturbation instead of a division by zero.

    Example:
        >>> GroupL21(1.0, patch=2).value(torch.ones(1, 1, 2, 3))  # a group of four and one of two
        tensor([3.4142])
    """

    weight: float
    patch: int | None = 14
    per_channel: bool = True

    def __post_init__(self) -> None:
        checks.each_at_least(self, weight=0, patch=1)

    def value(self, g: Tensor) -> Tensor:
        """Return the weighted sum of the groups' L2 norms, shape [N]."""
        return self.weight * per_sample(self.norms(g))

    def conjugate(self, delta: Tensor) -> Tensor:
        """Return 0 where every group of delta has an L2 norm of at most weight, else inf; shape [N]."""
        inside = per_sample(beyond(self.norms(wide(delta)), self.weight, delta.dtype)) == 0
        return torch.where(inside, 0.0, torch.inf).to(in_range(delta.dtype))

    def dual(self, g: Tensor) -> Tensor:
        """Return g with every group scaled to the L2 norm weight; zero groups stay zero."""
        norms = self._spread(self.norms(g), g)
        return self.weight * torch.where(norms == 0, 0.0, g / norms)

    def prox(self, v: Tensor, step: Size) -> Tensor:
        """Return v with every group's norm shortened by step * weight, down to zero."""
        norms = self._spread(self.norms(v), v)
        kept = (norms - stride(step, v) * self.weight).clamp(min=0)
        return v * torch.where(norms == 0, 0.0, kept / norms)

    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        """Return the projection: every group of v scaled down to the L2 norm weight where it is longer."""
        stride(step, v)  # which has to be positive, and does not matter otherwise
        norms = self._spread(self.norms(v), v)
        return torch.where(norms > self.weight, self.weight * (v / norms), v)

    def norms(self, g: Tensor) -> Tensor:
        """Return the L2 norm of each group, shape [N, C, rows, columns], or [N, 1, rows, columns] across channels."""
        checks.images("the map", g, some=False)
        # The largest magnitude of a group is divided out first: squares of huge or tiny entries would leave the range.
        # The norm does not depend on it, so it counts as a constant when the norm is differentiated.
        peak = self._largest(g.detach().abs())
        peak = peak if self.per_channel else peak.amax(dim=1, keepdim=True)
        scaled = g / self._spread(torch.where(peak == 0, 1.0, peak), g)
        squares = self._added(scaled.square())
        squares = squares if self.per_channel else squares.sum(dim=1, keepdim=True)
        # The derivative of the root at 0 would turn that of a zero group into NaN.
        return peak * torch.where(squares == 0, 1.0, squares).sqrt()

    def _largest(self, t: Tensor) -> Tensor:
        if self.patch is None:
            return t.amax(dim=(2, 3), keepdim=True)
        return F.max_pool2d(t, self.patch, ceil_mode=True)

    def _added(self, t: Tensor) -> Tensor:
        if self.patch is None:  # pooling would add so many numbers up one by one, and lose digits
            return t.sum(dim=(2, 3), keepdim=True)
        return F.avg_pool2d(t, self.patch, ceil_mode=True, divisor_override=1)

    def _spread(self, per_group: Tensor, like: Tensor) -> Tensor:
        height, width = like.shape[2:]  # a patch may be larger, which makes one group of the whole image
        rows = per_group.repeat_interleave(min(self.patch or height, height), dim=2)[:, :, :height]
        return rows.repeat_interleave(min(self.patch or width, width), dim=3)[..., :width]
