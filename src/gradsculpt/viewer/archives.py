"""A zip of class folders that a visitor uploads, unpacked within bounds; and a zip of runs, to be downloaded."""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from gradsculpt.data.listing import ATTENTION, SUFFIXES, is_image
from gradsculpt.errors import DataError
from gradsculpt.runs import CHECKPOINTS
from gradsculpt.viewer.uploads import TooLargeError, opened, told
from gradsculpt.wording import size_of

CACHE = "cache"
"""Where a run keeps decoded images."""

_LISTED = 400  # bytes of the list of an archive for each file: 46, and a long name
_CHUNK = 1 << 16
_REMEDY = "upload a zip of folders, one for each class, with images in them"


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    Args:
        images: Image files.
        entries: Files and folders of all kinds.
        file_bytes: Bytes of a file, unpacked.
        bytes: Bytes of all files together, unpacked.
        depth: Folders within each other.
    """

    images: int = 2000
    entries: int = 5000
    file_bytes: int = 16_000_000
    bytes: int = 250_000_000
    depth: int = 8


def archive(
    path: Path, folder: Path, name: str = "", limits: Limits = Limits(), check: Callable[[], None] = lambda: None
) -> Path:
    """Unpack the images of a zip of class folders, and return the folder of classes (or of train/, val/ and test/).

    Hidden files, and those that are no images by their names, are left out. Archives inside are not opened. What is
    unpacked is counted while it is read, whatever the archive says of itself. If it is refused, nothing of it is left.

    Args:
        path: The file.
        folder: A folder that does not exist yet, in which alone is written.
        name: What it is called in messages; by default as the file.
        limits: What it may hold.
        check: Called now and then; what it raises stops the work.

    Raises: DataError if it is no zip, names a place outside of itself, holds too much, or no images in folders.
    """
    called = told(name or path.name)
    folder.mkdir(parents=True)
    try:
        with _archive(path, called, limits) as file:
            _unpack(file, _wanted(file, called, limits), folder, called, limits, check)
        return _classes(folder, called)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _archive(path: Path, called: str, limits: Limits) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise DataError(f"{called} is not there any more; upload it again.")
    if path.stat().st_size == 0:
        raise DataError(f"{called} is empty (0 bytes); {_REMEDY}.")
    try:
        with path.open("rb") as file:
            # The list of an archive may be as long as the archive itself, and takes ten times as much in memory.
            if _list_bytes(file) > limits.entries * _LISTED:
                raise DataError(f"{called} lists more than {limits.entries:,} files; upload fewer.")
            with zipfile.ZipFile(file) as unzipped:
                yield unzipped
    except DataError:
        raise
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        EOFError,
        ValueError,
        OverflowError,
    ) as error:
        raise DataError(f"{called} is not a zip archive, or a damaged one; {_REMEDY}.") from error
    except RuntimeError as error:  # what zipfile raises where a password is wanted
        raise DataError(f"{called} is encrypted, and cannot be read; {_REMEDY}, without a password.") from error
    except (OSError, zlib.error, struct.error) as error:
        raise DataError(f"{called} cannot be unpacked; {_REMEDY}.") from error


def _list_bytes(file: BinaryIO) -> int:
    """Return how long an archive's list of its files is, as `zipfile` will read it."""
    record = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if record is None:
        raise zipfile.BadZipFile
    return int(record[5])


@dataclass
class _Paths:
    """The paths of an archive, none of which may be another one on any disk."""

    called: str
    seen: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def add(self, parts: Sequence[str]) -> None:
        keys = ["/".join(_key(part) for part in parts[: i + 1]) for i in range(len(parts))]
        path = "/".join(parts)
        for key, shown in zip(keys, ("/".join(parts[: i + 1]) for i in range(len(parts))), strict=True):
            before = self.seen.setdefault(key, shown)
            if before != shown:
                raise DataError(
                    f"{self.called} holds {told(before)} and {told(shown)}, which are the same on many disks; rename "
                    "one of them."
                )
        if keys[-1] in self.files:
            raise DataError(f"{self.called} holds {told(path)} twice; leave one of them out.")
        if keys[-1] in self.folders or any(key in self.files for key in keys[:-1]):
            raise DataError(f"{self.called} holds {told(path)} as a file and as a folder; rename one of them.")
        self.files.add(keys[-1])
        self.folders.update(keys[:-1])


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _wanted(file: zipfile.ZipFile, called: str, limits: Limits) -> list[tuple[zipfile.ZipInfo, list[str]]]:
    """Return the images of an archive with the parts of their paths, by the list in it, which may lie of sizes."""
    entries = file.infolist()
    if len(entries) > limits.entries:
        raise DataError(
            f"{called} lists {len(entries):,} files, and at most {limits.entries:,} are read; upload fewer."
        )
    paths, images = _Paths(called), []
    for entry in entries:
        parts = _parts(entry, called)
        if entry.is_dir() or any(_hidden(part) for part in parts) or not is_image(parts[-1]):
            continue
        if len(parts) > limits.depth:
            raise DataError(f"{called} has folders {len(parts)} deep; upload class folders with images in them.")
        paths.add(parts)
        images.append((entry, parts))
    if not images:
        inside = [
            entry.filename for entry in entries if entry.filename.lower().endswith((".zip", ".tar", ".gz", ".7z"))
        ]
        more = f", but another archive ({told(inside[0])}), which is not opened" if inside else ""
        kinds = ", ".join(SUFFIXES[:5])
        raise DataError(f"{called} holds no images{more}; upload a zip of class folders with {kinds} files in them.")
    if len(images) > limits.images:
        raise DataError(
            f"{called} holds {len(images):,} images, and at most {limits.images:,} are taken; upload fewer."
        )
    return images


