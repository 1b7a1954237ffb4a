"""Decoded images on disk: written once, then memory-mapped, so that a set may be larger than the memory."""

import hashlib
import json
import shutil
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from gradsculpt.data.base import Bytes, ImageSet, Skipped
from gradsculpt.errors import DataError
from gradsculpt.machine import cores, free_disk
from gradsculpt.reading import read_json
from gradsculpt.wording import size_of

# Part of every key: raise it when the files or the way images are decoded change.
FORMAT = 1

_TEMPORARY = ".building-"
_STALE_SECONDS = 7 * 24 * 3600
_TRIES, _MOMENT = 50, 0.02
_AT_ONCE = 256  # images that are decoded before the first of them is written
_META = 1 << 30  # bytes that the names of a set may take
_BUFFER = 1 << 20  # bytes that are written at once

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    room: int = 0,
) -> Cached:
    """Open the set that `identity` describes, after writing it if it is not there yet.

    The set is written to a temporary folder that is renamed when complete: an interrupted build leaves nothing
    behind that could be taken for a set, and of two processes that build at once the slower one discards its work.
    Raises `DataError` if the folder cannot be written, or has not enough room.

    Args:
        cache_dir: Folder of all cached sets; made if missing.
        source: Name for the set's folder; an older set of the same name with another key is deleted.
        identity: What the pixels depend on (JSON values); a change of it means a new build.
        classes: Class names.
        rows: Called when there is something to build; yields every image, or why a file was left out.
        room: The bytes that the set will take at most.
    """
    key = hashlib.sha256(json.dumps([FORMAT, classes, identity], sort_keys=True).encode()).hexdigest()
    place = cache_dir / f"{source}-{key[:16]}"
    if (ready := _open(place, key)) is not None:
        return ready
    if room > (free := free_disk(cache_dir) or room):
        raise DataError(
            f"the decoded images would take {size_of(room)} in {cache_dir}, where {size_of(free)} are free; pass a "
            "smaller --image-size or --train-count, or another --cache-dir."
        )
    # Not tempfile.mkdtemp, whose folders nobody else may read: a cache can be shared.
    temporary = cache_dir / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        meta = {"key": key, "classes": classes, **_write(temporary, rows())}
        (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        _put(temporary, place, key)
    except OSError as error:
        raise DataError(
            f"decoded images cannot be kept in {cache_dir} ({error.strerror or error}); "
            "free space there or choose another folder for the cache."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if (ready := _settled(place, key)) is None:
        raise DataError(f"{place} was changed while it was being read; run the command again.")
    # Another process may be tidying up at the same time.
    with suppress(OSError):
        _remove_old(cache_dir, source, keep=place)
    return ready


def _put(temporary: Path, place: Path, key: str) -> None:
    """Give a finished set its place, unless another process has put a whole one there."""
    with suppress(OSError):
        temporary.rename(place)
        return
    if _open(place, key) is not None:
        return
    # What is in the way is damaged. It goes at once and as a whole: another process, which has just put its own set
    # there, would otherwise see half of that.
    with suppress(FileNotFoundError):
        place.rename(temporary.with_name(f"{temporary.name}-damaged"))
    try:
        temporary.rename(place)
    except OSError:
        if _settled(place, key) is None:
            raise
    finally:
        shutil.rmtree(temporary.with_name(f"{temporary.name}-damaged"), ignore_errors=True)


def _settled(place: Path, key: str) -> Cached | None:
    """Open a set that another process may be about to replace by its own."""
    for _ in range(_TRIES):
        if (ready := _open(place, key)) is not None:
            return ready
        time.sleep(_MOMENT)
    return None


def ordered(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int = _AT_ONCE
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item in turn, computed by `workers()` threads, `ahead` at most in advance.

    Example:
        >>> list(ordered(str.upper, ["a", "b"]))
        ['A', 'B']
    """
    # The limit bounds the results that wait in memory, and what must be finished after a Ctrl-C.
    coming = deque[Future[Result]]()
    with ThreadPoolExecutor(max_workers=workers()) as pool:
        try:
            for item in items:
                coming.append(pool.submit(function, item))
                if len(coming) >= ahead:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for each in coming:
                each.cancel()


def workers() -> int:
    """Return how many threads or processes read images: as many as have a core each, up to 16."""
    return min(16, cores().threads)


def _write(folder: Path, rows: Iterator[Row | Skipped]) -> dict[str, Any]:
    labels: list[int] = []
    names: list[str] = []
    skipped: list[Skipped] = []
    stacks: dict[str, tuple[BinaryIO, tuple[int, ...]]] = {}
    with ExitStack() as files, warnings.catch_warnings():
        files.callback(getattr(rows, "close", tuple))  # of a generator, or its processes would wait for the next row
        # Pillow warns about odd metadata once a file; what matters is reported through `skipped`.
        warnings.filterwarnings("ignore", module="PIL")
        for row in rows:
            if isinstance(row, Skipped):
                skipped.append(row)
                continue
            for name, array in (("images", row.image), ("attention", row.attention)):
                if array is None:
                    continue
                if name not in stacks:
                    stacks[name] = files.enter_context((folder / f"{name}.npy").open("wb", _BUFFER)), array.shape
                    _header(*stacks[name], 0)
                # Not a writable memory map, in which a full disk ends the process instead of raising OSError.
                stacks[name][0].write(np.ascontiguousarray(array).tobytes())
            labels.append(row.label)
            names.append(row.name)
        for file, shape in stacks.values():
            _header(file, shape, len(names))
    np.save(folder / "labels.npy", np.asarray(labels, dtype=np.int64))
    return {"names": names, "skipped": [asdict(item) for item in skipped]}


def _header(file: BinaryIO, shape: tuple[int, ...], count: int) -> None:
    """Begin a .npy file of `count` uint8 arrays; NumPy pads its header so that any other count fits there later."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)})


def _open(place: Path, key: str) -> Cached | None:
    """Open a set; None if it is not there, is damaged, or has another key."""
    try:
        meta = read_json(place / "meta.json", _META)
        images = np.load(place / "images.npy", mmap_mode="r")
        labels = np.load(place / "labels.npy")
        maps = place / "attention.npy"
        attention = np.load(maps, mmap_mode="r") if maps.exists() else None
        names = tuple(meta["names"])
        lengths = {len(labels), len(names), len(images), len(images if attention is None else attention)}
        if meta["key"] != key or len(lengths) > 1:
            return None
        skipped = tuple(Skipped(**item) for item in meta["skipped"])
        return Cached(ImageSet(images, labels, tuple(meta["classes"]), names, attention), skipped)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _remove_old(cache_dir: Path, source: str, keep: Path) -> None:
    for path in cache_dir.iterdir():
        stem, _, tail = path.name.rpartition("-")
        old = stem == source and len(tail) == len(keep.name.rpartition("-")[2]) and path != keep
        abandoned = path.name.startswith(_TEMPORARY) and time.time() - path.stat().st_mtime > _STALE_SECONDS
        if old or abandoned:
            shutil.rmtree(path, ignore_errors=True)
