"""How alike two maps are."""

import math

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.heatmap import channel_sum, magnitudes
from gradsculpt.metrics.base import Score, metric, order, pair
from gradsculpt.numerics import divided, divisor, length, per_sample, spread, unit_peak

_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2  # for a dynamic range of 1
_CACHED = 50_000  # entries
_RADIUS = 5  # of the 11 x 11 window of Wang et al., whose standard deviation is 1.5 pixels


@metric(
    Score(
        "cosine",
        low=0.0,
        high=1.0,
        better="higher",
        meaning="How far two maps are strong at the same pixels: 1 is the same, 0 is nothing in common.",
    )
)
def cosine(a: Tensor, b: Tensor, signed: bool = False) -> Tensor:
    """Cosine of the angle between two maps.

    All entries of `a` and `b`, maps of one shape, count; pass heat maps to compare pixels. With `signed`, the entries
    themselves are compared instead of their magnitudes.

    Shape: Two of [N, H, W] or two of [N, C, H, W] to [N].
    Units: None; multiplying a map by a positive number changes nothing.

    Returns:
        The cosine in [0, 1], in [-1, 1] with `signed`; 1 is the same direction. Two zero maps are alike, 1; a zero
        map and another have nothing in common, 0.

    Raises: ArgumentError if the shapes differ or a map is not finite.
    Source: Joo et al., AAAI 2023, Eq. (4) and the RPS metric.

    Example:
        >>> a, b = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[-3.0, 4.0]]])
        >>> cosine(a, b), cosine(a, b, signed=True)
        (tensor([0.6000]), tensor([-0.6000]))
    """
    return _cosine(*_rows(a, b, signed)).to(torch.result_type(a, b))


@metric(
    Score(
        "pearson",
        low=-1.0,
        high=1.0,
        better="higher",
        meaning="Whether pixels that are strong in one map are strong in the other: 1 is always, 0 is no connection.",
    )
)
def pearson(a: Tensor, b: Tensor, signed: bool = False) -> Tensor:
    """Pearson correlation coefficient of the entries of two maps; the arguments are those of `cosine`.

    Shape: As of `cosine`.
    Units: None; an increasing affine change of the compared values changes nothing.

    Returns:
        The coefficient in [-1, 1]; 1 for maps equal up to scale and offset. Two constant maps are alike, 1; a constant
        map and one that varies are not, 0.

    Raises: As `cosine`.
    Source: Joo et al., AAAI 2023, the RPS metric.
    Deviation: Their released code divides the covariance by n and the variances by n - 1, so equal maps score (n - 1) /
        n.

    Example:
        >>> pearson(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[-3.0, -2.0, -1.0]]]))
        tensor([-1.])
    """
    return _cosine(*map(_centred, _rows(a, b, signed))).to(torch.result_type(a, b))


@metric(
    Score(
        "spearman",
        low=-1.0,
        high=1.0,
        better="higher",
        meaning="Whether two maps put the pixels in the same order of strength: 1 is the same, 0 is no connection.",
    )
)
def spearman(a: Tensor, b: Tensor, signed: bool = False) -> Tensor:
    """Spearman rank correlation coefficient of the entries of two maps: how far these are in the same order.

    It is `pearson` of the ranks; equal entries share the mean of theirs. The arguments are those of `cosine`.

    Shape: As of `cosine`.
    Units: None; an increasing change of the compared values, linear or not, changes nothing.

    Returns:
        The coefficient in [-1, 1]; 1 for the same order. Constant maps count as in `pearson`.

    Raises: As `cosine`.
    Source: Adebayo et al., NeurIPS 2018 (Sanity checks for saliency maps).

    Example:
        >>> spearman(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[-10.0, -1000.0, 100.0]]]))
        tensor([0.5000])
    """
    first, second = (_centred_ranks((maps if signed else maps.abs()).flatten(1)) for maps in pair(a, b))
    return _cosine(first, second).to(torch.result_type(a, b))


