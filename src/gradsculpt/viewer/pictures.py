"""The pictures that a visitor can choose: of a network's own data, of a folder, uploaded, or photographs at hand."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.images import evenly_spaced
from gradsculpt.errors import ArgumentError, DataError, GradsculptError
from gradsculpt.progress import Reporter
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from gradsculpt.cli.opened import NamedNetwork
    from gradsculpt.data.base import Bytes, ImageSet
    from gradsculpt.data.listing import Listing

OFFERED = 24
"""Pictures of a set that are on offer, evenly spaced."""

_PHOTOGRAPHS = {
    "chelsea.png": "a cat",
    "coffee.png": "a cup of coffee",
    "rocket.jpg": "a rocket",
    "astronaut.png": "an astronaut",
    "motorcycle_left.png": "a motorcycle",
}
"""Photographs that come with scikit-image, and what is in them."""


@dataclass(frozen=True)
class Picture:
    """A picture of any origin, by what it is called, with its true class where that is known.

    `at` returns its pixels at a side in pixels, uint8 [side, side, 3]: the same that `gradsculpt explain` would read.
    """

    title: str
    label: str | None
    at: Callable[[int], Bytes]
    notes: tuple[str, ...] = ()
    """What was done to it that a visitor has to know, in sentences."""


def uploaded(path: Path, title: str = "") -> Picture:
    """Return the picture of a file, which is read when its pixels are wanted; by its name unless it has a title."""
    from gradsculpt.data.decode import decode

    def at(size: int) -> Bytes:
        if not path.is_file():
            raise DataError("the picture is no longer kept here; upload it again.")
        return decode(path, size)

    return Picture(printable(title or path.name), None, at)


def thumbnails(pictures: Iterable[Picture], size: int) -> list[tuple[Picture, Bytes]]:
    """Return pictures with their pixels at a side, but for those that cannot be read, as one file may be."""
    made: list[tuple[Picture, Bytes]] = []
    for picture in pictures:
        with suppress(GradsculptError):
            made.append((picture, picture.at(size)))
    return made


def checked(path: Path) -> Picture:
    """Return the picture of a file that a visitor has uploaded; raise `DataError` if it is none, or too large."""
    from gradsculpt.viewer.uploads import picture, told

    notes = picture(path).notes
    return replace(uploaded(path, told(path.name)), notes=notes)


def photographs() -> tuple[Picture, ...]:
    """Return the photographs of scikit-image, if it is installed."""
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else Path()
    files = {folder / name: told for name, told in _PHOTOGRAPHS.items()}
    return tuple(uploaded(path, told) for path, told in files.items() if spec is not None and path.is_file())


def pictures_of(network: NamedNetwork, options: Mapping[str, Any], reporter: Reporter) -> tuple[Picture, ...]:
    """Return pictures of the data that are named, or of a run's own: of those held out, evenly spaced.

    Files of a folder are read when they are wanted; other data as a whole, as `gradsculpt explain --data` reads them.

    Args:
        network: Whose data are meant, and whose classes.
        options: `data`, a name or None for a run's own, `out`, `data_dir` and `cache_dir`.
        reporter: Is told of what takes long.

    Raises: GradsculptError if the data cannot be had, or there are none.
    """
    data = options["data"] or network.own_data
    if data is None:
        raise ArgumentError(f"{network.name} has no pictures of its own; upload one.")
    kind, _, place = data.partition(":")
    if (
        kind == "folder"
        and (listed := _listed(Path(os.path.expanduser(place)), own=options["data"] is None)) is not None
    ):
        return _of_files(*listed)
    return _of_set(network.data(options, reporter).test)


def _listed(folder: Path, *, own: bool) -> tuple[Path, Listing] | None:
    """Return the held-out files of a folder; None if a training cuts them off by its settings."""
    from gradsculpt.data.listing import find_parts, list_images
    from gradsculpt.data.photos import list_photos

    if not folder.is_dir():
        raise DataError(f"the folder {folder.name} is not there any more; upload a picture.")
    if not own and (photos := list_photos(folder)) is not None:
        return photos.root, photos.listing
    _, val, test = find_parts(folder)
    held_out = test or val
    return None if held_out is None else (held_out, list_images(held_out))


def _of_files(root: Path, listing: Listing) -> tuple[Picture, ...]:
    chosen = evenly_spaced(len(listing.files), OFFERED)
    files = [(listing.files[i], printable(listing.classes[listing.labels[i]])) for i in chosen]
    shown = [uploaded(path, path.relative_to(root).as_posix()) for path, _ in files]
    return tuple(Picture(each.title, label or None, each.at) for each, (_, label) in zip(shown, files, strict=True))


def _of_set(images: ImageSet) -> tuple[Picture, ...]:
    return tuple(
        Picture(printable(images.names[i]), images.classes[images.labels[i]], partial(_pixels, images, int(i)))
        for i in evenly_spaced(len(images), OFFERED)
    )


def _pixels(images: ImageSet, i: int, size: int) -> Bytes:
    import numpy as np

    from gradsculpt.data.decode import cut_square

    return cut_square(np.asarray(images.images[i]), size)
