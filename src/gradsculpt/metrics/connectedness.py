"""Whether the important pixels of a map hang together."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Score, metric
from gradsculpt.metrics.gaze import top_pixels
from gradsculpt.metrics.masking import pixel_values


@metric(
    Score("components", low=0.0, high=float("inf"), better="lower"),
    Score("largest_component", low=0.0, high=1.0, better="higher", unit="fraction"),
    Score("mean_component_size", low=0.0, high=float("inf"), better="higher", unit="pixels"),
)
def connectedness(maps: Tensor, k: float = 0.1, connectivity: Literal[4, 8] = 8) -> dict[str, Tensor]:
    """Count and measure the connected components that a map's most important pixels form.

    The channels are added up in magnitude, and the share k of all pixels with the largest values is marked; a pixel of
    value 0 is never marked, and among equal values the one that comes first in memory order is.

    Args:
        maps: Attribution maps.
        k: Share of the pixels to mark, in (0, 1]. Marks at random would hang together across the whole image from
            about 0.4 on with 8 neighbours, and from about 0.6 with 4, so that larger shares tell little.
        connectivity: How many neighbours a pixel has: 8 with the diagonal ones, or 4.

    Shape: [N, H, W] or [N, C, H, W] to a dict of [N].
    Units: A number, a fraction of the marked pixels, and pixels.

    Returns:
        `components`, how many there are (lower is more connected); `largest_component`, the share of the marked pixels
        in the largest one, and `mean_component_size`, the marked pixels a component (higher is more connected). All are
        0 for a map that is zero everywhere.

    Raises:
        ArgumentError: If `maps` is not a batch of finite maps, k is outside (0, 1] or connectivity is neither 4 nor 8.

    Source: Gong et al., CVPR 2024, section 4.3, call maps connected whose salient pixels lie together, and give no
        measure; the components of a mask are the standard one of image processing.

    Example:
        >>> maps = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 2.0, 0.0]]])
        >>> {name: round(value.item(), 2) for name, value in connectedness(maps, k=0.5).items()}
        {'components': 1.0, 'largest_component': 1.0, 'mean_component_size': 3.0}
    """
    if connectivity not in (4, 8):
        raise ArgumentError(f"connectivity={connectivity!r} is not known; choose 4 or 8 neighbours.")
    marks = top_pixels(pixel_values(maps), k).cpu().numpy()
    sizes = [_component_sizes(mask, connectivity) for mask in marks]
    rows = [(len(size), size.max() / size.sum(), size.mean()) if len(size) else (0.0, 0.0, 0.0) for size in sizes]
    table = torch.tensor(rows, dtype=torch.float64).view(-1, 3).to(maps.device, maps.dtype)
    return dict(zip((score.name for score in connectedness.scores), table.unbind(dim=1), strict=True))


def _component_sizes(
    mask: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]", connectivity: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.intp]]":
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=ndimage.generate_binary_structure(2, connectivity // 4))
    return np.bincount(labels.ravel())[1:]
