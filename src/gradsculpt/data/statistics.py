"""Mean and spread of the pixels of a set."""

import numpy as np

from gradsculpt import checks
from gradsculpt.data.base import ImageSet

_CHUNK = 256
# Half a step of 8-bit pixels: a channel that never changes would otherwise be divided by zero.
_LEAST_STD = 0.5 / 255


def pixel_statistics(image_set: ImageSet, limit: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over at most `limit` evenly spaced images.

    Units: pixels in [0, 1]. The standard deviation is at least 0.5 / 255.

    Raises:
        ArgumentError: If `limit` is not positive.

    Example:
        >>> images = np.zeros((2, 4, 4, 3), np.uint8)
        >>> images[1] = 255
        >>> pixel_statistics(ImageSet(images, np.array([0, 1]), ("a", "b"), ("0", "1")))
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    checks.at_least("limit", limit, 1)
    count = min(limit, len(image_set))
    chosen = np.linspace(0, len(image_set) - 1, count).round().astype(np.int64)
    # Sums of whole numbers are exact, so the result does not depend on the chunks; 256 * 255^2 fits 32 bits.
    total, squares, pixels = np.zeros(3, np.int64), np.zeros(3, np.int64), 0
    for start in range(0, count, _CHUNK):
        values = np.asarray(image_set.images[chosen[start : start + _CHUNK]])
        total += values.sum(axis=0, dtype=np.uint32).sum(axis=(0, 1), dtype=np.int64)
        squares += np.square(values, dtype=np.uint16).sum(axis=0, dtype=np.uint32).sum(axis=(0, 1), dtype=np.int64)
        pixels += values.size // 3
    mean = total / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return tuple((mean / 255).tolist()), tuple(np.maximum(std / 255, _LEAST_STD).tolist())
