"""Whether a map looks where people look."""

import torch
from torch import Tensor

from gradsculpt.attributions.heatmap import magnitudes
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Score, metric, one_a_pixel, share
from gradsculpt.metrics.masking import pixel_values
from gradsculpt.metrics.topk import topk_mask


@metric(Score("gaze_overlap", low=0.0, high=1.0, better="higher", unit="fraction"))
def gaze_overlap(maps: Tensor, gaze: Tensor, k: float = 0.05) -> Tensor:
    """Share of a map's most important pixels that are among those people looked at most.

    The channels of a map are added up in magnitude, which gives one value a pixel. The top pixels are the share k of
    all pixels with the largest values, never one of value 0; of equal ones the first in memory order is taken first.

    Args:
        maps: Attribution maps.
        gaze: How much people looked at each pixel, not negative; 8-bit values are taken as they are.
        k: Share of the pixels that counts, in (0, 1]; 0.05 and 0.1 in Tables 4 and 6 of Gong et al.

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
