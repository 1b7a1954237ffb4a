"""A set of decoded images while it is written, so that one that was killed is gone on with where it stopped."""

import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gradsculpt.data.base import Bytes, Skipped
from gradsculpt.data.stored import RowsWriter

_JOURNAL = "blocks.txt"
_BUFFER = 1 << 20  # bytes that are written at once
_BLOCK = 1 << 23  # bytes of images after which it is noted what is there


@dataclass(frozen=True)
class Row:
    """One image on its way into the cache: uint8 [H, W, 3], and uint8 [H, W] of attention if the set has it."""

    image: Bytes
    label: int
    name: str
    attention: Bytes | None = None


class Building:
    """Writes images into a folder, and notes block by block what is whole, with a checksum of every image.

    What an earlier one, which was killed, has noted there is taken over as far as it is whole. To be used as a context.

    Args:
        folder: Where; it is there, and nobody else writes into it.

    Raises:
        OSError: If something cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._files, self._stacks = folder, ExitStack(), dict[str, RowsWriter]()
        self._labels, self._names, self._skipped, self._done = list[int](), list[str](), list[Skipped](), list[bool]()
        self._noted, self._bytes = (0, 0, 0), 0
        lines = self._take_over()
        self._journal = self._files.enter_context((folder / _JOURNAL).open("wb"))
        self._journal.writelines(lines)

    @property
    def done(self) -> tuple[bool, ...]:
        """Of each item so far, whether it gave an image."""
        return tuple(self._done)

    def __enter__(self) -> "Building":
        return self

    def __exit__(self, *raised: object) -> None:
        self._files.close()

    def add(self, row: Row | Skipped) -> None:
        """Take an image, or why there is none."""
        self._done.append(isinstance(row, Row))
        if isinstance(row, Skipped):
            self._skipped.append(row)
            return
        for name, array in (("images", row.image), ("attention", row.attention)):
            if array is not None:
                if name not in self._stacks:
                    file = self._files.enter_context((self._folder / f"{name}.npy").open("wb", _BUFFER))
                    self._stacks[name] = RowsWriter(file, array.shape, array.dtype)
                self._stacks[name].add(array)
                self._bytes += array.nbytes
        self._labels.append(row.label)
        self._names.append(row.name)
        if self._bytes >= _BLOCK:
            self._note()

    def finish(self) -> dict[str, Any]:
        """Write what is left, and return what the description of the set holds of it."""
        digests = {name: stack.finish() for name, stack in self._stacks.items()}
        self._files.close()
        (self._folder / _JOURNAL).unlink()
        skipped = [asdict(item) for item in self._skipped]
        return {"labels": self._labels, "names": self._names, "skipped": skipped, "digests": digests}

    def _note(self) -> None:
        """Note what has been written since the last time."""
        rows, skipped, done = self._noted
        self._noted, self._bytes = (len(self._labels), len(self._skipped), len(self._done)), 0
        block = {
            "labels": self._labels[rows:],
            "names": self._names[rows:],
            "skipped": [[each.name, each.reason] for each in self._skipped[skipped:]],
            "done": self._done[done:],
            "sums": {name: stack.flushed(rows) for name, stack in self._stacks.items()},
            "shapes": {name: stack.shape for name, stack in self._stacks.items()},
        }
        content = json.dumps(block).encode()
        self._journal.write(b"%08x %s\n" % (zlib.crc32(content), content))
        self._journal.flush()

    def _take_over(self) -> list[bytes]:
        """Take over the blocks that are whole; return their lines of the journal."""
        blocks, sums = list(_blocks(self._folder / _JOURNAL)), dict[str, list[int]]()
        shapes = blocks[0][1]["shapes"] if blocks else {}
        if not all((self._folder / f"{name}.npy").is_file() for name in shapes):
            return []
        for _, block in blocks:
            for name, each in block["sums"].items():
                sums.setdefault(name, []).extend(each)
        for name, shape in shapes.items():
            file = self._files.enter_context((self._folder / f"{name}.npy").open("r+b", _BUFFER))
            self._stacks[name] = RowsWriter(file, tuple(shape))
        there = min((stack.matching(sums[name]) for name, stack in self._stacks.items()), default=0)
        lines = list[bytes]()
        for line, block in blocks:
            if len(self._labels) + len(block["labels"]) > there:
                break
            self._labels += block["labels"]
            self._names += block["names"]
            self._skipped += [Skipped(*each) for each in block["skipped"]]
            self._done += block["done"]
            lines.append(line)
        for name, stack in self._stacks.items():
            stack.keep(sums[name][: len(self._labels)])
        self._noted = (len(self._labels), len(self._skipped), len(self._done))
        return lines


def is_begun(folder: Path) -> bool:
    """Whether a block at least was noted in a folder."""
    with suppress(OSError):
        return (folder / _JOURNAL).stat().st_size > 0
    return False


def _blocks(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the lines of a journal up to the first that is not whole, and what they say."""
    try:
        with path.open("rb") as file:
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return
    for line in lines:
        mark, _, content = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or mark != b"%08x" % zlib.crc32(content):
            return
        yield line, json.loads(content)
