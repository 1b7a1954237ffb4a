"""Files that appear whole or not at all, and JSON that every program reads."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import fsync
from pathlib import Path
from typing import Any

_DRAFT = re.compile(r"\.(.+)\.[0-9]+(\.[^.]+|)")
_NAME, _PATH = 255, 4000
"""Bytes of a name, and of a path of them, that file systems take."""


def impossible(path: str | Path) -> str:
    """Return why no file can be called so, on most systems; empty if one can.

    Example:
        >>> impossible("runs/en"), impossible("a" * 300)
        ('', 'a name in it is longer than 255 bytes')
    """
    if "\0" in str(path):
        return "it holds a byte of zeros"
    try:
        parts = [os.fsencode(part) for part in Path(path).parts]
    except UnicodeEncodeError:
        return "it holds half a character"
    if any(len(part) > _NAME for part in parts):
        return f"a name in it is longer than {_NAME} bytes"
    return f"it is longer than {_PATH} bytes" if sum(map(len, parts)) + len(parts) > _PATH else ""


@contextmanager
def whole(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a draft beside `path`, which takes its name when the block ends and is removed if the block fails.

    Whoever reads `path` meanwhile, or after a crash, also of the machine, finds what was there before or all of the new
    one. Folders above it are made. Of a file that is not `lasting`, as the next one comes soon or many come at once,
    the machine's crash may bring back the former.

    Raises:
        OSError: If the folder cannot be made, or the draft cannot be written or renamed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, whole(Path(folder) / "note.txt") as draft:
        ...     _ = draft.write_text("all of it")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, as some writers add or choose theirs by it.
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    draft.unlink(missing_ok=True)  # a link that somebody left there would lead elsewhere
    try:
        yield draft
        # Or a crash of the machine could leave the new name on an empty file.
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
        if lasting:
            on_disk(path.parent)
    except OSError as error:
        if error.filename in (None, draft, str(draft)):  # nobody has heard of the draft
            error.filename = str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)


def on_disk(path: Path) -> None:
    """Wait until what a file holds, or the names in a folder, are on the disk, if the system lets one wait for it."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(path: Path) -> None:
    """Remove the drafts of a file whose writers were killed; for one who has the lock that all its writers take.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / ".note.123.txt").write_text("half of")
        ...     sweep(Path(folder) / "note.txt")
        ...     list(Path(folder).iterdir())
        []
    """
    for draft in drafts(path.parent).get(path.name, ()):
        with suppress(OSError):
            draft.unlink()


def drafts(folder: Path) -> dict[str, list[Path]]:
    """Return the drafts that lie in a folder, of writers who write or were killed, by the name of the file."""
    there: dict[str, list[Path]] = {}
    with suppress(OSError):
        for path in folder.iterdir():
            if draft := _DRAFT.fullmatch(path.name):
                there.setdefault(f"{draft[1]}{draft[2]}", []).append(path)
    return there


def strict_json(value: Any, indent: int | None = None) -> bytes:
    """Return JSON as the standard has it, in UTF-8: null stands for a number that is not finite.

    What JSON cannot hold otherwise becomes text.

    Example:
        >>> strict_json({"high": float("inf"), "names": ("é", Path("a"))}).decode()
        '{"high": null, "names": ["é", "a"]}'
    """
    text = json.dumps(_finite(value), indent=indent, default=str, ensure_ascii=False, allow_nan=False)
    # Half a character, as of a file's name that is not UTF-8, becomes the escape that JSON has for it.
    return text.encode("utf-8", "backslashreplace")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
