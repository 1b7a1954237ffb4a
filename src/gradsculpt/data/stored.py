"""Rows of an array in a file, read without a memory map and checked when each is first read.

A memory map of a file that is cut while it is used ends the process by a signal; a read of it is only too short.
"""

import hashlib
import math
import os
import threading
import weakref
import zlib
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from gradsculpt.errors import DataError, first_line

_SUM = np.dtype("<u4")
_DIGEST = 16  # bytes, of the header and the checksums
_SMALL = 1 << 25  # bytes that are kept in memory, where rows are found ten times as fast
_SLICE = 1 << 24  # bytes that are checked at once
_ONE_AT_A_TIME = threading.Lock()


class RowsWriter:
    """Writes arrays of one shape and type one after the other: a .npy file, with a checksum a row after its end.

    Args:
        file: Where they are written, from its beginning; not as a memory map, in which a full disk ends the process.
        shape: Shape of a row.
        dtype: Its type.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> None:
        self._file, self.shape, self._dtype = file, shape, np.dtype(dtype)
        self._sums = array("I")
        self._header(0)
        self._start, self._size = file.tell(), math.prod(shape) * self._dtype.itemsize

    def add(self, row: npt.NDArray[Any]) -> None:
        """Write a row."""
        content = np.ascontiguousarray(row, self._dtype).tobytes()
        self._file.write(content)
        self._sums.append(zlib.crc32(content))

    def flushed(self, first: int) -> list[int]:
        """Hand what was written to the system; return the checksums of the rows from the first one on."""
        self._file.flush()
        return self._sums[first:].tolist()

    def matching(self, sums: Sequence[int]) -> int:
        """Return how many rows of a file that was written before have these checksums, up to the first that has not."""
        self._file.seek(self._start)
        for count, expected in enumerate(sums):
            content = self._file.read(self._size)
            if len(content) < self._size or zlib.crc32(content) != expected:
                return count
        return len(sums)

    def keep(self, sums: Sequence[int]) -> None:
        """Go on after the rows that have these checksums, and drop what comes after them."""
        self._sums = array("I", sums)
        self._file.seek(self._start + len(sums) * self._size)
        self._file.truncate()

    def finish(self) -> str:
        """Write the checksums and the number of rows; return the digest that tells the whole from any other."""
        sums, count = np.asarray(self._sums, _SUM).tobytes(), len(self._sums)
        digest = _digest((count, *self.shape), self._dtype, sums)
        self._file.write(sums + digest)
        self._header(count)
        return digest.hex()

    def _header(self, count: int) -> None:
        """Write the header of so many rows; NumPy pads it so that any other count fits there later."""
        self._file.seek(0)
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, described)


class _Opened(NamedTuple):
    """A file that is open: where its rows are, their checksums, and which have been checked."""

    descriptor: int
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sums: npt.NDArray[np.uint32]
    known: npt.NDArray[np.bool_]

    @property
    def size(self) -> int:
        """The bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any] | None:
        """Return rows; None if one is damaged, or the file too short for it."""
        result, size = np.empty((len(rows), *self.shape[1:]), self.dtype), self.size
        if not result.size:
            return result
        pixels: Any = result.reshape(-1).view(np.uint8)
        view, first = memoryview(pixels), 0
        for last in (*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)):  # neighbours are read together
            place = self.start + int(rows[first]) * size
            if not _filled(self.descriptor, view[first * size : last * size], place):
                return None
            first = last
        for i in np.flatnonzero(~self.known[rows]).tolist():
            if zlib.crc32(view[i * size : (i + 1) * size]) != self.sums[rows[i]]:
                return None
        self.known[rows] = True
        return result


