"""Documents that may come from anybody: read only so far as they can be, and never for longer than a moment."""

import errno
import gzip
import io
import json
import os
import select
import stat
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from zipfile import BadZipFile, ZipFile, is_zipfile

from gradsculpt.errors import first_line

if TYPE_CHECKING:
    from yaml import Node

LARGEST = 64 << 20  # bytes of a document; the names in the cache of a large set take this much
SETTINGS = 1 << 20  # bytes of YAML, which takes a second
_DEEPEST, _MOST = 100, 50_000  # brackets in brackets; values in a file of settings, aliases resolved
_DIGITS = 19  # of a whole number: those of 64 bits
_SHOWN = 60  # letters of a name in a message


class DocumentError(ValueError):
    """What stands in a document cannot be used; the line is where, if that is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem, self.line = problem, line


class NotTextError(DocumentError):
    """A file holds no text."""


def read_bytes(path: str | Path, most: int = LARGEST) -> bytes:
    """Return the content of a regular file; a pipe or a device, which could be read for ever, is an `OSError`.

    Raises:
        OSError: If the file cannot be read, or is none.
        DocumentError: If it has more than `most` bytes.
    """
    with regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(min(most, size) + 1)
    if max(len(content), size) > most:
        raise DocumentError(f"it has more than {most / 2**20:.0f} MiB")
    return content


def read_stream(path: str | Path, most: int = SETTINGS, patience: float = 10.0) -> bytes:
    """Return what another program sends through a pipe that it opened for this one, as /dev/fd/63, until it ends.

    Raises:
        OSError: If it does not end in so many seconds of patience.
        DocumentError: If there are more than `most` bytes.
    """
    content, end = b"", time.monotonic() + patience
    with open(path, "rb", buffering=0) as file:
        while len(content) <= most:
            if not select.select([file], [], [], max(0.0, end - time.monotonic()))[0]:
                raise OSError(errno.ETIMEDOUT, f"it did not end in {patience:g} s", str(path))
            if not (block := file.read(1 << 16)):
                return content
            content += block
    raise DocumentError(f"it has more than {most / 2**20:.0f} MiB")


def is_stream(path: Path) -> bool:
    """Tell a pipe that a shell opened, as `<(...)` names it, from a pipe in a folder, to which nobody may write."""
    opened = path.parent in (Path("/dev/fd"), Path("/proc/self/fd")) or path == Path("/dev/stdin")
    return opened and path.is_fifo()


def regular(path: str | Path) -> BinaryIO:
    """Open a regular file; raise `OSError` if it is another kind of file, or cannot be opened."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    told = "it is a folder" if stat.S_ISDIR(kind) else "it is a pipe or a device, and no regular file"
    raise OSError(errno.EINVAL, told, str(path))


def read_text(path: str | Path, most: int = LARGEST) -> str:
    """Return the text of a file in UTF-8, with or without the mark that some editors begin it with.

    Raises as `read_bytes`, and `DocumentError` if it is no such text.
    """
    return text_of(read_bytes(path, most))


def read_packed_text(path: Path, most: int = LARGEST) -> str:
    """Return the text of a file, which may be packed as .gz, and then unpacks to no more than `most` bytes.

    Raises as `read_text`.
    """
    content = read_bytes(path, most)
    if path.suffix == ".gz":
        with gzip.open(io.BytesIO(content)) as file:
            try:
                content = file.read(most + 1)
            except (EOFError, OSError, zlib.error) as error:
                raise DocumentError(f"it cannot be unpacked ({first_line(error, kind=False)})") from error
        if len(content) > most:
            raise DocumentError(f"it unpacks to more than {most / 2**20:.0f} MiB")
    return text_of(content)


