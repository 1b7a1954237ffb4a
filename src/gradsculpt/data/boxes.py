"""Where a human looked, as boxes in a small text file."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradsculpt.data.base import Bytes
from gradsculpt.data.decode import middle_square
from gradsculpt.errors import DataError

Box = tuple[float, float, float, float]


def read_boxes(path: Path, shape: tuple[int, int]) -> list[Box]:
    """Read the boxes of an upright image of some width and height, one a line: left, top, right and bottom.

    Raises:
        DataError: If a line is not four numbers that make a box within the image.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); write lines `left top right bottom`.") from error
    return [_box(path, number, line, shape) for number, line in enumerate(lines, start=1) if line.strip()]


def draw_boxes(boxes: Sequence[Box], size: int, shape: tuple[int, int]) -> Bytes:
    """Draw boxes into the square that `decode` keeps of an image: 255 inside, and in between at their edges.

    Args:
        boxes: Left, top, right and bottom of each, in pixels of the upright image.
        size: Side of the square.
        shape: Width and height of the upright image.

    Returns:
        uint8 [size, size].

    Example:
        >>> draw_boxes([(0, 0, 5, 10)], 2, (10, 10)).tolist()
        [[255, 0], [255, 0]]
    """
    left, top, side = middle_square(*shape)
    edges = np.arange(size + 1) * (side / size)
    drawn = np.zeros((size, size))
    for box in boxes:
        across, down = (
            (np.minimum(edges[1:], high - start) - np.maximum(edges[:-1], low - start)).clip(0) * (size / side)
            for low, high, start in ((box[0], box[2], left), (box[1], box[3], top))
        )
        drawn = np.maximum(drawn, np.outer(down, across))
    return np.rint(255 * drawn).astype(np.uint8)


def _box(path: Path, number: int, line: str, shape: tuple[int, int]) -> Box:
    try:
        left, top, right, bottom = (float(word) for word in re.split(r"[\s,]+", line.strip()))
    except ValueError:
        raise DataError(
            f"{path}, line {number}: {line.strip()!r} is no box; write four numbers, left top right bottom, in pixels."
        ) from None
    box = f"{path}, line {number}: the box {line.strip()!r}"
    # A pixel more is what tools write that count from 1 or round.
    inside = left >= -1 and top >= -1 and right <= shape[0] + 1 and bottom <= shape[1] + 1
    full = left < right and top < bottom
    if not (inside and full):
        raise DataError(
            f"{box} {'lies outside its image' if full else 'is empty'}, which is {shape[0]} x {shape[1]}; "
            "write left top right bottom in pixels of the image as displayed."
        )
    if max(right, bottom) <= 1 and max(shape) > 1:
        raise DataError(f"{box} lies within a single pixel; write pixels, not shares of the image's sides.")
    return left, top, right, bottom
