"""How concentrated a map is, and whether its important pixels hang together."""

from typing import Literal

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
    marks = top_pixels(pixel_values(maps), k)
    image, sizes = _components(marks, connectivity)
    parts = torch.bincount(image, minlength=len(maps)).double()
    largest = torch.zeros_like(parts).scatter_reduce(0, image, sizes.double(), "amax")
    marked = marks.flatten(1).sum(dim=1).double()
    columns = [parts, largest / marked.clamp(min=1), marked / parts.clamp(min=1)]
    return {score.name: column.to(maps.dtype) for score, column in zip(connectedness.scores, columns, strict=True)}


def _components(marks: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    """Return the image and the number of pixels of each component of [N, H, W], two [components].

    Each marked pixel points to one of its component with a number at least as great, at first to itself. In a round,
    of two neighbours that point to different ones the lower of these is pointed to the greatest that it meets, and
    pointers are followed to their ends. Whatever is not the greatest around it joins another, so that a round leaves at
    most half of the groups that touch others.
    """
    image = marks.nonzero()[:, 0]
    ends = torch.arange(len(image), device=marks.device)
    numbers = torch.full(marks.shape, -1, device=marks.device).masked_scatter(marks, ends)
    lower, upper = _neighbours(numbers, connectivity)
    while len(lower):
        ends = ends.scatter_reduce(0, lower, upper, "amax")
        while not torch.equal(followed := ends[ends], ends):
            ends = followed
        one, other = ends[lower], ends[upper]
        apart = one != other
        lower, upper = torch.minimum(one, other)[apart], torch.maximum(one, other)[apart]
    sizes = torch.bincount(ends, minlength=len(ends))
    return image[sizes > 0], sizes[sizes > 0]


def _neighbours(numbers: Tensor, connectivity: int) -> tuple[Tensor, Tensor]:
    """Return the numbers, those above -1, of all pairs of neighbouring pixels of [N, H, W], in rising order."""
    pairs = [(numbers[:, :, :-1], numbers[:, :, 1:]), (numbers[:, :-1], numbers[:, 1:])]
    if connectivity == 8:
        pairs += [(numbers[:, :-1, :-1], numbers[:, 1:, 1:]), (numbers[:, :-1, 1:], numbers[:, 1:, :-1])]
    both = [(first >= 0) & (second >= 0) for first, second in pairs]
    lower = torch.cat([first[marked] for (first, _), marked in zip(pairs, both, strict=True)])
    upper = torch.cat([second[marked] for (_, second), marked in zip(pairs, both, strict=True)])
    return lower, upper
