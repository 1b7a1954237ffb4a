"""How well a map agrees with the ground truth of what matters, level by level."""

import torch
from torch import Tensor

from gradsculpt.attributions.heatmap import channel_sum, finite_maps
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Score, metric, one_a_pixel, share
from gradsculpt.numerics import divisor, peak, per_sample, unit_peak

_THRESHOLDS = (0.3, 0.7)
_SCORES = (
    Score("pixel_accuracy", 0.0, 1.0, "higher", "fraction", "At how many pixels the map agrees with the truth."),
    Score("recall", 0.0, 1.0, "higher", "fraction", "How much of the true regions the map marks."),
    Score("precision", 0.0, 1.0, "higher", "fraction", "How much of what the map marks is in the true regions."),
    Score("false_positive_rate", 0.0, 1.0, "lower", "fraction", "How much of the rest of the image the map marks."),
)


@metric(*_SCORES)
def five_band_scores(maps: Tensor, truth: Tensor, thresholds: tuple[float, float] = _THRESHOLDS) -> dict[str, Tensor]:
    """Pixel accuracy, recall, precision and false positive rate of a map in five bands against a three-level truth.

    The channels are added with their signs and each sum is divided by the largest magnitude of its image. Values up to
    -0.7, -0.3, 0.3, 0.7 and above fall into the bands -2, -1, 0, 1, 2; the truth is cut at the same values. A pixel
    is a true positive if both bands are equal and not 0, a true negative if both are 0, a false negative if only the
    map's is 0, and a false positive otherwise. A map that is zero everywhere, or whose channels cancel (up to
    rounding), is band 0 everywhere.

    Maps with few values near their largest are in bands -1 to 1 almost everywhere. Such a map has a high precision if
    it is positive on the localisation, and a low one if it lies on the discriminative pixels alone, where only band 2
    is right. `binary_scores` tell how well a map finds those.

    Args:
        maps: Attribution maps with their signs; pass `heatmap(maps)` to score magnitudes.
        truth: Levels 0 (background), 0.4 (localisation), 0.9 (discriminative), or the same in 8 bits: 0, 102, 229.
        thresholds: Inner and outer threshold for the maps; those for the truth stay at 0.3 and 0.7. The original's soft
            scores are those of a series of thresholds, (0.3 - 0.005 i, 0.7 - 0.005 i) for i = 0, ..., 55.

    Shape: maps [N, H, W] or [N, C, H, W] and truth [N, H, W] or [N, 1, H, W] to a dict of [N].
    Units: Fractions of pixels.

    Returns:
        The keys `pixel_accuracy`, `recall`, `precision` (higher is better) and `false_positive_rate` (lower is
        better), each in [0, 1]. A ratio of nothing is 0: recall and precision are therefore 0 for an image without
        any object, which `truth.flatten(1).amax(1) == 0` tells apart when means are taken.

    Raises: ArgumentError if shapes do not fit, a map is not finite, the truth is not in [0, 1] or 8 bits, or the
        thresholds are not 0 < inner < outer < 1.
    Source: Tjoa and Guan, "Quantifying explainability of saliency methods in deep neural networks", IEEE TAI 2022; Gong
        et al., CVPR 2024, Table 2.
    Deviation: The released code fails where channels cancel, and adds 1e-6 to every denominator.

    Example:
        >>> maps, truth = torch.tensor([[[0.0, 0.5, 1.0, -1.0]]]), torch.tensor([[[0.0, 0.4, 0.4, 0.0]]])
        >>> {name: round(value.item(), 2) for name, value in five_band_scores(maps, truth).items()}
        {'pixel_accuracy': 0.5, 'recall': 1.0, 'precision': 0.33, 'false_positive_rate': 0.67}
    """
    inner, outer = thresholds
    if not 0.0 < inner < outer < 1.0:
        raise ArgumentError(f"thresholds={thresholds!r} make no five bands; pass 0 < inner < outer < 1.")
    levels = _levels(maps, truth)
    return _scores(_bands(_normalised(maps), inner, outer), _bands(levels, *_THRESHOLDS), maps.dtype)


