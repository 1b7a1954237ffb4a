"""Where a human looked, from files that lie beside the images: maps, masks and boxes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from gradsculpt.data.base import Bytes
from gradsculpt.data.decode import cut_square, decode_grey, middle_square
from gradsculpt.data.listing import ATTENTION, Listing, files_below, is_image
from gradsculpt.errors import DataError
from gradsculpt.reading import read_text
from gradsculpt.wording import counted

Box = tuple[float, float, float, float]

_BOXES = ".txt"


@dataclass(frozen=True)
class AttentionFolder:
    """The folder `attention/`, which mirrors the folders of images beside it.

    The attention of `train/cat/x.jpg` is `attention/train/cat/x.png`, a greyscale map or mask of the same proportions
    and any size, black where nobody looked, in any format that images may have; or `attention/train/cat/x.txt`, a
    line `left top right bottom` for each box. Boxes are in pixels of the image as it is displayed, with 0, 0 its upper
    left corner and its width and height the lower right one; a file without boxes says that nobody looked. The keys of
    `files` are their paths inside the folder, without the suffix.
    """

    folder: Path
    files: Mapping[str, Path]

    def facts(self, file: Path) -> object:
        """Return what the map of an image depends on, as JSON values; None if there is no map."""
        if (place := self.files.get(self.key(file))) is None:
            return None
        info = place.stat()
        return [place.relative_to(self.folder).as_posix(), info.st_size, info.st_mtime_ns]

    def read(self, file: Path, size: int, shape: tuple[int, int]) -> Bytes:
        """Return the map of an image as uint8 [size, size], cut as `decode` cuts the image; zero if there is none.

        `shape` is width and height of the upright image; a `DataError` says what is wrong with the map.
        """
        if (place := self.files.get(self.key(file))) is None:
            return np.zeros((size, size), dtype=np.uint8)
        if place.suffix.lower() == _BOXES:
            return draw_boxes(read_boxes(place, shape), size, shape)
        grey = decode_grey(place)
        check_fit(str(place), (grey.shape[1], grey.shape[0]), file, shape)
        return cut_square(grey, size, shape)

    def key(self, file: Path) -> str:
        """Return the path of an image below the folder that `attention/` lies in, without the suffix."""
        return file.relative_to(self.folder.parent).with_suffix("").as_posix()


def find_attention(
    root: Path, listed: Sequence[tuple[Path, Listing]]
) -> tuple[list[AttentionFolder | None], tuple[str, ...]]:
    """Find the attention of each listed part of a folder of images: `root`/attention, or one inside the part.

    It is None where no image of the part has a map; notes for the user come with it. Raises `DataError` if no map
    belongs to an image, or it is not clear which map an image has.
    """
    common = _index(root)
    inside = [(None if part == root else _index(part), listing.files) for part, listing in listed]
    for maps, _ in inside:
        if common is not None and maps is not None:
            raise DataError(f"{common.folder} and {maps.folder} both have maps of the same images; keep one of them.")
    everywhere = (common, [file for _, files in inside for file in files])
    notes = chain.from_iterable(_compare(maps, files, root) for maps, files in (everywhere, *inside))
    attention = [(common or maps, files) for maps, files in inside]
    useful = [maps and any(maps.key(file) in maps.files for file in files) for maps, files in attention]
    return [maps if used else None for (maps, _), used in zip(attention, useful, strict=True)], tuple(notes)


def check_fit(name: str, map_shape: tuple[int, int], file: Path, shape: tuple[int, int]) -> None:
    """Raise `DataError` unless a map has the proportions of its image, but for the rounding of a scaled copy."""
    # Sides of a copy are rounded up, down or to the nearest: its longer side may be a pixel off what the other says.
    apart = abs(map_shape[0] * shape[1] - map_shape[1] * shape[0])
    if apart > max(*map_shape, *shape):
        raise DataError(
            f"{name} is {map_shape[0]} x {map_shape[1]} but {file} is {shape[0]} x {shape[1]}, so it is no map of the "
            "whole image; give it the proportions of the image as displayed, at any scale."
        )


def read_boxes(path: Path, shape: tuple[int, int]) -> list[Box]:
    """Read the boxes of an upright image of some width and height, one a line: left, top, right and bottom.

    Raises `DataError` if a line is not four numbers that make a box within the image.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); write lines `left top right bottom`.") from error
    return [_box(path, number, line, shape) for number, line in enumerate(lines, start=1) if line.strip()]


def draw_boxes(boxes: Sequence[Box], size: int, shape: tuple[int, int]) -> Bytes:
    """Draw boxes of an upright image of a width and height into the square [size, size] that `decode` keeps of it.

    Pixels are 255 inside of boxes, and in between at their edges.
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


def _index(parent: Path) -> AttentionFolder | None:
    folder = parent / ATTENTION
    if not folder.is_dir():
        return None
    files: dict[str, Path] = {}
    for file in files_below(folder, lambda name: is_image(name) or name.lower().endswith(_BOXES)):
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise DataError(f"{files[key]} and {file} are both maps of one image; keep one of them.")
        files[key] = file
    return AttentionFolder(folder, files)


def _compare(maps: AttentionFolder | None, images: Sequence[Path], root: Path) -> Iterator[str]:
    """Yield notes on images without maps and maps without images."""
    if maps is None:
        return
    matched: dict[str, Path] = {}
    without: list[Path] = []
    for file in images:
        if (key := maps.key(file)) not in maps.files:
            without.append(file)
        elif (other := matched.setdefault(key, file)) is not file:
            raise DataError(
                f"{other} and {file} would share the map {maps.files[key]}; rename one of them and its map."
            )
    if not matched:
        first = f"{maps.folder / maps.key(images[0])}.png"
        raise DataError(
            f"{maps.folder} has {counted(len(maps.files), 'maps')} and none belongs to an image; {images[0]} "
            "would have its map in "
            f"{first} or its boxes in a .txt there. Rename the folder if it does not hold attention maps."
        )
    if without:
        yield (
            f"{len(without)} of {len(images)} images have no attention map (the first is "
            f"{without[0].relative_to(root).as_posix()}): they count as looked at nowhere"
        )
    lost = [file for key, file in maps.files.items() if key not in matched]
    if lost:
        first = lost[0].relative_to(root).as_posix()
        yield f"{len(lost)} of {len(maps.files)} attention maps belong to no image (the first is {first})"


def _box(path: Path, number: int, line: str, shape: tuple[int, int]) -> Box:
    try:
        left, top, right, bottom = (float(word) for word in re.split(r"[\s,]+", line.strip()))
    except ValueError:
        raise DataError(
            f"{path}, line {number}: {line.strip()!r} is no box; write four numbers, left top right bottom, in pixels."
        ) from None
    box = f"{path}, line {number}: the box {line.strip()!r}"
    # A pixel more is what tools write that count from 1 or round.
    full = left < right and top < bottom
    if not full or min(left, top) < -1 or right > shape[0] + 1 or bottom > shape[1] + 1:
        raise DataError(
            f"{box} {'lies outside its image' if full else 'is empty'}, which is {shape[0]} x {shape[1]}; "
            "write left top right bottom in pixels of the image as displayed."
        )
    if max(right, bottom) <= 1 and max(shape) > 1:
        raise DataError(f"{box} lies within a single pixel; write pixels, not shares of the image's sides.")
    return left, top, right, bottom
