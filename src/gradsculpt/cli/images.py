"""The images that a command is given: files, folders of files, or samples of data."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gradsculpt.cli.runs import Subject
from gradsculpt.data.base import Bytes
from gradsculpt.data.decode import decode
from gradsculpt.data.listing import SUFFIXES
from gradsculpt.errors import ArgumentError, DataError


@dataclass(frozen=True)
class NamedImage:
    """An image: its name, pixels [S, S, 3] and true class, where that is known."""

    name: str
    pixels: Bytes
    label: str | None


def collect(
    subject: Subject, paths: Sequence[Path], options: Mapping[str, Any], console: Console | None
) -> tuple[list[NamedImage], list[str]]:
    """Return images at the size of a classifier, and what is wrong with the files that cannot be read.

    Args:
        subject: Whose size the images take.
        paths: Files, and folders of files.
        options: `data`, `data_dir`, `cache_dir`, `split`, `count`, `strict` and `out`, as of `gradsculpt explain`.
        console: Where progress goes; None for nowhere.

    Raises:
        ArgumentError: If there are neither paths nor data, or both.
        DataError: If a path does not exist, or no file can be read.
    """
    if bool(paths) == bool(options["data"]):
        raise ArgumentError("nothing to explain, or two things; pass image files or folders, or --data with --count.")
    if options["data"]:
        part = getattr(subject.data(options, options["out"], console), options["split"])
        chosen = np.unique(np.linspace(0, len(part) - 1, max(1, options["count"])).round().astype(np.int64))
        return [NamedImage(plain(part.names[i]), part.images[i], part.classes[part.labels[i]]) for i in chosen], []
    images, unreadable = [], []
    for path, name in _files(paths):
        try:
            images.append(NamedImage(name, decode(path, subject.classifier.image_size), None))
        except DataError as error:
            if options["strict"]:
                raise
            unreadable.append(str(error))
    if not images:
        raise DataError(f"none of the files can be read: {' '.join(unreadable[:3]) or 'the folders hold no images.'}")
    return images, unreadable


def plain(name: str) -> str:
    """Return a name that is one file name on any system, without the suffix of an image."""
    return re.sub(r"[^\w.=-]+", "_", str(Path(name).with_suffix("") if Path(name).suffix.lower() in SUFFIXES else name))


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield every image file with a name for its maps, unlike all others."""
    taken: dict[str, int] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no file or folder {path}; mind the spelling.")
        files = (
            [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES] if path.is_dir() else [path]
        )
        for file in files:
            stem = plain(str(file.relative_to(path).with_suffix("")) if path.is_dir() else file.stem)
            taken[stem] = taken.get(stem, 0) + 1
            yield file, stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
