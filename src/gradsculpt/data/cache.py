"""Decoded images on disk: written once, then read by rows, so that a set may be larger than the memory.

Every file of a set has checksums: a set whose description, labels or checksums are damaged is made again when it is
opened, and one with a damaged row when that is first read (see `StoredRows`), after a line that says so.
"""

import hashlib
import json
import os
import shutil
import socket
import sys
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gradsculpt.data.base import ImageSet, Skipped
from gradsculpt.data.building import Building, Row, is_begun
from gradsculpt.data.names import Names
from gradsculpt.data.stored import StoredRows
from gradsculpt.errors import DataError, RunError
from gradsculpt.files import on_disk
from gradsculpt.locks import locked, may_live
from gradsculpt.machine import cores, free_disk
from gradsculpt.reading import parsed_json, read_bytes
from gradsculpt.seals import is_whole, sealed_json
from gradsculpt.wording import counted, size_of

# Part of every key: raise it when the files or the way images are decoded change.
FORMAT = 2

_TEMPORARY = ".building-"
_STALE_SECONDS = 7 * 24 * 3600
_TRIES, _MOMENT = 50, 0.02
_AT_ONCE = 256  # images that are decoded before the first of them is written
_AGAIN = "{} is damaged, so its images are made again"
_META = 1 << 30  # bytes that the names of a set may take

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cached:
    """A set on disk and the files that were left out of it."""

    images: ImageSet
    skipped: tuple[Skipped, ...]


def cached(
    cache_dir: Path,
    source: str,
    identity: Mapping[str, object],
    classes: tuple[str, ...],
    rows: Callable[[], Iterator[Row | Skipped]],
    room: int = 0,
    tell: Callable[[str], object] = warnings.warn,
    going_on: Callable[[Sequence[bool]], Iterator[Row | Skipped]] | None = None,
) -> Cached:
    """Open the set that `identity` describes, after writing it if it is not there yet.

    The set is written to a temporary folder that is renamed when complete: an interrupted build leaves nothing
    behind that could be taken for a set, and the next one goes on with what it finished, where `going_on` tells how. Of
    two processes that build at once the slower one discards its work.
    Raises `DataError` if the folder cannot be written, or has not enough room.

    Args:
        cache_dir: Folder of all cached sets; made if missing.
        source: Name for the set's folder; an older set of the same name with another key is deleted.
        identity: What the pixels depend on (JSON values); a change of it means a new build.
        classes: Class names.
        rows: Called when there is something to build; yields every image, or why a file was left out.
        room: The bytes that the set will take at most.
        tell: Told, in one line, that a set is damaged and made again, now or when its damage is found.
        going_on: As `rows`, but yields what comes after the items of which it is told whether they gave an image.
    """
    key = hashlib.sha256(json.dumps([FORMAT, classes, identity], sort_keys=True).encode()).hexdigest()
    place = cache_dir / f"{source}-{key[:16]}"
    place = place.resolve() if place.is_symlink() and place.resolve().name == place.name and place.is_dir() else place
    build = partial(_built, place, key, classes, rows, room, tell, going_on)
    again = partial(_built_again, place, build, tell)
    if (ready := _open(place, key, again)) is not None:
        return ready
    if place.exists():
        tell(_AGAIN.format(place))
    build()
    if (ready := _settled(place, key, again)) is None:
        raise DataError(f"{place} was changed while it was being read; run the command again.")
    # Another process may be tidying up at the same time.
    with suppress(OSError):
        _remove_old(cache_dir, source, keep=place)
    return ready


def _built_again(place: Path, build: Callable[[], None], tell: Callable[[str], object]) -> None:
    """Make a set again, of which a row is damaged; `_put` could not tell."""
    tell(_AGAIN.format(place))
    _clear(place)
    build()


def _built(
    place: Path,
    key: str,
    classes: tuple[str, ...],
    rows: Callable[[], Iterator[Row | Skipped]],
    room: int,
    tell: Callable[[str], object],
    going_on: Callable[[Sequence[bool]], Iterator[Row | Skipped]] | None,
) -> None:
    """Write a set, as `cached` says."""
    cache_dir = place.parent
    with _alone(place, tell, lasting=going_on is not None) as temporary:
        there = sum(path.stat().st_size for path in temporary.iterdir()) if temporary.is_dir() else 0
        if room - there > (free := free_disk(cache_dir) or room):
            raise DataError(
                f"the decoded images would take {size_of(room)} in {cache_dir}, where {size_of(free)} are free; pass a "
                "smaller --image-size or --train-count, or another --cache-dir."
            )
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            with Building(temporary) as building:
                if building.done:
                    tell(f"{counted(sum(building.done), 'images')} had been decoded before the work was interrupted")
                coming = rows() if going_on is None or not building.done else going_on(building.done)
                meta = {"key": key, "classes": classes, **_write(building, coming)}
            (temporary / "meta.json").write_bytes(sealed_json(meta))
            for path in temporary.iterdir():
                on_disk(path)
            on_disk(temporary)
            _put(temporary, place, key)
            on_disk(cache_dir)
        except OSError as error:
            raise DataError(
                f"decoded images cannot be kept in {cache_dir} ({error.strerror or error}); "
                "free space there or choose another folder for the cache."
            ) from error


