"""What a command does to its own process, and where it writes; a library must not do this to its host."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from gradsculpt.errors import ArgumentError
from gradsculpt.machine import cores
from gradsculpt.progress import Reporter

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_LARGEST = 2**30
_FILE_WIDTH = 160


def prepare() -> None:
    """Make the process fast at training on a CPU; to be called before the first parallel operation.

    Softplus networks breed denormal numbers, which are many times slower than others: they are flushed to zero, which
    PyTorch can only arrange before its threads start. And memory that was freed is kept: by default glibc returns every
    activation map to the system and gets it back page by page, which is slow. PyTorch's own number of threads knows
    nothing of a container's quota, beyond which threads would wait for each other.
    """
    import torch

    torch.set_num_threads(cores().threads)
    torch.set_flush_denormal(True)
    with contextlib.suppress(OSError, AttributeError):  # not glibc: the system's own ways
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST - 1)


def reporter() -> Reporter:
    """Return what tells of work, on standard error, as that is not the result."""
    return Reporter(Console(file=sys.stderr, soft_wrap=True))


def result_console() -> Console:
    """Return a console on standard output, for the result; in a file, tables are as wide as they need to be."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def find_device(name: str) -> torch.device:
    """Return the device of that name, `ArgumentError` if it cannot be had; auto takes the first accelerator."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    devices = [device for device, available in there.items() if available]
    if name != "auto" and name not in devices:
        raise ArgumentError(
            f"--device {name} cannot be had here; what there is: {', '.join(devices)}. Pass one of these, or auto."
        )
    return torch.device(devices[0] if name == "auto" else name)
