"""An evaluation in several processes of one machine: each scores a shard, and this one puts them together."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gradsculpt.companions import Companion, end
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.machine import threads_of_each

_MOMENT = 0.1


def read_shard(text: str | None) -> tuple[int, int] | None:
    """Return what a text such as 0/4 says, None of none; raise `ArgumentError` if it says nothing."""
    if text is None:
        return None
    found = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise ArgumentError(f"--shard {text} is no part of several; pass I/N with I from 0 to N - 1, such as 0/4.")
    return int(found[1]), int(found[2])


@contextmanager
def companions(words: Sequence[str], device: str, count: int) -> Iterator[None]:
    """Have other processes score their shards while the block scores the first of so many, and wait for them.

    Args:
        words: What the command was called with.
        device: Where is computed; each process has a CUDA device of its own.
        count: How many processes there are with this one.

    Raises:
        RunError: If one of them fails; what was scored is kept.
    """
    names = [f"process {number} of the {count} that score side by side" for number in range(1, count)]
    threads = threads_of_each(count)
    others = [
        Companion.started(
            ["evaluate", *words, "--devices", "1", "--shard", f"{number}/{count}"],
            {**_device(device, number), "OMP_NUM_THREADS": str(threads)},
        )
        for number in range(1, count)
    ]
    patience = 0.0
    try:
        with _threads(threads):
            yield
        while any(each.process.poll() is None for each in others):
            _check(others, names)
            time.sleep(_MOMENT)
        _check(others, names)
        patience = 1.0
    finally:
        end(others, patience)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(others: Sequence[Companion], names: Sequence[str]) -> None:
    for each, name in zip(others, names, strict=True):
        if failure := each.failure(name):
            raise RunError(f"{failure}; what was scored is kept, and the same command goes on.")


def _device(device: str, number: int) -> dict[str, str]:
    """Return what a process has to be told for a CUDA device of its own."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return {}
    visible = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    places = visible or list(map(str, range(torch.cuda.device_count())))
    return {"CUDA_VISIBLE_DEVICES": places[number % len(places)]}
