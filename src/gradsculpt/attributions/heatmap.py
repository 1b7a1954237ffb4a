"""One value a pixel: the magnitudes of a map, and the heat map that is shown and compared."""

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import divisor, spread, unit_peak


def heatmap(maps: Tensor, clip: float = 99.0) -> Tensor:
    """Turn attribution maps into heat maps: one value in [0, 1] a pixel, each image scaled by itself.

    The magnitudes of the channels are added, cut at the image's own `clip`-th percentile (interpolated linearly)
    and divided by it. A map with so few entries that this percentile is 0 is divided by its largest value instead,
    so a single bright pixel stays visible. A map that is zero everywhere gives zeros.

    Args:
        maps: Attribution maps in any units, as a tensor or an array; the result does not change when a map is
            multiplied by a number.
        clip: Percentile of the image's own channel sums that becomes 1; 100 cuts nothing.

    Shape: [N, C, H, W] or [N, H, W] to [N, H, W].
    Returns: Heat maps in [0, 1], in the dtype of `maps`: 0 is no attribution, 1 the cut-off.
    Raises: ArgumentError if `maps` is not a batch of finite floating-point maps, or `clip` is outside [0, 100].
    Source: The rendering of Gong et al., CVPR 2024 (their utils.py).
    Deviation: The released code adds up a whole batch and subtracts the least value first; here every image is its own,
        and 0 stays "no attribution".

    Example:
        >>> heatmap(torch.tensor([[[[1.0, -2.0]], [[-1.0, 2.0]]]]), clip=100.0)
        tensor([[[0.5000, 1.0000]]])
    """
    checks.within("clip", clip, 0.0, 100.0)
    maps = checks.tensor("maps", maps)
    sums = channel_sum(unit_peak(magnitudes("maps", maps)))
    flat = sums.flatten(1)
    level = _percentile(flat, clip)
    level = torch.where(level > 0, level, flat.amax(dim=1))
    return (sums / spread(divisor(level), sums)).clamp(max=1.0).to(maps.dtype)


def signed_heatmap(maps: Tensor, clip: float = 99.0) -> Tensor:
    """Turn attribution maps into heat maps with a sign: one value in [-1, 1] a pixel, each image scaled by itself.

    The channels are added with their signs; then the `clip`-th percentile of the magnitudes of these sums becomes 1,
    as in `heatmap`. Where channels disagree, their sum is smaller than the sum of magnitudes that `heatmap` shows.

    Arguments, shapes and errors: As of `heatmap`.
    Returns: Heat maps in [-1, 1], in the dtype of `maps`: 0 is no attribution, 1 and -1 the cut-off.

    Example:
        >>> signed_heatmap(torch.tensor([[[[1.0, -2.0]], [[1.0, -2.0]]]]), clip=100.0)
        tensor([[[ 0.5000, -1.0000]]])
    """
    maps = checks.tensor("maps", maps)
    sums = channel_sum(unit_peak(finite_maps("maps", maps)))
    return (heatmap(sums, clip) * sums.sign()).to(maps.dtype)


def finite_maps(name: str, maps: Tensor) -> Tensor:
    """Return maps [N, H, W] or [N, C, H, W], half precision widened to float32; raise `ArgumentError` if unusable."""
    if maps.ndim not in (3, 4) or 0 in maps.shape[1:]:
        raise ArgumentError(
            f"{name} has shape {list(maps.shape)}; maps [N, H, W] or [N, C, H, W] with at least one pixel are needed. "
            "Add the batch dimension of a single map with maps[None]."
        )
    if not maps.is_floating_point():
        raise ArgumentError(f"{name} has dtype {maps.dtype}, but maps are real numbers; convert it with maps.float().")
    finite = torch.isfinite(maps)
    if not bool(finite.all()):
        samples = (~finite.flatten(1).all(dim=1)).nonzero().flatten().tolist()
        raise ArgumentError(
            f"{name} holds NaN or infinite entries (samples {samples[:5]} of the batch), which would spoil every "
            "score; find out where the model or the attribution overflows, or leave these samples out."
        )
    return maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps


def magnitudes(name: str, maps: Tensor) -> Tensor:
    """Return the absolute values of valid maps, shape kept."""
    return finite_maps(name, maps).abs()


def channel_sum(maps: Tensor) -> Tensor:
    """Add up the channels of [N, C, H, W]; [N, H, W] has none and is returned as it is."""
    return maps.sum(dim=1) if maps.ndim == 4 else maps


def _percentile(rows: Tensor, percent: float) -> Tensor:
    # Only the entries from the percentile upwards are ordered, and torch.quantile refuses more than 16 million entries.
    position = percent / 100.0 * (rows.shape[1] - 1)
    below = int(position)
    largest = torch.topk(rows, rows.shape[1] - below, dim=1).values
    low, high = largest[:, -1], largest[:, max(-2, -largest.shape[1])]
    return torch.lerp(low, high, position - below)
