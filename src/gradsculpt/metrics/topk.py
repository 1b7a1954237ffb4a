"""How far two maps, or a map and the gaze of people, agree on which entries matter most."""

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.heatmap import magnitudes
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Score, ascending, metric, one_a_pixel, rows, share
from gradsculpt.metrics.masking import pixel_values


@metric(
    Score(
        "topk_intersection",
        low=0.0,
        high=1.0,
        better="higher",
        unit="fraction",
        meaning="How many of the strongest pixels of one map are still among the strongest of the other.",
    )
)
def topk_intersection(a: Tensor, b: Tensor, k: float = 0.4, nonzero: bool = False) -> Tensor:
    """Share of the first map's most important entries that are among the second map's.

    The maps `a` are those before a change, such as an attack, and `b` those after it, of the same shape. How many
    entries count is said by `k`, a share in (0, 1], and `nonzero`, as of `topk_mask`.

    Shape: Two of [N, H, W] or two of [N, C, H, W] to [N].
    Units: A fraction of the first map's top entries.

    Returns:
        The share in [0, 1], higher is more alike. With `nonzero`, a first map that is zero everywhere has no top
        entries: 1 if the second has none either, else 0.

    Raises: ArgumentError if the shapes differ, a map is not finite, or k is outside (0, 1].
    Source: Ghorbani et al., AAAI 2019; Gong et al., CVPR 2024, sections 5.2 and B.6 (`nonzero=True`).

    Example:
        >>> a, b = torch.tensor([[[4.0, -3.0, 2.0, 1.0]]]), torch.tensor([[[4.0, 1.0, 2.0, -3.0]]])
        >>> topk_intersection(a, b, k=0.5)
        tensor([0.5000])
    """
    both, first, second = _sizes(a, b, k, nonzero)
    kept = share(both, first, torch.result_type(a, b))
    return torch.where(first + second == 0, 1.0, kept)


@metric(
    Score(
        "topk_dice",
        low=0.0,
        high=1.0,
        better="higher",
        unit="fraction",
        meaning="How far the strongest pixels of two maps are the same ones.",
    )
)
def topk_dice(a: Tensor, b: Tensor, k: float = 0.4, nonzero: bool = False) -> Tensor:
    """Dice coefficient of the two sets of most important entries, 2 |A and B| / (|A| + |B|).

    The arguments are those of `topk_intersection`.

    Shape: As of `topk_intersection`.
    Units: A fraction.

    Returns:
        The coefficient in [0, 1], higher is more alike; symmetric. With `nonzero`, two maps that are zero everywhere
        have equal, empty sets: 1.

    Raises: As `topk_intersection`.
    Source: Gong et al., CVPR 2024, sections 5.2 and B.7 (`nonzero=True`).

    Example:
        >>> a, b = torch.tensor([[[4.0, -3.0, 0.0, 0.0]]]), torch.tensor([[[4.0, 1.0, 2.0, -3.0]]])
        >>> topk_dice(a, b, k=0.5, nonzero=True)  # one entry of two against two of four
        tensor([0.6667])
    """
    both, first, second = _sizes(a, b, k, nonzero)
    total = first + second
    return torch.where(total == 0, 1.0, share(2 * both, total, torch.result_type(a, b)))


