"""Millions of names in little memory: one text, and where each ends."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_TOGETHER = 4096  # names that are made at once where all are asked for
_ERRORS = "surrogatepass"  # a name that is no UTF-8 has halves of characters in it


class Names(Sequence[str]):
    """A tuple of texts that takes their bytes and 16 more of each; it is equal to a tuple with the same texts.

    Args:
        texts: The texts, each of which is read once.

    Example:
        >>> names = Names(f"train/cat/{number}.png" for number in range(3))
        >>> names[1], names[-2:], names == ("train/cat/0.png", "train/cat/1.png", "train/cat/2.png")
        ('train/cat/1.png', ('train/cat/1.png', 'train/cat/2.png'), True)
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        content, lengths = bytearray(), []
        packed = [np.zeros(0, np.int64)]
        for text in texts:
            before = len(content)
            content += text.encode("utf-8", _ERRORS)
            lengths.append(len(content) - before)
            if len(lengths) == _TOGETHER:
                packed.append(np.array(lengths, np.int64))
                lengths.clear()
        ends = np.concatenate([*packed, np.array(lengths, np.int64)]).cumsum()
        self._content, self._spans = bytes(content), np.stack([np.concatenate([[0], ends])[:-1], ends], axis=1)

    def picked(self, places: npt.NDArray[np.int64] | Sequence[int]) -> "Names":
        """Return some of the names, in the order of their places, which share the text of all."""
        some = object.__new__(Names)
        some._content, some._spans = self._content, self._spans[np.asarray(places, np.int64)]
        return some

    def packed(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return the bytes of all names, and how many each has: what `unpacked` takes."""
        own = Names(self) if len(self._content) != int(np.diff(self._spans).sum()) else self
        return np.frombuffer(own._content, np.uint8), np.diff(own._spans, axis=1)[:, 0]

    @classmethod
    def unpacked(cls, content: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> "Names":
        """Return the names of which `packed` has returned these bytes and lengths."""
        names, ends = object.__new__(cls), lengths.cumsum()
        names._content, names._spans = content.tobytes(), np.stack([ends - lengths, ends], axis=1)
        return names

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return tuple(self._text(*span) for span in self._spans[place].tolist())
        return self._text(*self._spans[place].tolist())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _TOGETHER):
            yield from self[start : start + _TOGETHER]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Names | tuple):
            return NotImplemented
        return self is other or (len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True)))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _text(self, start: int, end: int) -> str:
        return self._content[start:end].decode("utf-8", _ERRORS)


def some_of(names: Sequence[str], places: npt.NDArray[np.int64]) -> Sequence[str]:
    """Return some of the names, in the order of their places."""
    return names.picked(places) if isinstance(names, Names) else tuple(names[i] for i in places)