class StoredRows:
    """An array on disk that is indexed by rows: one, a slice, or an array of numbers; each gives a copy.

    Args:
        path: A file of a `RowsWriter`.
        digest: What its `finish` returned; None if that is not known.
        renew: Called when a row turns out to be damaged, or the file to be cut; makes it anew, in its place.

    Raises:
        ValueError: If the file is no such file, or its end is damaged.
        OSError: If it cannot be read.
    """

    def __init__(self, path: Path, digest: str | None = None, renew: Callable[[], object] | None = None) -> None:
        self._path, self._digest, self._renew, self._lock = path, digest, renew, threading.Lock()
        self._opened = self._open()
        self.shape, self.dtype = self._opened.shape, self._opened.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self._rows(np.arange(*key.indices(len(self))))
        rows = np.asarray(key)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"of {len(self)} rows, there is none {key}")
        places = np.where(rows < 0, rows + len(self), rows).astype(np.int64)
        return self._rows(places.reshape(-1)).reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __reduce__(self) -> Any:
        return np.asarray, (self[:],)

    def in_memory(self) -> "npt.NDArray[Any] | StoredRows":
        """Return the rows in memory if they are few, or this; raise ValueError if they are few and one is damaged."""
        if len(self) * self._opened.size > _SMALL:
            return self
        if (rows := self._opened.read(np.arange(len(self)))) is None:
            raise ValueError("a row is damaged")
        rows.setflags(write=False)
        return rows

    def check(self) -> None:
        """Read every row; raise ValueError if one is damaged."""
        step = max(1, _SLICE // max(1, self._opened.size))
        for start in range(0, len(self), step):
            if self._opened.read(np.arange(start, min(start + step, len(self)))) is None:
                raise ValueError("a row is damaged")

    def _open(self) -> _Opened:
        descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        # Not before this is gone: another thread may be reading from it when the file is opened anew.
        weakref.finalize(self, os.close, descriptor)
        try:
            with open(descriptor, "rb", closefd=False) as file:
                shape, dtype, start = _described(file)
                length = math.prod(shape) * dtype.itemsize
                if os.fstat(descriptor).st_size != start + length + shape[0] * _SUM.itemsize + _DIGEST:
                    raise ValueError("it is longer or shorter than it was")
                file.seek(start + length)
                sums, digest = file.read(shape[0] * _SUM.itemsize), file.read(_DIGEST)
        except OSError:
            raise
        except Exception as error:  # a damaged header raises nearly anything
            raise ValueError(first_line(error, kind=False)) from error
        if digest != _digest(shape, dtype, sums) or self._digest not in (None, digest.hex()):
            raise ValueError("its checksums are not those that it was written with")
        return _Opened(descriptor, start, shape, dtype, np.frombuffer(sums, _SUM), np.zeros(shape[0], dtype=bool))

    def _rows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        if (result := self._opened.read(rows)) is None:
            with self._lock:
                # Another thread may have renewed it meanwhile.
                if (result := self._opened.read(rows)) is None and self._renew is not None:
                    result = self._renewed().read(rows)
        if result is None:
            raise DataError(
                f"{self._path} was damaged or cut while it was in use, so its images cannot be read. Run the command "
                "again: it is made anew."
            )
        return result

    def _renewed(self) -> _Opened:
        """Open the file again, after it was made anew, unless another process has done so."""
        if self._renew is not None and not self._replaced():
            self._renew()
        try:
            opened = self._open()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self._path} was damaged and cannot be made anew ({first_line(error, kind=False)}). Free space "
                "there, or choose another folder for the cache."
            ) from error
        if (opened.shape, opened.dtype) != (self.shape, self.dtype):
            raise DataError(f"{self._path} was damaged, and its images are no longer what they were. Run it again.")
        self._opened = opened
        return opened

    def _replaced(self) -> bool:
        """Whether another file has taken the place of the one that is open."""
        with suppress(FileNotFoundError):
            return not os.path.samestat(os.fstat(self._opened.descriptor), self._path.stat())
        return False


def _described(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape and type of an array in a .npy file, and where its first row is."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it is of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype.hasobject or not shape or min(shape) < 0:
        raise ValueError("it holds no rows")
    return shape, dtype, file.tell()


def _filled(descriptor: int, view: memoryview, place: int) -> bool:
    """Read a part of a file; return whether it was there."""
    with suppress(OSError):  # of a sector that cannot be read, for instance
        while len(view):
            if not (count := _read_at(descriptor, view, place)):
                return False
            view, place = view[count:], place + count
        return True
    return False


def _read_at(descriptor: int, view: memoryview, place: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], place)
    with _ONE_AT_A_TIME:  # a system without reads at a place
        os.lseek(descriptor, place, os.SEEK_SET)
        content = os.read(descriptor, len(view))
    view[: len(content)] = content
    return len(content)


def _digest(shape: tuple[int, ...], dtype: np.dtype[Any], sums: bytes) -> bytes:
    return hashlib.sha256(f"{shape} {dtype.str} ".encode() + sums).digest()[:_DIGEST]
