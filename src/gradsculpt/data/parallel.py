"""Work on many items by threads, with results in order."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 256


def ordered(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item in turn, computed by as many threads as there are processors.

    Useful where `function` spends its time outside Python, as decoding images does.

    Example:
        >>> list(ordered(str.upper, ["a", "b"]))
        ['A', 'B']
    """
    # Chunks bound the results that wait in memory, and what must be finished after a Ctrl-C.
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), _CHUNK):
            yield from pool.map(function, items[start : start + _CHUNK])
