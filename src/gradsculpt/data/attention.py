"""Where a human looked, from files that lie beside the images: maps, masks and boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gradsculpt.data.base import Bytes
from gradsculpt.data.boxes import draw_boxes, read_boxes
from gradsculpt.data.decode import cut_square, decode_grey
from gradsculpt.data.listing import ATTENTION, Listing, files_below, is_hidden, is_image
from gradsculpt.errors import DataError

_BOXES = ".txt"


class AttentionMaps(Protocol):
    """The attention maps of some images."""

    def facts(self, file: Path) -> object:
        """Return what the map of an image depends on, as JSON values; None if there is no map."""

    def read(self, file: Path, size: int, shape: tuple[int, int]) -> Bytes:
        """Return the map of an image, cut as `decode` cuts the image.

        Args:
            file: The image.
            size: Side of the square.
            shape: Width and height of the upright image.

        Returns:
            uint8 [size, size].

        Raises:
            DataError: If the map cannot be read or does not fit its image.
        """


@dataclass(frozen=True)
class AttentionFolder:
    """The folder `attention/`, which mirrors the folders of images beside it.

    The attention of `train/cat/x.jpg` is `attention/train/cat/x.png`, a greyscale map or mask of the same proportions
    and any size, black where nobody looked, in any format that images may have; or `attention/train/cat/x.txt`, a
    line `left top right bottom` for each box. Boxes are in pixels of the image as it is displayed, with 0, 0 its upper
    left corner and its width and height the lower right one; a file without boxes says that nobody looked.

    Args:
        folder: The folder `attention/`.
        files: Its files, by their path inside it without the suffix.
    """

    folder: Path
    files: Mapping[str, Path]

    def facts(self, file: Path) -> object:
        """Return path, size and time of change of the file that has the map; None if there is none."""
        found = self.find(file)
        if found is None:
            return None
        info = found.stat()
        return [found.relative_to(self.folder).as_posix(), info.st_size, info.st_mtime_ns]

    def read(self, file: Path, size: int, shape: tuple[int, int]) -> Bytes:
        """Return the map of an image that has one."""
        found = self.files[self.key(file)]
        if found.suffix.lower() == _BOXES:
            return draw_boxes(read_boxes(found, shape), size, shape)
        grey = decode_grey(found)
        check_fit(str(found), (grey.shape[1], grey.shape[0]), file, shape)
        return cut_square(grey, size, shape)

    def find(self, file: Path) -> Path | None:
        """Return the file that has the map of an image, if there is one."""
        return self.files.get(self.key(file))

    def key(self, file: Path) -> str:
        """Return the path of an image below the folder that `attention/` lies in, without the suffix."""
        return file.relative_to(self.folder.parent).with_suffix("").as_posix()


def find_attention(
    root: Path, listed: Sequence[tuple[Path, Listing]]
) -> tuple[list[AttentionFolder | None], tuple[str, ...]]:
    """Find the attention of each part of a folder of images: `root`/attention, or one inside the part.

    Args:
        root: The folder of images.
        listed: Its parts, with what was found there.

    Returns:
        The attention of each part, None where no image of it has a map; and notes for the user.

    Raises:
        DataError: If no map belongs to an image, or it is not clear which map an image has.
    """
    indexed = {folder: _index(folder) for folder in dict.fromkeys((root, *(part for part, _ in listed)))}
    chosen = [indexed[part] if part == root else _one_of(indexed[root], indexed[part]) for part, _ in listed]
    found = [
        set() if maps is None else _matching(maps, part.files) for maps, (_, part) in zip(chosen, listed, strict=True)
    ]
    notes = []
    for maps in (maps for maps in indexed.values() if maps is not None):
        mine = [index for index, one in enumerate(chosen) if one is maps]
        files = [file for index in mine for file in listed[index][1].files]
        notes += _compare(maps, files, set().union(*(found[index] for index in mine)), root)
    return [maps if keys else None for maps, keys in zip(chosen, found, strict=True)], tuple(notes)


def check_fit(name: str, map_shape: tuple[int, int], file: Path, shape: tuple[int, int]) -> None:
    """Raise `DataError` unless a map has the proportions of its image, but for the rounding of a scaled copy.

    Example:
        >>> check_fit("x.png", (7, 5), Path("x.jpg"), (500, 375))
        >>> try:
        ...     check_fit("x.png", (5, 5), Path("x.jpg"), (500, 375))
        ... except DataError as error:
        ...     str(error)[:40]
        'x.png is 5 x 5 but x.jpg is 500 x 375, s'
    """
    # Sides of a copy are rounded up, down or to the nearest: its longer side may be a pixel off what the other says.
    apart = abs(map_shape[0] * shape[1] - map_shape[1] * shape[0])
    if apart > max(*map_shape, *shape):
        raise DataError(
            f"{name} is {map_shape[0]} x {map_shape[1]} but {file} is {shape[0]} x {shape[1]}, so it is no map of the "
            "whole image; give it the proportions of the image as displayed, at any scale."
        )


def _index(parent: Path) -> AttentionFolder | None:
    """List `parent`/attention, if it is there."""
    folder = parent / ATTENTION
    if not folder.is_dir():
        return None
    files: dict[str, Path] = {}
    for file in files_below(folder, _is_map):
        key = file.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise DataError(f"{files[key]} and {file} are both maps of one image; keep one of them.")
        files[key] = file
    return AttentionFolder(folder, files)


def _is_map(name: str) -> bool:
    return is_image(name) or (name.lower().endswith(_BOXES) and not is_hidden(name))


def _one_of(first: AttentionFolder | None, second: AttentionFolder | None) -> AttentionFolder | None:
    if first is not None and second is not None:
        raise DataError(f"{first.folder} and {second.folder} both have maps of the same images; keep one of them.")
    return first or second


def _matching(maps: AttentionFolder, files: Sequence[Path]) -> set[str]:
    """Return the keys of the images that have maps."""
    matched: dict[str, Path] = {}
    for file in files:
        key = maps.key(file)
        if key in maps.files and key in matched:
            raise DataError(
                f"{matched[key]} and {file} would share the map {maps.files[key]}; rename one of them and its map."
            )
        if key in maps.files:
            matched[key] = file
    return set(matched)


def _compare(maps: AttentionFolder, files: Sequence[Path], keys: set[str], root: Path) -> list[str]:
    """Return notes on images without maps and maps without images, given the keys that images and maps share."""
    if not keys:
        first = f"{maps.folder / maps.key(files[0])}.png"
        raise DataError(
            f"{maps.folder} has {len(maps.files)} maps and none belongs to an image; {files[0]} would have its map in "
            f"{first} or its boxes in a .txt there. Rename the folder if it does not hold attention maps."
        )
    notes = []
    without = [file for file in files if maps.key(file) not in keys]
    if without:
        notes.append(
            f"{len(without)} of {len(files)} images have no attention map (the first is "
            f"{without[0].relative_to(root).as_posix()}): they count as looked at nowhere"
        )
    lost = [file for key, file in maps.files.items() if key not in keys]
    if lost:
        first = lost[0].relative_to(root).as_posix()
        notes.append(f"{len(lost)} of {len(maps.files)} attention maps belong to no image (the first is {first})")
    return notes
