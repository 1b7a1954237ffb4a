"""How concentrated a map is, and whether its important pixels hang together."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Score, ascending, metric, rows
from gradsculpt.metrics.masking import pixel_values
from gradsculpt.metrics.topk import top_pixels
from gradsculpt.numerics import divided, unit_peak


@metric(
    Score(
        "gini",
        low=0.0,
        high=1.0,
        better="higher",
        meaning="How far the map's strength sits in few pixels: 0 is spread evenly, close to 1 is in a single one.",
    )
)
def gini(maps: Tensor) -> Tensor:
    """Gini index of the magnitudes: 0 for a uniform map, (n - 1) / n for a single non-zero entry of n.

    All n entries of a sample count; pass `heatmap(maps)` to count pixels instead.

    Shape: [N, H, W] or [N, C, H, W] to [N].
    Units: None; multiplying a map by a number does not change its index.

    Returns:
        The index in [0, 1), higher is sparser. A map that is zero everywhere is uniform: 0.

    Raises: ArgumentError if `maps` is not a batch of finite floating-point maps.
    Source: Hurley and Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory, 2009; Gong et
        al., CVPR 2024, Table 3.

    Example:
        >>> gini(torch.tensor([[[1.0, -1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0, -5.0]]]))
        tensor([0.0000, 0.7500])
    """
    ordered = ascending(unit_peak(rows("maps", maps)))
    n = ordered.shape[1]
    weights = torch.arange(1 - n, n, 2, dtype=ordered.dtype, device=ordered.device) / n
    return divided((ordered * weights).sum(dim=1), ordered.sum(dim=1)).clamp(0.0, 1.0).to(maps.dtype)


@metric(
    Score(
        "half_weight",
        low=0.0,
        high=1.0,
        better="lower",
        unit="fraction",
        meaning="In how few of the pixels half of the map's strength lies.",
    )
)
def half_weight(maps: Tensor) -> Tensor:
    """Smallest share of the pixels that holds half of a map's weight, the sum of its magnitudes.

    The channels of a map are added up in magnitude first, which gives one value a pixel.

    Shape: [N, H, W] or [N, C, H, W] to [N].
    Units: A fraction of the pixels; multiplying a map by a number does not change it.

    Returns:
        The share in (0, 0.5 + 1 / n] for n pixels, lower is sparser: 1 / n where one pixel holds half, about 0.5 where
        all hold the same, 0.24 of normally distributed noise of one channel. A map that is zero everywhere is uniform.

    Raises: ArgumentError if `maps` is not a batch of finite floating-point maps.
    Source: A point of the Lorenz curve, of which the Gini index is an area (Hurley and Rickard 2009).

    Example:
        >>> half_weight(torch.tensor([[[1.0, -1.0, 1.0, 1.0]], [[0.0, 1.0, 0.0, -5.0]]]))
        tensor([0.5000, 0.2500])
    """
    ordered = ascending(unit_peak(rows("maps", pixel_values(maps)).cpu().double())).flip(1)
    ordered = torch.where(ordered[:, :1] > 0, ordered, 1.0)
    reached = ordered.cumsum(dim=1)
    # What rounding takes from a sum must not cost a pixel more.
    below = reached < reached[:, -1:] * (0.5 - 1e-9)
    return ((below.sum(dim=1) + 1) / ordered.shape[1]).to(maps.device, maps.dtype)


@metric(
    Score(
        "components",
        low=0.0,
        high=float("inf"),
        better="lower",
        meaning="Into how many separate spots the strongest tenth of the pixels falls.",
    ),
    Score(
        "largest_component",
        low=0.0,
        high=1.0,
        better="higher",
        unit="fraction",
        meaning="How many of the strongest pixels hang together in one spot.",
    ),
    Score(
        "mean_component_size",
        low=0.0,
        high=float("inf"),
        better="higher",
        unit="pixels",
        meaning="How large a spot of strong pixels is, on average.",
    ),
)
def connectedness(maps: Tensor, k: float = 0.1, connectivity: Literal[4, 8] = 8) -> dict[str, Tensor]:
    """Count and measure the connected components that a map's most important pixels form.

    Args:
        maps: Attribution maps, whose top pixels are those of `gaze_overlap`.
        k: Share of the pixels to mark, in (0, 1]. Marks at random would hang together across the whole image from
            about 0.4 on with 8 neighbours, and from about 0.6 with 4, so that larger shares tell little.
        connectivity: How many neighbours a pixel has: 8 with the diagonal ones, or 4.

    Shape: [N, H, W] or [N, C, H, W] to a dict of [N].
    Units: A number, a fraction of the marked pixels, and pixels.

    Returns:
        `components`, how many there are (lower is more connected); `largest_component`, the share of the marked pixels
        in the largest one, and `mean_component_size`, the marked pixels a component (higher is more connected). All are
        0 for a map that is zero everywhere.

    Raises: ArgumentError if a map is not finite, k is outside (0, 1] or connectivity is neither 4 nor 8.
    Source: Gong et al., CVPR 2024, section 4.3, call maps connected whose salient pixels lie together, and give no
        measure; the components of a mask are the standard one of image processing.

    Example:
        >>> maps = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 2.0, 0.0]]])
        >>> {name: round(value.item(), 2) for name, value in connectedness(maps, k=0.5).items()}
        {'components': 1.0, 'largest_component': 1.0, 'mean_component_size': 3.0}
    """
    if connectivity not in (4, 8):
        raise ArgumentError(f"connectivity={connectivity!r} is not known; choose 4 or 8 neighbours.")
    from scipy import ndimage

    neighbours = ndimage.generate_binary_structure(2, connectivity // 4)
    marks = top_pixels(pixel_values(maps), k).cpu().numpy()
    sizes = [np.bincount(ndimage.label(mask, structure=neighbours)[0].ravel())[1:] for mask in marks]
    table = [(len(size), size.max() / size.sum(), size.mean()) if len(size) else (0.0, 0.0, 0.0) for size in sizes]
    columns = torch.tensor(table, dtype=torch.float64).view(-1, 3).to(maps.device, maps.dtype).unbind(dim=1)
    return dict(zip((score.name for score in connectedness.scores), columns, strict=True))
