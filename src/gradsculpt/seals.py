"""Checksums that files carry inside, so that damage is noticed when they are read.

A seal is the word checksum, and after it `sha256:DIGITS:gradsculpt`, the digest of the whole file in which those digits
count as zeros. It stands among the first or the last bytes, wherever the format has room for a text: in an entry of
JSON or of the header of weights, in a comment of YAML or of an archive, in the heading of a table. A file without one,
as older versions wrote it, is taken as it is, for nobody can tell; so is JSON in another layout than that of
`sealed_json`, as a program has written it again (no damage leaves JSON that begins otherwise).
"""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gradsculpt.errors import RunError
from gradsculpt.files import strict_json

SEAL = "checksum"
"""The name that a seal goes by where a format gives its texts names."""

_DIGITS = 32
OPEN = f"sha256:{'0' * _DIGITS}:gradsculpt"
"""A seal that has to be filled in."""

UNSEALED = f"delete the line with the {SEAL}, its first"
"""What to do with a file of settings that was changed on purpose."""

_LAYOUT = b"{\n"  # how JSON begins that is written here
_SEALED = re.compile(rb"sha256:([0-9a-f]{32}):gradsculpt")
# Of 64 digits, it would be another's.
_BROKEN = re.compile(
    rb"checksum\W{1,5}sha256:[0-9a-f]{1,63}(?![0-9a-f])|sha256:.{0,40}:gradsculpt|[0-9a-f]{31,}:gradsculpt", re.DOTALL
)
_HEAD, _TAIL = 4096, 512  # bytes among which it stands
_BLOCK = 1 << 20


def seal(path: Path) -> None:
    r"""Fill in the seal of a file, which has an `OPEN` one.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "note.yaml"
        ...     _ = path.write_text(f"# checksum {OPEN}\na: 1\n")
        ...     seal(path)
        ...     check(path)
        ...     _ = path.write_bytes(path.read_bytes().replace(b"1", b"2"))
        ...     is_whole(path.read_bytes())
        False
    """
    with path.open("r+b") as file:
        place = _place(file)
        if place is None:
            raise ValueError(f"{path} has no room for its checksum")
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest)


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """Return an object as JSON with a seal as its last entry.

    Example:
        >>> is_whole(sealed_json({"a": 1})), is_whole(sealed_json({"a": 1}).replace(b"1", b"2", 1))
        (True, False)
    """
    return sealed(strict_json({**content, SEAL: OPEN}, indent=2) + b"\n")


def sealed(content: bytes) -> bytes:
    r"""Return what a file is to hold with its seal, an `OPEN` one, filled in.

    Example:
        >>> is_whole(sealed(f"# checksum {OPEN}\na: 1".encode()))
        True
    """
    file = io.BytesIO(content)
    place = _place(file) or 0
    digest = _digest(file, place)
    file.seek(place)
    file.write(digest)
    return file.getvalue()


def is_whole(content: bytes | BinaryIO) -> bool:
    """Tell whether a file is as it was written: its seal fits, or it never had one."""
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    place = _place(file)
    file.seek(0)
    first = file.read(len(_LAYOUT))
    if first[:1] == _LAYOUT[:1] and first != _LAYOUT:
        return True
    if place is not None:
        file.seek(place)
        return file.read(_DIGITS) == _digest(file, place)
    return not any(_BROKEN.search(part) for _, part in _ends(file))


def check(path: Path, mend: str = "Copy it again from where it was made.") -> None:
    """Raise `RunError` if a file has a seal that does not fit, and OSError if it cannot be read.

    What is no regular file, such as a pipe, which can be read only once, is left to its reader.
    """
    if path.is_file():
        with path.open("rb") as file:
            check_content(file, path, mend)


def check_content(content: bytes | BinaryIO, path: Path, mend: str = "Copy it again from where it was made.") -> None:
    """Raise `RunError` if what was read of a file has a seal that does not fit."""
    if not is_whole(content):
        raise RunError(f"{path} is damaged: it is not what was written, as its {SEAL} tells, so it is not used. {mend}")


def _ends(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a file in which a seal may be, each with its place; the end first, as a heading is short."""
    size = file.seek(0, io.SEEK_END)
    for start, length in ((max(0, size - _TAIL), _TAIL), (0, _HEAD)):
        file.seek(start)
        yield start, file.read(length)


def _place(file: BinaryIO) -> int | None:
    """Return where the digits of the seal are."""
    for start, part in _ends(file):
        if found := list(_SEALED.finditer(part)):
            return start + found[-1 if start else 0].start(1)
    return None


def _digest(file: BinaryIO, place: int) -> bytes:
    digest, at = hashlib.sha256(), 0
    file.seek(0)
    while block := file.read(_BLOCK):
        first, last = max(place, at), min(place + _DIGITS, at + len(block))
        if first < last:
            block = block[: first - at] + b"0" * (last - first) + block[last - at :]
        digest.update(block)
        at += len(block)
    return digest.hexdigest()[:_DIGITS].encode()
