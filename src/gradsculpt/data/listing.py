"""What a folder of images holds: its parts, its classes, its files."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from gradsculpt.data.names import Names
from gradsculpt.errors import DataError

Numbers = npt.NDArray[np.int64]

# HEIC is listed although plain Pillow cannot read it: such photographs are then reported, not silently left out.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif", ".heic", ".heif"),
)
# Maps of where a human looked, one an image: no class and no part.
ATTENTION = "attention"
VALIDATION = ("val", "valid", "validation")
_PARTS = ("train", *VALIDATION, "test")


class Files(Sequence[Path]):
    """Files below a folder, by their names, each of which becomes a path when it is asked for.

    Args:
        root: The folder.
        names: Their paths below it, with slashes.

    Example:
        >>> files = Files(Path("photos"), Names(["cat/1.png", "dog/2.png"]))
        >>> files[1].name, len(files.picked([1]))
        ('2.png', 1)
    """

    def __init__(self, root: Path, names: Names) -> None:
        self.root, self.names = root, names

    def picked(self, places: Numbers | Sequence[int]) -> "Files":
        """Return some of the files, in the order of their places."""
        return Files(self.root, self.names.picked(places))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> "list[Path]": ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self.root / name for name in self.names[place]]
        return self.root / self.names[place]

    def __iter__(self) -> Iterator[Path]:
        return (self.root / name for name in self.names)


@dataclass(frozen=True)
class Listing:
    """The image files below one folder of class folders, by class and then by name.

    Args:
        classes: Class names; the index of a class is its label.
        labels: The label of each file.
        stray: Image files outside the class folders.
        facts: Size and time [N, 2] of each file when it was listed; None if nobody has looked.
        folders: The folders that were looked into, below the one that was listed, each with its time.
    """

    classes: tuple[str, ...]
    files: Sequence[Path]
    labels: Sequence[int] | Numbers
    stray: tuple[Path, ...]
    facts: Numbers | None = None
    folders: tuple[tuple[str, int], ...] = ()

    def picked(self, indices: Sequence[int] | Numbers) -> "Listing":
        """Return the listing of some of the files alone, in the order of the indices, and nothing astray."""
        chosen = np.asarray(indices, dtype=np.int64)
        whole = self.files
        files = whole.picked(chosen) if isinstance(whole, Files) else tuple(whole[i] for i in chosen.tolist())
        facts = None if self.facts is None else self.facts[chosen]
        return Listing(self.classes, files, np.asarray(self.labels, np.int64)[chosen], (), facts)

    def names(self, root: Path) -> Names:
        """Return the paths of the files below a folder, with slashes."""
        if not isinstance(self.files, Files):
            return Names(file.relative_to(root).as_posix() for file in self.files)
        above = self.files.root.relative_to(root).as_posix()
        return self.files.names if above == "." else Names(f"{above}/{name}" for name in self.files.names)


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
    found, counts = _Found(folder), dict[str, int]()
    present = _subfolders(folder)
    stray = tuple(sorted(Path(entry) for entry in os.scandir(folder) if not entry.is_dir() and is_image(entry.name)))
    if not present:
        fact = "has images but no class folders" if stray else "has no images and no class folders"
        raise DataError(f"{folder} {fact}; put the images of each class into a folder named after the class.")
    for name in present if classes is None else [*filter(set(present).__contains__, classes), *present]:
        if name not in counts:
            counts[name] = found.add(name)
    empty = [name for name in present if not counts[name]]
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
    labels = np.repeat(np.arange(len(classes)), [counts.get(name, 0) for name in classes])
    files, facts, folders = found.files()
    return Listing(classes, files, labels.astype(np.int64), stray, facts, folders)


class _Found:
    """The files of several class folders, as they are listed: bytes rather than objects, as there may be millions."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._folders = folder, [("", size_and_time(folder)[1])]
        self._names, self._facts = [Names()], [np.zeros((0, 2), np.int64)]

    def add(self, name: str) -> int:
        """List the images of a class; return how many there are."""
        facts, below = list[tuple[int, int]](), name

        def visited(here: str) -> None:
            nonlocal below
            below = os.path.relpath(here, self._folder).replace(os.sep, "/")
            self._folders.append((below, size_and_time(here)[1]))

        def told() -> Iterator[str]:
            for here, file in walked(self._folder / name, is_image, visited):
                facts.append(size_and_time(os.path.join(here, file)))
                yield f"{below}/{file}"

        self._names.append(Names(told()))
        self._facts.append(np.array(facts, np.int64).reshape(-1, 2))
        return len(facts)

    def files(self) -> tuple[Files, Numbers, tuple[tuple[str, int], ...]]:
        """Return the files, their sizes and times, and the folders with theirs."""
        names = Names(name for names in self._names for name in names)
        return Files(self._folder, names), np.concatenate(self._facts), tuple(self._folders)


def size_and_time(file: str | Path) -> tuple[int, int]:
    """Return the size and the time of a file in nanoseconds; -1 of a link that leads nowhere, which cannot be read."""
    try:
        info = os.stat(file)
    except OSError:
        return -1, -1
    return info.st_size, info.st_mtime_ns


def some(names: list[str]) -> str:
    """Join the first few of `names` for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def files_below(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Yield the files below a folder whose names are `wanted`, in order of name; nothing hidden."""
    return (Path(here, name) for here, name in walked(folder, wanted))


def walked(
    folder: Path, wanted: Callable[[str], bool], visited: Callable[[str], object] = lambda here: None
) -> Iterator[tuple[str, str]]:
    """Yield the folder and the name of each file that `files_below` does; `visited` is told of each folder first."""
    seen: set[str] = set()
    for here, below, files in os.walk(folder, followlinks=True):
        # A link to a folder above itself would otherwise be followed until the path is too long.
        real = _followed(here)
        below[:] = [] if real in seen else sorted(name for name in below if not _is_hidden(name))
        if real not in seen:
            visited(here)
            yield from ((here, name) for name in sorted(files) if not _is_hidden(name) and wanted(name))
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
