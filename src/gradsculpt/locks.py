"""One writer a folder, by a lock that ends with the process that holds it, however that ends."""

import errno
import json
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from gradsculpt.errors import RunError
from gradsculpt.reading import parsed_json

LOCK = ".gradsculpt.lock"
"""The file in a folder that says who writes there; it is gone when the writer has ended as it should."""

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_BEYOND = 1 << 30  # where Windows locks a byte, so that what the file says can still be read
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # nor a pipe that nobody writes to
_PATIENCE, _MOMENT = 20, 0.01


class _Held(NamedTuple):
    descriptor: int
    thread: int


# What this process holds, by the real path of the lock: the operating system knows it by process as well.
_HELD: dict[str, _Held] = {}


@contextmanager
def locked(
    folder: Path,
    work: str,
    tell: Callable[[str], object] = warnings.warn,
    name: str = LOCK,
    mend: str = "pass another --out",
) -> Iterator[None]:
    """Keep everybody else from writing into a folder while the block lasts.

    The folder is made if need be, and removed again if nothing was written. The same thread may lock it again inside.
    The lock is the operating system's, so that one whose process was killed holds nobody up, and processes that were
    forked meanwhile do not share it. Where a file system has no locks, the file alone says who writes: one left by a
    process of this machine that has ended is passed over, and it is said that this is less safe.

    Args:
        folder: What is written into.
        work: What is done there, in a word, for those who come too late.
        tell: Told, in one line, where there are no locks.
        name: Of the lock file; another than the usual one locks one file in the folder rather than all of it.
        mend: What else whoever comes too late may do than wait.

    Raises:
        RunError: If another process or thread writes there, or the folder cannot be written to.
    """
    made = [each for each in (folder, *folder.parents) if not os.path.exists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.path.join(os.path.realpath(folder), name)
        held = _HELD.get(place)
        again = held is not None and held.thread == threading.get_ident()
        descriptor = -1 if again else _acquired(place, folder, tell, mend)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be made a folder, or cannot be written to ({error.strerror or error}), so nothing could "
            f"be kept; {mend}."
        ) from error
    if again:
        yield
        return
    _HELD[place] = _Held(descriptor, threading.get_ident())
    try:
        with suppress(OSError):  # who holds it is a help, no more
            _sign(descriptor, work)
        yield
    finally:
        if _HELD.pop(place, None) is not None:  # a process that was forked has let go of it
            with suppress(OSError):
                os.unlink(place)
            os.close(descriptor)
        with suppress(OSError):
            for each in made:
                each.rmdir()


def _acquired(place: str, folder: Path, tell: Callable[[str], object], mend: str) -> int:
    """Return the descriptor of the lock file, locked; raise `RunError` if somebody has it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)  # again, as another writer may have removed it with its lock
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        try:
            try:
                _lock(descriptor)
            except OSError as error:
                if error.errno in _BUSY:
                    raise _refusal(folder, _holder(descriptor), mend) from None
                if (holder := _holder(descriptor, patience=1)) and may_live(holder):
                    raise _refusal(folder, holder, mend, place) from None
                tell(
                    f"the file system of {folder} has no locks ({error.strerror}), so another machine could write "
                    "there at the same time; let only one do so."
                )
            with suppress(FileNotFoundError):  # its last holder may have removed it meanwhile
                if os.path.samestat(os.fstat(descriptor), os.stat(place)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sign(descriptor: int, work: str) -> None:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    holder = {"work": work, "process": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(holder).encode())


def _holder(descriptor: int, patience: int = _PATIENCE) -> dict[str, object]:
    """Return what the file says of its holder, who may be about to write it; nothing if it says nothing."""
    for _ in range(patience):
        os.lseek(descriptor, 0, os.SEEK_SET)
        with suppress(ValueError):
            return dict(parsed_json(os.read(descriptor, 4096)))
        time.sleep(_MOMENT)
    return {}


def may_live(holder: dict[str, object]) -> bool:
    """Tell whether what is noted of a process and its host may be alive, as one of another machine always may."""
    process = holder.get("process")
    if holder.get("host") != socket.gethostname() or not isinstance(process, int) or sys.platform == "win32":
        return True
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return process != os.getpid()


def writer(folder: Path) -> str | None:
    """Return who writes into a folder, in words, as far as its lock file tells; None if nobody does."""
    place = folder / LOCK
    try:
        descriptor = os.open(place, os.O_RDONLY | _NO_LINK)
    except OSError:
        return None
    try:
        holder = _holder(descriptor, patience=1)
    finally:
        os.close(descriptor)
    alive = os.path.join(os.path.realpath(folder), LOCK) in _HELD or (holder and may_live(holder))
    return _said(holder) if alive else None


def _said(holder: dict[str, object]) -> str:
    return "{work} by process {process} on {host} since {since}".format_map(holder) if holder else "another process"


def _refusal(folder: Path, holder: dict[str, object], mend: str, place: str = "") -> RunError:
    said = _said(holder)
    gone = f", or, if that process has ended, delete {place}" if place else ""
    return RunError(
        f"{folder} is being written to ({said}), and two writers would mix their files. Wait until it has ended"
        f"{gone}, or {mend}."
    )


def _let_go() -> None:
    """Close, in a process that was just forked, what only its parent holds: a copy would outlive the parent."""
    for held in _HELD.values():
        with suppress(OSError):
            os.close(held.descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
