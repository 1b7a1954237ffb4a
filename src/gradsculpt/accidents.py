"""What the machine refuses: room, permission, memory, files; told in one line, whoever meets it."""

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradsculpt.errors import ArgumentError, RunError, first_line
from gradsculpt.files import impossible
from gradsculpt.machine import free_disk
from gradsculpt.wording import printable, size_of

_FULL = "cannot be written, as there is no room", "Make room there, or choose another place"
_BARRED = "may not be read, or not be written to", "Change its permissions, or choose another place"
_IN_THE_WAY = "is not of the kind that is needed there", "Move what is in the way, or choose another place"
_GONE = "is not there", "Bring it back, or check the spelling"
_BROKEN = "failed to be read or written", "Check the disk, or the connection to it"
_OPEN = "cannot be opened, as too many files are open", "Allow more, as by `ulimit -n 4096`"
_STARTED = "cannot be had: no more threads or processes may be started", "End some, or allow more, as by `ulimit -u`"

_KINDS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _BARRED),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG), _IN_THE_WAY),
    **dict.fromkeys((errno.ENOENT, errno.ESTALE), _GONE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), _OPEN),
    errno.EAGAIN: _STARTED,
}
"""What an error of the system says of a file, and what helps."""

_MEMORY = ("can't allocate memory", "out of memory", "cannot allocate memory", "unable to allocate", "map segment")
_THREADS = "can't start new thread"

OF_THE_MACHINE = frozenset(
    (*(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE), *(errno.ENOSPC, errno.EDQUOT, errno.EAGAIN))
)
"""Errors that say nothing of the file that was to be read."""


def told(error: BaseException) -> str | None:
    """Return what is to be said of an exception, in a line, if it is an accident of the machine; None if it is none.

    Libraries tell of a full disk, or of memory, by errors of their own: what they were caused by counts.

    Example:
        >>> told(OSError(28, "No space left on device", "maps/cat.npy"))
        'maps/cat.npy cannot be written, as there is no room (No space left on device). Make room there, or choose \
another place, and call it again.'
        >>> told(ValueError("negative"))
    """
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError) and _speaks_of(error, *_MEMORY)
    ):
        return (
            f"there is not enough memory to go on ({first_line(error)}). End other programs, or pass a smaller "
            "--batch-size or --image-size."
        )
    if isinstance(error, RuntimeError) and _speaks_of(error, _THREADS):
        return f"a thread {_STARTED[0]}. {_STARTED[1]}, and call it again."
    if (accident := _of_the_system(error)) is None:
        return None
    if accident.errno == errno.ENOMEM:
        return told(MemoryError(accident.strerror))
    fact, mend = _KINDS.get(accident.errno or 0, _BROKEN)
    places = (accident.filename2, accident.filename)
    place = next(
        (os.fsdecode(each) for each in places if isinstance(each, str | bytes | Path)), "a file, or standard output,"
    )
    reason = accident.strerror or first_line(accident, kind=False)
    return f"{printable(place)} {fact} ({printable(reason)}). {mend}, and call it again."


def check_room(folder: Path, needed: float, what: str) -> None:
    """Raise `RunError` if there is not so much room below a folder, in bytes, for what is going to be written."""
    free = free_disk(folder)
    if free is not None and needed > free:
        raise RunError(
            f"{what} would take {size_of(needed)} in {folder}, where {size_of(free)} are free, so it would not be "
            "kept whole. Make room there, or pass another --out."
        )


def check_kinds(folder: Path, files: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Raise `RunError` if, in a folder, a folder has the name of a file that is going to be written, or the reverse."""
    for names, wanted, strange in ((files, Path.is_dir, "folder"), (folders, Path.is_file, "file")):
        for name in names:
            if wanted(folder / name):
                other = {"folder": "file", "file": "folder"}[strange]
                raise RunError(
                    f"{folder / name} is a {strange}, and a {other} of this name is going to be written, so the work "
                    "would be lost. Move it away, or pass another --out."
                )


def check_new(path: Path, endings: Sequence[str], what: str) -> None:
    """Raise `ArgumentError` or `RunError` unless a file of one of the endings may be made there, where none is yet."""
    if why := impossible(path):
        raise ArgumentError(f"{printable(str(path))} can be no file, as {why}; write the path of one.")
    if path.suffix.lower() not in endings:
        raise ArgumentError(
            f"{path} does not end in {' or '.join(endings)}, by which others know {what}; pass such a name, for "
            f"instance {path.stem}{endings[0]}."
        )
    if os.path.lexists(path):
        raise RunError(
            f"{path} is there already, and would be lost; move it away, or pass the name of a file that is not there."
        )
    above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if not (os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)):
        fact = "may not be written to" if os.path.isdir(above) else "is no folder"
        raise RunError(f"{path} cannot be written, as {above} {fact}; pass the name of another file.")


def _speaks_of(error: BaseException, *fragments: str) -> bool:
    message = str(error).lower()
    return any(fragment in message for fragment in fragments)


def _of_the_system(error: BaseException) -> OSError | None:
    """Return the error of the system that an exception is, or that one of a library was caused by."""
    if isinstance(error, ImportError):  # of a library that could not be opened, in words alone
        reasons = {number: os.strerror(number) for number in OF_THE_MACHINE}
        number = next((each for each, reason in reasons.items() if _speaks_of(error, reason.lower())), None)
        return None if number is None else OSError(number, reasons[number], error.name or "a library")
    seen: BaseException | None = error
    if not isinstance(error, OSError | RuntimeError) and not type(error).__module__.startswith("safetensors"):
        return None  # anybody's mistake in dealing with one is no accident
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__cause__ or seen.__context__
    return seen