def _parts(entry: zipfile.ZipInfo, called: str) -> list[str]:
    """Return the parts of the path of an entry; raise `DataError` if it leads out of the archive, or is no plain file.

    Names are refused, rather than changed: an archive that has such a name was not made to be looked at.
    """
    name = entry.orig_filename if "\0" in entry.orig_filename else entry.filename
    shown = told(name)
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain) or ".." in parts or not parts:
        raise DataError(f"{called} names a place outside of itself ({shown}), which is refused; pack the folders anew.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in plain):
        raise DataError(
            f"{called} has a file whose name cannot be shown ({shown}); rename it, and pack the folders anew."
        )
    if any(len(os.fsencode(part)) > 255 for part in parts):
        raise DataError(f"{called} has a file whose name is too long ({shown}); shorten it, and pack the folders anew.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        raise DataError(
            f"{called} holds {shown}, which is {what}, and links are not followed; pack the files themselves."
        )
    if entry.flag_bits & 1:
        raise DataError(f"{called} is encrypted, and cannot be read; upload it without a password.")
    if not entry.is_dir() and entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{called} is packed in an unusual way; pack it as a plain zip.")
    return parts


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _unpack(
    file: zipfile.ZipFile,
    images: Sequence[tuple[zipfile.ZipInfo, list[str]]],
    folder: Path,
    called: str,
    limits: Limits,
    check: Callable[[], None],
) -> None:
    total = 0
    for entry, parts in images:
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with file.open(entry) as source, target.open("xb") as copy:
            while chunk := source.read(_CHUNK):
                check()
                written += len(chunk)
                total += len(chunk)
                if written > limits.file_bytes:
                    raise DataError(
                        f"{called} holds {told(parts[-1])}, which unpacks to more than {size_of(limits.file_bytes)}; "
                        "upload smaller images."
                    )
                if total > limits.bytes:
                    raise DataError(f"{called} unpacks to more than {size_of(limits.bytes)}; upload fewer images.")
                copy.write(chunk)
        _keep(target, told("/".join(parts)))


def _keep(path: Path, called: str) -> None:
    """Remove a file that is no picture of a kind that is read here; raise `DataError` if it is one that is too large.

    What is damaged further inside is told of, and passed over, by whoever reads the folder.
    """
    try:
        with opened(path, called):
            pass
    except TooLargeError:
        raise
    except DataError:
        path.unlink()


def _classes(folder: Path, called: str) -> Path:
    """Return the folder of class folders; folders around them that hold nothing else are passed through."""
    here = folder
    while len(inside := sorted(here.iterdir())) == 1 and inside[0].is_dir():
        if not any(each.is_dir() for each in inside[0].iterdir()):
            break
        here = inside[0]
    if not any(path.is_file() for path in here.rglob("*")):
        raise DataError(f"{called} holds no picture of a kind that is read here; upload JPEG or PNG files.")
    folders = [each.name for each in inside if each.is_dir() and each.name != ATTENTION]
    if len(folders) < 2:
        only = f"one class folder alone ({told(folders[0])})" if folders else "no class folders"
        raise DataError(f"{called} has {only}; upload a zip of two class folders or more, with images in them.")
    return here


def packed(runs: Sequence[Path], folder: Path) -> Path:
    """Return a zip of runs, without the images that they keep and what they could be resumed from, in a folder."""
    path = folder / f"{'-'.join(run.name for run in runs)}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for run in runs:
            for each in sorted(run.rglob("*")):
                inside = each.relative_to(run)
                if each.is_file() and inside.parts[0] not in (CACHE, CHECKPOINTS):
                    file.write(each, f"{run.name}/{inside.as_posix()}")
    return path
