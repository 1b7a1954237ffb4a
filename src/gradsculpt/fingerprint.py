"""One digest of everything that decides a result: weights, pixels, labels and settings."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_ROWS = 256  # of an array in one piece
_AT_ONCE = 1 << 22  # bytes of it in memory: pixels come from files that may be larger than that


def fingerprint(*parts: object) -> str:
    """Return a digest that changes when any of the parts does.

    Modules count by their structure, mode, parameters and buffers; tensors and arrays by shape, type and every entry;
    dataclasses by their class and fields; mappings and sequences by what is in them; classes by where they
    are defined, functions by their code as well; anything else by its `repr`.

    Example:
        >>> fingerprint("a", torch.zeros(2)) == fingerprint("a", torch.zeros(2))
        True
        >>> fingerprint("a", torch.zeros(2)) == fingerprint("a", torch.ones(2))
        False
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for piece in _pieces(part):
            rows = [piece] if isinstance(piece, bytes) else piece
            digest.update((len(piece) if isinstance(piece, bytes) else piece.size).to_bytes(8, "little"))
            for each in rows:
                digest.update(each)
    return digest.hexdigest()


class _Rows:
    """Rows of an array as one piece, of which only a few are in memory at a time."""

    def __init__(self, array: Any, start: int) -> None:
        self._array, self._places = array, range(start, min(start + _ROWS, len(array)))
        self._row = math.prod(array.shape[1:]) * np.dtype(array.dtype).itemsize
        self.size = len(self._places) * self._row

    def __iter__(self) -> Iterator[bytes]:
        step = max(1, _AT_ONCE // max(1, self._row))
        for start in range(self._places.start, self._places.stop, step):
            stop = min(start + step, self._places.stop)
            yield np.ascontiguousarray(self._array[start:stop]).tobytes()


def _pieces(part: Any) -> Iterable[bytes | _Rows]:
    """Yield what tells a value from others, in an order that is always the same."""
    if isinstance(part, nn.Module):
        yield f"{part!r} {part.training} {getattr(part, 'space', None)!r}".encode()
        for name, tensor in chain(part.named_parameters(), part.named_buffers()):
            yield name.encode()
            yield from _pieces(tensor)
    elif isinstance(part, Tensor):
        yield f"tensor {tuple(part.shape)} {part.dtype}".encode()
        yield part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif hasattr(part, "dtype") and hasattr(part, "shape") and hasattr(part, "__getitem__"):
        yield f"array {tuple(part.shape)} {part.dtype}".encode()
        for start in range(0, len(part) if part.shape else 0, _ROWS):
            yield _Rows(part, start)
    elif is_dataclass(part) and not isinstance(part, type):
        yield f"{type(part).__module__}.{type(part).__qualname__}".encode()
        for field in fields(part):
            yield field.name.encode()
            yield from _pieces(getattr(part, field.name))
    elif isinstance(part, Mapping):
        yield f"mapping {len(part)}".encode()
        for key, value in part.items():
            yield from chain(_pieces(key), _pieces(value))
    elif isinstance(part, Sequence) and not isinstance(part, str | bytes | bytearray | range):
        yield f"sequence {len(part)}".encode()
        for value in part:
            yield from _pieces(value)
    elif isinstance(part, type | FunctionType):  # whose repr holds an address, another one in every process
        yield f"{part.__module__}.{part.__qualname__}".encode()
        yield from _pieces(getattr(part, "__code__", None))
    elif isinstance(part, CodeType):
        yield from _pieces((part.co_code, part.co_names, part.co_consts))
    else:
        yield repr(part).encode()