def text_of(content: bytes) -> str:
    """Return a text in UTF-8; raises as `read_text`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotTextError("it is no text in UTF-8") from error
    if "\0" in text:
        raise NotTextError("it holds bytes that are no text")
    return text


def read_json(path: str | Path, most: int = LARGEST) -> Any:
    """Return what a file of JSON holds; raises as `read_text` and `parsed_json`."""
    return parsed_json(read_text(path, most))


def read_yaml(path: str | Path) -> Any:
    """Return what a file of YAML holds; raises as `read_text` and `parsed_yaml`."""
    return parsed_yaml(read_text(path, SETTINGS))


def check_unpacked(path: str | Path, most: int) -> None:
    """Raise `OSError` or `DocumentError` if a file of `torch.save` is no regular one, or takes more than `most` bytes.

    PyTorch packs nothing: what is packed would fill the memory when it is unpacked.
    """
    with regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise DocumentError(f"it has more than {most / 2**20:.0f} MiB")
        if not is_zipfile(file):
            return
        try:
            sizes = sum(each.file_size for each in ZipFile(file).infolist())
        except (BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise DocumentError(first_line(error)) from error
        if sizes > os.fstat(file.fileno()).st_size:
            raise DocumentError(f"it is packed, and would be {sizes:,} bytes")


def parsed_json(text: str | bytes) -> Any:
    """Return what JSON says; `DocumentError` if it is none, says something twice, or holds what only an attack would.

    Example:
        >>> parsed_json('{"epoch": 3}')
        {'epoch': 3}
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_whole)
    except RecursionError:
        raise DocumentError("brackets in brackets too deep to be followed") from None
    except json.JSONDecodeError as error:
        raise DocumentError(f"{error.msg}, column {error.colno}", error.lineno) from error


def parsed_yaml(text: str, *, typed: bool = True) -> Any:
    """Return what YAML says; `DocumentError` as of `parsed_json`, with the line. Not `typed`, all values are texts."""
    return constructed(composed(text), typed=typed)


def composed(text: str) -> "Node | None":
    """Return the nodes of a document of YAML, of a size that can be walked through; `DocumentError` if it is none."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST or count > 2 * _MOST:
                fact = "more brackets in brackets" if depth > _DEEPEST else "more values"
                raise DocumentError(f"{fact} than settings have", _line(event.start_mark))
        node: Node | None = yaml.compose(text, Loader=loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise _told(error) from error
    if node is not None:
        _size(node, {})
    return node


def constructed(node: "Node | None", *, typed: bool = True) -> Any:
    """Return what nodes of `composed` say; `DocumentError` if one says something twice, or no value at all."""
    import yaml

    if node is None:
        return None
    loader = (yaml.SafeLoader if typed else yaml.BaseLoader)("")
    try:
        content = loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise _told(error) from error
    _check(content)
    return content


def _told(error: Exception) -> DocumentError:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return DocumentError(problem or first_line(error, kind=False), _line(mark))


def _line(mark: Any) -> int | None:
    return None if mark is None else mark.line + 1


def _size(node: "Node", sizes: dict[int, int]) -> int:
    """Return how many values a node stands for where each alias is what it names; `DocumentError` if too many."""
    import yaml

    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = _MOST + 1  # so far: one that holds itself stands for more than can be counted
        parts = [each for item in node.value for each in (item if isinstance(item, tuple) else (item,))]
        sizes[id(node)] = 1 + sum(_size(each, sizes) for each in parts)
    if sizes[id(node)] > _MOST:
        raise DocumentError("aliases stand for more values than settings have", _line(node.start_mark))
    return sizes[id(node)]


def _check(content: Any) -> None:
    if isinstance(content, int) and abs(content) >= 10**_DIGITS:
        raise DocumentError("a whole number of more than 19 digits")
    for each in content.items() if isinstance(content, Mapping) else ():
        _check(each)
    for each in content if isinstance(content, list | tuple) else ():
        _check(each)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict[str, Any]()
    for name, value in pairs:
        if name in content:
            raise DocumentError(f"{name[:_SHOWN]!r} stands there twice")
        content[name] = value
    return content


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS + 1:
        raise DocumentError(f"a whole number of {len(digits)} digits")
    return int(digits)
