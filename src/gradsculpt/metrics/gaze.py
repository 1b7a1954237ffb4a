"""Whether a map looks where people look."""

import torch
from torch import Tensor

from gradsculpt.attributions.heatmap import magnitudes
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Score, metric, share
from gradsculpt.metrics.masking import pixel_values
from gradsculpt.metrics.topk import topk_mask


@metric(Score("gaze_overlap", low=0.0, high=1.0, better="higher", unit="fraction"))
def gaze_overlap(maps: Tensor, gaze: Tensor, k: float = 0.05) -> Tensor:
    """Share of a map's most important pixels that are among those people looked at most.

    The channels of a map are added up in magnitude, which gives one value a pixel. The top pixels are the share k of
    all pixels with the largest values; a pixel of value 0 is never among them. Among equal values the pixel that comes
    first in memory order is taken first.

    Args:
        maps: Attribution maps.
        gaze: How much people looked at each pixel, not negative; 8-bit values are taken as they are.
        k: Share of the pixels that counts, in (0, 1]; 0.05 and 0.1 in Tables 4 and 6 of Gong et al.

    Shape: maps [N, H, W] or [N, C, H, W] and gaze [N, H, W] or [N, 1, H, W] to [N].
    Units: A fraction of the map's top pixels; multiplying map or gaze by a positive number changes nothing.

    Returns:
        The share in [0, 1], higher is more alike; k for a map that has nothing to do with the gaze. A map or a gaze
        that is zero everywhere points nowhere: 0.

    Raises:
        ArgumentError: If shapes do not fit, a map or gaze is not finite, gaze is negative, or k is outside (0, 1].

    Source: Gong et al., CVPR 2024, section 5.3 and Tables 4 and 6.

    Example:
        >>> maps = torch.tensor([[[5.0, -4.0, 1.0, 0.0]]])
        >>> gaze = torch.tensor([[[1.0, 0.2, 0.3, 0.0]]])
        >>> gaze_overlap(maps, gaze, k=0.5)
        tensor([0.5000])
    """
    values = pixel_values(maps)
    looks = _looks(gaze.detach())
    if looks.shape != values.shape:
        raise ArgumentError(
            f"gaze has shape {list(gaze.shape)} but maps has {list(maps.shape)}; pass one value a pixel, [N, H, W] or "
            "[N, 1, H, W] of the same batch and size."
        )
    first, second = (top_pixels(pixels, k) for pixels in (values, looks.to(values.device)))
    return share((first & second).sum(dim=(1, 2)), first.sum(dim=(1, 2)), maps.dtype)


def top_pixels(values: Tensor, k: float) -> Tensor:
    """Mark the share k of all pixels with the largest values, without those of value 0; [N, H, W] to bool [N, H, W]."""
    return topk_mask(values, k).view(values.shape) & (values > 0)


def _looks(gaze: Tensor) -> Tensor:
    looks = gaze[:, 0] if gaze.ndim == 4 and gaze.shape[1] == 1 else gaze
    looks = looks.float() if looks.dtype == torch.uint8 else looks
    sizes = magnitudes("gaze", looks)
    if bool((looks < 0).any()):
        raise ArgumentError(
            "gaze has negative entries, but nobody looks less than not at all; pass values of 0 or more."
        )
    return sizes
