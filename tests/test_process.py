"""What a process is asked to do for speed: measured in fresh processes, as it cannot be taken back."""

import ctypes
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from gradsculpt import process
from gradsculpt.process import ProcessSettings, prepare_process


def fresh(code: str) -> list[str]:
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_denormals_are_flushed_in_every_thread_and_memory_is_kept() -> None:
    shown = fresh("""
        import resource
        import torch
        import gradsculpt as gs
        import gradsculpt.cli.process

        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(5):
                torch.empty(2**24).fill_(1.0)
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

        torch.set_num_threads(4)
        before = faults()
        first, second = gs.prepare_process(), gs.prepare_process()
        print(first == second)
        print(first.flushes_denormals, bool((torch.full((2**22,), 1e-40) * 0.5).view(torch.int32).any()))
        print(first.keeps_memory == (faults() < before / 2))
        print(torch.get_num_threads())
        print(first)
    """)
    assert shown[:4] == ["True", "True False", "True", "4"]
    assert shown[4].startswith("denormal numbers are flushed to zero; freed memory is ")


def test_a_call_that_comes_after_the_threads_says_so() -> None:
    shown = fresh("""
        import torch
        torch.set_num_threads(4)
        small = torch.full((2**22,), 1e-40)
        small * 0.5
        import gradsculpt as gs
        done = gs.prepare_process()
        print(done.flushes_denormals, bool((small * 0.5).view(torch.int32).any()))
    """)
    assert shown == ["False True"]


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
