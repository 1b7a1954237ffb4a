"""A folder of photographs that nothing is trained on, as a whole: sorted into classes, or as they lie there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gradsculpt.data.attention import find_attention
from gradsculpt.data.base import ImageSet, Request, Skipped
from gradsculpt.data.folder import read_images
from gradsculpt.data.listing import ATTENTION, VALIDATION, Listing, files_below, find_parts, is_image
from gradsculpt.errors import DataError
from gradsculpt.wording import alike, printable

_HELD_OUT = ("test", *VALIDATION)


@dataclass(frozen=True)
class Photos:
    """What a folder of photographs holds, before any is decoded.

    Args:
        root: The folder.
        listing: The image files; of photographs that are not sorted, all in one class without a name.
        labelled: Whether folders say the classes.
    """

    root: Path
    listing: Listing
    labelled: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the class folders, as they can be printed."""
        return tuple(map(printable, self.listing.classes))

    def subset(self, indices: Sequence[int]) -> "Photos":
        """Return the photographs at `indices`, in that order, of the same classes."""
        return replace(self, listing=replace(self.listing.picked(indices), stray=self.listing.stray))


def list_photos(path: Path, *, labelled: bool | None = None) -> Photos | None:
    """List the photographs below a folder; None if it has a part to train on, so that the others are held out.

    Of a folder with test/ or val/ and nothing else, that part is listed.

    Args:
        path: The folder: of class folders, or of photographs that are not sorted.
        labelled: Whether folders say the classes; None if they do unless all photographs lie in the folder itself.

    Raises:
        DataError: If there is no such folder or nothing in it, two classes look the same in print, or none is sorted
            where classes are wanted.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isdir(path):
        fact = "is not a folder" if os.path.exists(path) else "does not exist"
        raise DataError(f"{path} {fact}; give the folder that the photos are in.")
    inside = {entry.name for entry in path.iterdir() if entry.is_dir()} - {ATTENTION}
    if inside and inside <= {*_HELD_OUT}:
        root = path / next(part for part in _HELD_OUT if part in inside)
    elif (root := find_parts(path)[0]) != path:
        return None
    files = [file for file in files_below(root, is_image) if file.relative_to(path).parts[0] != ATTENTION]
    if not files:
        raise DataError(f"{path} has no photos; give a folder with .jpg or .png files, or one such folder a class.")
    by_class: dict[str, list[Path]] = {}
    for file in files:
        first, *rest = file.relative_to(root).parts
        by_class.setdefault(first if rest else "", []).append(file)
    loose = by_class.pop("", [])
    if labelled is False or (labelled is None and not by_class):
        return Photos(path, Listing(("",), tuple(files), (0,) * len(files), ()), labelled=False)
    if not by_class:
        raise DataError(f"{path} has photos but no class folders; put those of each class into a folder of its name.")
    if pairs := alike(by_class):
        raise DataError(f"{path} has two classes of one name, {' and '.join(map(repr, pairs[0]))}; rename one.")
    sorted_files = tuple(file for each in by_class.values() for file in each)
    labels = tuple(label for label, each in enumerate(by_class.values()) for _ in each)
    return Photos(path, Listing(tuple(by_class), sorted_files, labels, tuple(loose)), labelled=True)


def read_photos(photos: Photos, request: Request) -> tuple[ImageSet, tuple[Skipped, ...], tuple[str, ...]]:
    """Return listed photographs at the size of a request, what was left out, and what else is to be said.

    Each is named by its path below the root. Where people looked may stand in attention/, as `load_folder` says. Raises
    `DataError` if too many cannot be decoded, two have names that look the same in print, or attention does not fit.
    """
    (attention,), notes = find_attention(photos.root, [(photos.root, photos.listing)])
    read = read_images(photos.root, photos.root, photos.listing, attention, request)
    names = read.images.names
    shown = all(name.isprintable() for name in names)
    if not shown and (pairs := alike(names)):
        raise DataError(f"{photos.root} has two photos of one name, {' and '.join(map(repr, pairs[0]))}; rename one.")
    return (
        replace(read.images, classes=photos.classes, names=names if shown else tuple(map(printable, names))),
        read.skipped,
        notes,
    )
