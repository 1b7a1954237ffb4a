"""What a process is asked to do for speed: measured in fresh processes, as it cannot be taken back."""

import ctypes
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from gradsculpt import process
from gradsculpt.process import ProcessSettings, prepare_process


def fresh(code: str, words: int) -> list[str]:
    """Return so many words that code prints in a process of its own, the last one with all that follows."""
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(None, words - 1)


PRELUDE = """
import resource
import torch
import gradsculpt as gs
torch.set_num_threads(4)

def denormals_remain():
    small = torch.full((2**22,), 2**20, dtype=torch.int32).view(torch.float32)
    return bool((small * 0.5).view(torch.int32).any())

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(2**24).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


def test_denormals_are_flushed_in_every_thread_if_it_is_in_time_and_memory_is_kept() -> None:
    first, remain, threads, second, keeps, faults, words = fresh(
        """
        first = gs.prepare_process()
        print(first.flushes_denormals, denormals_remain(), torch.get_num_threads(), gs.prepare_process() == first)
        print(first.keeps_memory, faults(), first)
    """,
        7,
    )
    assert (first, remain, threads, second) == ("True", "False", "4", "True")
    assert words.startswith("denormal numbers are flushed to zero; freed memory is ")
    # Here the threads have started when it is called.
    unprepared, before, flushes, after = fresh(
        """
        print(faults(), denormals_remain(), gs.prepare_process().flushes_denormals, denormals_remain())
    """,
        4,
    )
    assert (before, flushes, after) == ("True", "False", "True")
    assert keeps == "False" or int(faults) < int(unprepared) / 2


def _no_library(name: object) -> object:
    raise OSError


def _windows(name: object) -> object:
    raise TypeError


@pytest.mark.parametrize(
    "library",
    [_no_library, _windows, lambda name: SimpleNamespace(), lambda name: SimpleNamespace(mallopt=lambda *given: 0)],
    ids=["no library", "windows", "no such function", "refused"],
)
def test_another_allocator_keeps_to_its_ways(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    monkeypatch.setattr(process, "_flushes_everywhere", lambda: True)
    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr("torch.set_flush_denormal", lambda on: True)
    assert prepare_process() == ProcessSettings(flushes_denormals=True, keeps_memory=False)
    assert str(prepare_process()).endswith("returned to the system where its allocator does")
