"""What a folder of images holds: its parts, its classes, its files."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradsculpt.errors import DataError

# HEIC is listed although plain Pillow cannot read it: such photographs are then reported, not silently left out.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif", ".heic", ".heif"),
)
# Maps of where a human looked, one an image: no class and no part.
ATTENTION = "attention"
VALIDATION = ("val", "valid", "validation")
_PARTS = ("train", *VALIDATION, "test")


@dataclass(frozen=True)
class Listing:
    """The image files below one folder of class folders, by class and then by name.

    Args:
        classes: Class names; the index of a class is its label.
        stray: Image files outside the class folders.
    """

    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    stray: tuple[Path, ...]

    def picked(self, indices: Iterable[int]) -> "Listing":
        """Return the listing of some of the files alone, in the order of the indices, and nothing astray."""
        chosen = tuple(indices)
        files, labels = (tuple(each[i] for i in chosen) for each in (self.files, self.labels))
        return Listing(self.classes, files, labels, ())  # type: ignore[arg-type]


def find_parts(path: Path) -> tuple[Path, Path | None, Path | None]:
    """Tell a folder with train/, val/ and test/ inside from one folder of class folders.

    Returned are the folders of classes for training, validation and test; None for one that is to be cut from training.
    Raises `DataError` if there is something to test on and nothing to train on, or two folders for validation.
    """
    folders = _subfolders(path)
    # Vehicles may come in classes "bus", "car" and "train": such a folder has images right inside.
    only_parts = set(folders) <= set(_PARTS)
    parts = [name for name in folders if name in _PARTS and (only_parts or _subfolders(path / name))]
    if not parts:
        return path, None, None
    if "train" not in parts:
        raise DataError(
            f"{path} has {parts[0]}/ but no train/ with class folders inside, so there is nothing to train on; "
            "add train/, or give one folder of class folders."
        )
    val = [path / name for name in parts if name in VALIDATION]
    if len(val) > 1:
        raise DataError(f"{path} has {val[0].name}/ and {val[1].name}/, which mean the same; keep one of them.")
    return path / "train", val[0] if val else None, path / "test" if "test" in parts else None


def list_images(folder: Path, classes: tuple[str, ...] | None = None) -> Listing:
    """List the image files of a folder of class folders, at any depth in these.

    Other files, hidden ones and attention/ are passed over. Labels follow `classes`, those of the training images, or
    else the classes that there are here. Raises `DataError` if there are no images, no class folders, an empty one, a
    single class, or one not in `classes`.
    """
    present = _subfolders(folder)
    stray = tuple(sorted(Path(entry) for entry in os.scandir(folder) if not entry.is_dir() and is_image(entry.name)))
    if not present:
        fact = "has images but no class folders" if stray else "has no images and no class folders"
        raise DataError(f"{folder} {fact}; put the images of each class into a folder named after the class.")
    files = {name: list(files_below(folder / name, is_image)) for name in present}
    empty = [name for name in present if not files[name]]
    if len(empty) == len(present):
        raise DataError(f"{folder} has no images in its class folders ({some(present)}); add .jpg or .png files, say.")
    if empty:
        raise DataError(
            f"{folder} has class folders without images ({some(empty)}), which cannot be learnt; "
            "add images or remove these folders."
        )
    if classes is None and len(present) == 1:
        raise DataError(f"{folder} has only one class ({present[0]}); a classifier needs at least two class folders.")
    classes = classes or tuple(present)
    unknown = [name for name in present if name not in classes]
    if unknown:
        raise DataError(
            f"{folder} has classes that the training images lack ({some(unknown)}), which no network could get "
            "right; add them to the training images or remove them here."
        )
    labels = tuple(label for label, name in enumerate(classes) for _ in files.get(name, ()))
    return Listing(classes, tuple(file for name in classes for file in files.get(name, ())), labels, stray)


def some(names: list[str]) -> str:
    """Join the first few of `names` for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def files_below(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Yield the files below a folder whose names are `wanted`, in order of name; nothing hidden."""
    seen: set[str] = set()
    for here, below, files in os.walk(folder, followlinks=True):
        # A link to a folder above itself would otherwise be followed until the path is too long.
        real = _followed(here)
        below[:] = [] if real in seen else sorted(name for name in below if not _is_hidden(name))
        if real not in seen:
            yield from (Path(here, name) for name in sorted(files) if not _is_hidden(name) and wanted(name))
        seen.add(real)


def is_image(name: str) -> bool:
    """Whether a file goes by its name as an image."""
    return not _is_hidden(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _subfolders(folder: Path) -> list[str]:
    folders = [entry for entry in os.scandir(folder) if entry.is_dir() and not _is_hidden(entry.name)]
    for entry in folders:
        if entry.is_symlink():
            _followed(entry.path)
    return [name for name in sorted(entry.name for entry in folders) if name != ATTENTION]


def _followed(folder: str) -> str:
    """Return where a folder really is; raise `DataError` if it is a link to one that it lies in.

    Links to other folders, and to files, are followed: sets of images are made of them.
    """
    real = os.path.realpath(folder)
    above = os.path.realpath(os.path.dirname(folder) or ".")
    if os.path.islink(folder) and f"{above}{os.sep}".startswith(f"{real.rstrip(os.sep)}{os.sep}"):
        raise DataError(
            f"{folder} is a link to {real}, a folder that it lies in, whose images would be taken again for another "
            "class; remove the link."
        )
    return real