@contextmanager
def _alone(place: Path, tell: Callable[[str], object], *, lasting: bool) -> Iterator[Path]:
    """Yield a folder to build a set in, that nobody else uses; one that is `lasting` stays if the work is interrupted.

    Whoever comes while another process builds the same set builds it elsewhere.
    """
    # Not tempfile.mkdtemp, whose folders nobody else may read: a cache can be shared.
    private = _aside(place)
    folder, keeps = place.with_name(f"{_TEMPORARY}{place.name}"), False
    with ExitStack() as stack:
        if lasting and not folder.is_symlink():
            with suppress(RunError):
                stack.enter_context(locked(place.parent, "decode", tell, f"{folder.name}.lock"))
                keeps = True
        folder = folder if keeps else private
        try:
            yield folder
        except Exception:
            keeps = False
            raise
        finally:
            if not keeps or not sys.exc_info()[0] or not is_begun(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _put(temporary: Path, place: Path, key: str) -> None:
    """Give a finished set its place, unless another process has put a whole one there."""
    with suppress(OSError):
        temporary.rename(place)
        return
    if _open(place, key) is not None:
        return
    _clear(place)  # what is in the way is damaged
    try:
        temporary.rename(place)
    except OSError:
        if _settled(place, key) is None:
            raise


def _aside(place: Path) -> Path:
    """Return a folder of this process beside a set, whose name tells whose it is."""
    return place.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}.{os.getpid()}.{socket.gethostname()}")


def _clear(place: Path) -> None:
    """Remove a damaged set, at once and as a whole: others may be reading it, or putting their own there."""
    aside = _aside(place)
    with suppress(FileNotFoundError):
        place.rename(aside)
    if aside.is_symlink():
        aside.unlink()
    shutil.rmtree(aside, ignore_errors=True)


def _settled(place: Path, key: str, again: Callable[[], object] | None = None) -> Cached | None:
    """Open a set that another process may be about to replace by its own."""
    for _ in range(_TRIES):
        if (ready := _open(place, key, again)) is not None:
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


def _write(building: Building, rows: Iterator[Row | Skipped]) -> dict[str, Any]:
    """Write the images that are not there yet, and return what the description of the set says of all."""
    with ExitStack() as stack, warnings.catch_warnings():
        stack.callback(getattr(rows, "close", tuple))  # of a generator, or its processes would wait for the next row
        # Pillow warns about odd metadata once a file; what matters is reported through `skipped`.
        warnings.filterwarnings("ignore", module="PIL")
        for row in rows:
            building.add(row)
    return building.finish()


def _open(place: Path, key: str, again: Callable[[], object] | None = None) -> Cached | None:
    """Open a set, which is made `again` when it turns out to be damaged; None if it is so now, absent or another."""
    try:
        content = read_bytes(place / "meta.json", _META)
        meta = parsed_json(content)
        if not is_whole(content) or meta["key"] != key:
            return None
        arrays = {
            name: StoredRows(place / f"{name}.npy", digest, again).in_memory()
            for name, digest in meta["digests"].items()
        }
        labels, names = np.asarray(meta["labels"], dtype=np.int64), Names(meta["names"])
        if {len(labels), len(names)} != {len(array) for array in arrays.values()}:
            return None
        skipped = tuple(Skipped(**item) for item in meta["skipped"])
        images: Any = arrays["images"]
        attention: Any = arrays.get("attention")
        return Cached(ImageSet(images, labels, tuple(meta["classes"]), names, attention), skipped)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _remove_old(cache_dir: Path, source: str, keep: Path) -> None:
    for path in cache_dir.iterdir():
        stem, _, tail = path.name.rpartition("-")
        old = stem == source and len(tail) == len(keep.name.rpartition("-")[2]) and path != keep
        if old or (path.name.startswith(_TEMPORARY) and _is_stale(path)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:  # the lock of one that was killed
                path.unlink(missing_ok=True)


def _is_stale(path: Path) -> bool:
    """Whether a folder is of a process of this machine that has ended, or nobody has written into it for long."""
    *_, process, host = ("", "", *path.name.split(".", 3))[-2:]
    if process.isdecimal() and int(process) != os.getpid() and not may_live({"process": int(process), "host": host}):
        return True
    newest = max(each.stat().st_mtime for each in (path, *(path.iterdir() if path.is_dir() else ())))
    return bool(time.time() - newest > _STALE_SECONDS)