@metric(
    Score("ssim", low=-1.0, high=1.0, better="higher", meaning="How alike two maps look as pictures: 1 is the same.")
)
def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity index of two maps as pictures of magnitudes.

    The channels are added up in magnitude first. The dynamic range L in the stabilising constants (0.01 L)^2 and
    (0.03 L)^2 is that of the pair: from 0 to the largest value in either map. So the index is symmetric and does not
    change when both maps are multiplied by one number. It does when only one is: pass `heatmap(a)` and `heatmap(b)` to
    compare maps of different scales.

    The window is a Gaussian, 11 x 11 with standard deviation 1.5 pixels. Only windows that lie within the picture
    count, as in scikit-image. A side under 11 pixels gets the largest odd window that fits it, its standard deviation
    reduced in proportion; with one pixel only luminance is compared.

    Shape: As of `cosine`.
    Units: None.

    Returns:
        The index in [-1, 1]; 1 for equal pictures, which includes two equal constants and two zero maps.

    Raises: As `cosine`.
    Source: Wang et al., "Image quality assessment", IEEE TIP 2004, Eq. (13); Gong et al., CVPR 2024, Fig. 5.

    Example:
        >>> a = torch.eye(16)[None]
        >>> ssim(a, -3 * a), ssim(3 * a, -3 * a)
        (tensor([0.3722]), tensor([1.]))
    """
    checks.same_shape("a", a, "b", b)
    if not a.numel():
        return a.new_zeros(len(a), dtype=torch.result_type(a, b))
    # A few pictures at a time, so that their moments stay in the cache.
    size = max(1, _CACHED // a[0].numel())
    parts = zip(torch.split(a.detach(), size), torch.split(b.detach(), size), strict=True)
    return torch.cat([_ssim(*_pictures(*part)) for part in parts]).clamp(-1.0, 1.0).to(torch.result_type(a, b))


def _pictures(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return magnitudes [N, H, W] on the range of each pair, from 0 to 1."""
    first, second = magnitudes("a", a), magnitudes("b", b)
    if first.ndim == 4:  # scaled before they are added up as well, for huge and tiny entries
        first, second = (channel_sum(unit) for unit in _shared_peak(first, second))
    return _shared_peak(first, second)


def _ssim(first: Tensor, second: Tensor) -> Tensor:
    # Moments about the means of the pictures cancel less.
    centre = (first + second).mean(dim=(1, 2), keepdim=True) / 2
    one, other = first - centre, second - centre
    moments = torch.cat([one, other, one * one + other * other, one * other])
    left, right, squares, product = _blurred(_blurred(moments, 1), 2).chunk(4)
    variance = (squares - left * left - right * right).clamp_(min=0)
    covariance = product - left * right
    left, right = left + centre, right + centre
    luminance = (2 * left * right + _LUMINANCE) / (left * left + right * right + _LUMINANCE)
    return (luminance * (2 * covariance + _CONTRAST) / (variance + _CONTRAST)).mean(dim=(1, 2))


def _blurred(pictures: Tensor, dim: int) -> Tensor:
    """Average one side by the Gaussian window, wherever all of it lies within the picture."""
    side = pictures.shape[dim]
    radius = min(_RADIUS, (side - 1) // 2)
    sigma = max(0.3 * radius, 0.1)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(radius + 1)]
    weights = [weight / (weights[0] + 2 * sum(weights[1:])) for weight in weights]
    inner = side - 2 * radius
    # Sums of shifted views: a convolution with one channel is what the libraries are slowest at.
    total = pictures.narrow(dim, radius, inner) * weights[0]
    pair = torch.empty_like(total)
    for i, weight in enumerate(weights[1:], start=1):
        ends = pictures.narrow(dim, radius - i, inner), pictures.narrow(dim, radius + i, inner)
        total.add_(torch.add(*ends, out=pair), alpha=weight)
    return total


def _rows(a: Tensor, b: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    first, second = (unit_peak(maps).flatten(1) for maps in pair(a, b))
    return (first, second) if signed else (first.abs(), second.abs())


def _centred(rows: Tensor) -> Tensor:
    # The minimum goes first: subtracting it is exact or nearly so, and a small variation on a large offset keeps its
    # digits, which a rounded mean would spoil. Of a constant it leaves exactly 0.
    lifted = unit_peak(rows - rows.amin(dim=1, keepdim=True))
    return lifted - lifted.mean(dim=1, keepdim=True)


def _centred_ranks(rows: Tensor) -> Tensor:
    """Return the ranks of the entries of each row of [N, M], those of equal ones averaged, minus their mean."""
    size, indices = rows.shape[1], order(rows)
    ordered = rows.gather(1, indices)
    steps = ordered[:, 1:] != ordered[:, :-1]
    place = torch.arange(size, device=rows.device).expand_as(indices)
    # The first and the last place of the run of equal entries that a place belongs to.
    first, last = place.clone(), place.clone()
    first[:, 1:] = torch.where(steps, place[:, 1:], 0)
    last[:, :-1] = torch.where(steps, place[:, :-1], size - 1)
    first = first.cummax(dim=1).values
    last = last.flip(1).cummin(dim=1).values.flip(1)
    # Some devices lack double precision, in which the sums over a million ranks are exact.
    wide = torch.float64 if rows.device.type == "cpu" else torch.float32
    shared = (first + last - (size - 1)).to(wide) / max(1, size)
    return torch.empty_like(shared).scatter_(1, indices, shared)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    first, second = length(a), length(b)
    angle = divided(per_sample(a * b), first * second)
    return torch.where((first == 0) & (second == 0), 1.0, angle).clamp(-1.0, 1.0)


def _shared_peak(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    safe = spread(divisor(torch.maximum(a.flatten(1).amax(dim=1), b.flatten(1).amax(dim=1))), a)
    return a / safe, b / safe
