"""Settings of the whole process that make work on a CPU faster: the commands choose them, a library must be asked."""

import ctypes
from dataclasses import dataclass

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_LARGEST = 2**30

_DENORMAL_BITS, _ENTRIES = 2**20, 2**20  # of a float32; so many entries that every thread gets some


@dataclass(frozen=True)
class ProcessSettings:
    """What is in force in this process, as text too.

    Args:
        flushes_denormals: Whether PyTorch's threads, all of them, take numbers below the normal range for 0.
        keeps_memory: Whether memory that is freed stays with the process.
    """

    flushes_denormals: bool
    keeps_memory: bool

    def __str__(self) -> str:
        denormals = "flushed to zero" if self.flushes_denormals else "computed with, in some threads at least"
        memory = "kept for what comes next" if self.keeps_memory else "returned to the system where its allocator does"
        return f"denormal numbers are {denormals}; freed memory is {memory}"


def prepare_process() -> ProcessSettings:
    """Make this process fast at training and explaining on a CPU, as the commands do, and return what is in force.

    Two things change, for all code of the process and until it ends:

    - Numbers below the normal range (magnitudes under 1.2e-38 in float32) become 0. Networks with smooth activations
      breed them, and processors are many times slower with them. PyTorch can arrange this only before its threads
      start, so call it first; `flushes_denormals` says whether it was in time.
    - Memory that is freed, up to 2 GiB at the top of the heap, stays with the process. By default glibc returns every
      large activation map to the system and gets it back page by page. Other allocators (musl, macOS, Windows) keep to
      their own ways, and `keeps_memory` says so.

    A second call changes nothing. Nothing else is set: no thread counts, no seeds, no precision.

    Example:
        >>> import gradsculpt as gs
        >>> isinstance(gs.prepare_process().flushes_denormals, bool)
        True
    """
    torch.set_flush_denormal(True)
    return ProcessSettings(_flushes_everywhere(), _keep_memory())


def _flushes_everywhere() -> bool:
    # Written and read as bits: this thread, which takes denormal numbers for 0, would neither make nor see them.
    small = torch.full((_ENTRIES,), _DENORMAL_BITS, dtype=torch.int32).view(torch.float32)
    return not bool((small * 0.5).view(torch.int32).any())


def _keep_memory() -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc, or no such library at all
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, 2 * _LARGEST - 1))