@metric(*_SCORES)
def binary_scores(maps: Tensor, truth: Tensor, threshold: float = 0.7) -> dict[str, Tensor]:
    """Pixel accuracy, recall, precision and false positive rate of a map at finding the discriminative pixels.

    Background and localisation are one class, negative. A pixel is predicted positive if it is in the top band of the
    five-band score: the channels are added with their signs, divided by the largest magnitude of the image, and the
    result exceeds `threshold`. So strong evidence against the class is not taken for a discriminative pixel.

    Arguments, shapes and units are those of `five_band_scores`; a level of the truth above 0.7 is positive.

    Shape: As of `five_band_scores`.
    Units: Fractions of pixels.

    Returns:
        The keys of `five_band_scores`, with the same ranges and directions; a ratio of nothing is 0.

    Raises: ArgumentError as `five_band_scores` does, or if the threshold is not in (0, 1).
    Source: Gong et al., CVPR 2024, section 5.1 and Table 2.
    Deviation: The paper does not print its prediction rule, and its code is not released. Its binary false positive
        rates are several times its five-band ones, which no threshold from 0.3 upwards on this normalisation can give;
        lower `threshold` or pass `heatmap(maps)` for denser predictions.

    Example:
        >>> maps, truth = torch.tensor([[[0.0, 0.5, 1.0, -1.0]]]), torch.tensor([[[0.0, 0.4, 0.9, 0.9]]])
        >>> {name: round(value.item(), 2) for name, value in binary_scores(maps, truth).items()}
        {'pixel_accuracy': 0.75, 'recall': 0.5, 'precision': 1.0, 'false_positive_rate': 0.0}
    """
    if not 0.0 < threshold < 1.0:
        raise ArgumentError(f"threshold={threshold!r} is out of range; pass a value between 0 and 1.")
    levels = _levels(maps, truth)
    return _scores(_normalised(maps) > threshold, levels > _THRESHOLDS[1], maps.dtype)


def _normalised(maps: Tensor) -> Tensor:
    sums = channel_sum(unit_peak(finite_maps("maps", maps.detach())))
    # Entries are at most 1 here, so a sum this small is what rounding leaves of channels that cancel.
    rounding = maps.shape[1] * torch.finfo(maps.dtype).eps if maps.ndim == 4 and maps.shape[1] > 1 else 0.0
    top = peak(sums)
    return torch.where(top > rounding, sums / divisor(top), 0.0)


def _bands(values: Tensor, inner: float, outer: float) -> Tensor:
    edges = torch.tensor([-outer, -inner, inner, outer], dtype=values.dtype, device=values.device)
    return torch.bucketize(values.contiguous(), edges) - 2


def _levels(maps: Tensor, truth: Tensor) -> Tensor:
    levels = one_a_pixel("truth", truth, maps)
    levels = levels / 255 if levels.dtype == torch.uint8 else levels
    if not levels.is_floating_point() or not bool(((levels >= 0) & (levels <= 1)).all()):
        raise ArgumentError(
            f"truth has dtype {truth.dtype} and is not all within [0, 1], so its levels are unknown; "
            "pass 0, 0.4, 0.9 as floating point or 0, 102, 229 as uint8."
        )
    return levels


def _scores(predicted: Tensor, actual: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Count over pixels; 0 or False is the negative class, any other value a positive one."""
    hit, marked, wanted = predicted == actual, predicted != 0, actual != 0
    true_positive, false_positive = per_sample(hit & marked), per_sample(~hit & marked)
    true_negative, false_negative = per_sample(hit & ~marked), per_sample(~marked & wanted)
    ratios = {
        "pixel_accuracy": (per_sample(hit), per_sample(torch.ones_like(hit))),
        "recall": (true_positive, true_positive + false_negative),
        "precision": (true_positive, true_positive + false_positive),
        "false_positive_rate": (false_positive, false_positive + true_negative),
    }
    return {name: share(part, whole, dtype) for name, (part, whole) in ratios.items()}