def topk_mask(maps: Tensor, k: float, nonzero: bool = False, name: str = "maps") -> Tensor:
    """Mark the entries of largest magnitude in each map, which an error calls by the `name`.

    How many are marked is `k`, a share in (0, 1] of all entries of a map, rounded to the nearest number (halves up),
    and at least one; with `nonzero` it is the share of the map's non-zero entries, and no zero is marked.

    Shape: [N, H, W] or [N, C, H, W] to bool [N, H * W] or [N, C * H * W].

    Returns:
        The marks. Among equal magnitudes the entry that comes first in memory order is marked first.

    Raises: ArgumentError if a map is not finite, or k is outside (0, 1].

    Units: None; magnitudes are compared within a map alone.

    Example:
        >>> topk_mask(torch.tensor([[[1.0, 2.0], [-2.0, 2.0]]]), k=0.5)
        tensor([[False,  True,  True, False]])
    """
    if not 0.0 < k <= 1.0:
        raise ArgumentError(f"k={k!r} is not a share of the entries; pass a value above 0 and up to 1, 0.4 for 40%.")
    values = rows(name, maps)
    samples, size = values.shape
    entries = (values > 0).sum(dim=1) if nonzero else torch.full((samples,), size, device=values.device)
    # On the CPU in double precision: a share of a million entries is not exact in single, and some devices lack double.
    wanted = (entries.cpu().double() * k + 0.5).long().clamp(min=1).to(values.device).minimum(entries)
    threshold = ascending(values).gather(1, (size - wanted).clamp(max=size - 1)[:, None])
    above, ties = values > threshold, values == threshold
    room = wanted - above.sum(dim=1)
    return above | (ties & (ties.cumsum(dim=1) <= room[:, None]))


@metric(
    Score(
        "gaze_overlap",
        low=0.0,
        high=1.0,
        better="higher",
        unit="fraction",
        meaning="How many of the map's strongest pixels lie where people looked most.",
    )
)
def gaze_overlap(maps: Tensor, gaze: Tensor, k: float = 0.05) -> Tensor:
    """Share of a map's most important pixels that are among those people looked at most.

    The channels of a map are added up in magnitude, which gives one value a pixel. The top pixels are the share k of
    all pixels with the largest values, never one of value 0; of equal ones the first in memory order is taken first.
    k is in (0, 1]; 0.05 and 0.1 in Tables 4 and 6 of Gong et al. The `gaze` is how much people looked at each pixel,
    not negative; 8-bit values are taken as they are.

    Shape: maps [N, H, W] or [N, C, H, W] and gaze [N, H, W] or [N, 1, H, W] to [N].
    Units: A fraction of the map's top pixels; multiplying map or gaze by a positive number changes nothing.

    Returns:
        The share in [0, 1], higher is more alike; k for a map that has nothing to do with the gaze. A map or a gaze
        that is zero everywhere points nowhere: 0.

    Raises: ArgumentError if shapes do not fit, a map or gaze is not finite, gaze is negative, or k is outside (0, 1].
    Source: Gong et al., CVPR 2024, section 5.3 and Tables 4 and 6.

    Example:
        >>> maps = torch.tensor([[[5.0, -4.0, 1.0, 0.0]]])
        >>> gaze = torch.tensor([[[1.0, 0.2, 0.3, 0.0]]])
        >>> gaze_overlap(maps, gaze, k=0.5)
        tensor([0.5000])
    """
    values = pixel_values(maps)
    looks = one_a_pixel("gaze", gaze.detach(), maps)
    sizes = magnitudes("gaze", looks.float() if looks.dtype == torch.uint8 else looks)
    if bool((looks < 0).any()):
        raise ArgumentError("gaze has negative entries, but nobody looks less than not at all; pass values from 0 on.")
    first, second = top_pixels(values, k), top_pixels(sizes.to(values.device), k)
    return share((first & second).sum(dim=(1, 2)), first.sum(dim=(1, 2)), maps.dtype)


def top_pixels(values: Tensor, k: float) -> Tensor:
    """Mark the share k of all pixels with the largest values, without those of value 0; [N, H, W] to bool [N, H, W]."""
    return topk_mask(values, k).view(values.shape) & (values > 0)


def _sizes(a: Tensor, b: Tensor, k: float, nonzero: bool) -> tuple[Tensor, Tensor, Tensor]:
    checks.same_shape("a", a, "b", b)
    first, second = topk_mask(a, k, nonzero, "a"), topk_mask(b, k, nonzero, "b")
    return (first & second).sum(dim=1), first.sum(dim=1), second.sum(dim=1)
