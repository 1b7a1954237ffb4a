"""Decoded images on disk: written once, then memory-mapped, so that a set may be larger than the memory."""

import contextlib
import hashlib
import json
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gradsculpt.data.base import Bytes, ImageSet, Skipped
from gradsculpt.errors import DataError

# Part of every key: raise it when the files or the way images are decoded change.
FORMAT = 1

Progress = Callable[[int, int], None]

_TEMPORARY = ".building-"
_STALE_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Row:
    """One image on its way into the cache: uint8 [H, W, 3], and uint8 [H, W] of attention if the set has it."""

    image: Bytes
    label: int
    name: str
    attention: Bytes | None = None


@dataclass(frozen=True)
class Cached:
    """A memory-mapped set and the files that were left out of it."""

    images: ImageSet
    skipped: tuple[Skipped, ...]


def cached(
    cache_dir: Path,
    source: str,
    identity: Mapping[str, object],
    classes: tuple[str, ...],
    rows: Callable[[], Iterator[Row | Skipped]],
) -> Cached:
    """Open the set that `identity` describes, after writing it if it is not there yet.

    The set is written to a temporary folder that is renamed when complete: an interrupted build leaves nothing
    behind that could be taken for a set, and of two processes that build at once the slower one discards its work.

    Args:
        cache_dir: Folder of all cached sets; made if missing.
        source: Name for the set's folder; an older set of the same name with another key is deleted.
        identity: What the pixels depend on (JSON values); a change of it means a new build.
        classes: Class names.
        rows: Called when there is something to build; yields every image, or why a file was left out.

    Returns:
        The set, backed by memory maps that are read only.

    Raises:
        DataError: If the folder cannot be written (no permission, disk full), or if `rows` raises it.
    """
    described = json.dumps([FORMAT, classes, identity], sort_keys=True)
    key = hashlib.sha256(described.encode()).hexdigest()
    place = cache_dir / f"{source}-{key[:16]}"
    found = _open(place, key)
    if found is not None:
        return found
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _build(cache_dir, place, key, classes, rows)
    except OSError as error:
        raise DataError(
            f"decoded images cannot be kept in {cache_dir} ({error.strerror or error}); "
            "free space there or choose another folder for the cache."
        ) from error
    found = _open(place, key)
    if found is None:
        raise DataError(f"{place} was changed while it was being read; run the command again.")
    # Another process may be tidying up at the same time.
    with contextlib.suppress(OSError):
        _remove_old(cache_dir, source, keep=place)
    return found


def _build(
    cache_dir: Path,
    place: Path,
    key: str,
    classes: tuple[str, ...],
    rows: Callable[[], Iterator[Row | Skipped]],
) -> None:
    # Not tempfile.mkdtemp, whose folders nobody else may read: a cache can be shared.
    temporary = cache_dir / f"{_TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        meta = {"key": key, "classes": classes, **_write(temporary, rows())}
        (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        # Whatever is in the way was damaged (see _open) or has just been finished by another process.
        if place.exists() and _open(place, key) is None:
            shutil.rmtree(place, ignore_errors=True)
        try:
            temporary.rename(place)
        except OSError:
            if _open(place, key) is None:
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, rows: Iterator[Row | Skipped]) -> dict[str, Any]:
    labels: list[int] = []
    names: list[str] = []
    skipped: list[Skipped] = []
    with (
        _Stack(folder / "images.npy") as images,
        _Stack(folder / "attention.npy") as attention,
        warnings.catch_warnings(),
    ):
        # Pillow warns about odd metadata once a file; what matters is reported through `skipped`.
        warnings.filterwarnings("ignore", module="PIL")
        for row in rows:
            if isinstance(row, Skipped):
                skipped.append(row)
                continue
            images.append(row.image)
            if row.attention is not None:
                attention.append(row.attention)
            labels.append(row.label)
            names.append(row.name)
    np.save(folder / "labels.npy", np.asarray(labels, dtype=np.int64))
    return {"names": names, "skipped": [asdict(item) for item in skipped]}


class _Stack:
    """A .npy file that grows by one uint8 array at a time; no file if there was none.

    Plain writes rather than a writable memory map, because a full disk ends the process in the latter
    and raises OSError in the former.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0
        self._shape: tuple[int, ...] = ()
        self._file: BinaryIO | None = None

    def __enter__(self) -> "_Stack":
        return self

    def append(self, array: Bytes) -> None:
        if self._file is None:
            self._file, self._shape = self._path.open("wb"), array.shape
            self._header()
        self._file.write(np.ascontiguousarray(array).tobytes())
        self._count += 1

    def _header(self) -> None:
        if self._file is not None:
            # NumPy pads the header so that a first dimension of any length fits; it is overwritten at the end.
            self._file.seek(0)
            header = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)}
            np.lib.format.write_array_header_1_0(self._file, header)

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._header()
            self._file.close()


def _open(place: Path, key: str) -> Cached | None:
    try:
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        images = np.load(place / "images.npy", mmap_mode="r")
        labels = np.load(place / "labels.npy")
        path = place / "attention.npy"
        attention = np.load(path, mmap_mode="r") if path.exists() else None
        names = tuple(meta["names"])
        lengths = {len(labels), len(names), len(images), len(images if attention is None else attention)}
        if meta["key"] != key or len(lengths) > 1:
            return None
        skipped = tuple(Skipped(**item) for item in meta["skipped"])
        return Cached(ImageSet(images, labels, tuple(meta["classes"]), names, attention), skipped)
    # A damaged entry counts as absent and is built again.
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _remove_old(cache_dir: Path, source: str, keep: Path) -> None:
    for path in cache_dir.iterdir():
        stem, _, tail = path.name.rpartition("-")
        old = stem == source and len(tail) == len(keep.name.rpartition("-")[2]) and path != keep
        abandoned = path.name.startswith(_TEMPORARY) and time.time() - path.stat().st_mtime > _STALE_SECONDS
        if old or abandoned:
            shutil.rmtree(path, ignore_errors=True)
