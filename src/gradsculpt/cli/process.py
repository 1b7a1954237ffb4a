"""What a command does to its own process before it computes anything; a library must not do this to its host."""

import contextlib
import ctypes

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_LARGEST = 2**30


def prepare() -> None:
    """Make the process fast at training on a CPU; to be called before the first parallel operation.

    Softplus networks breed denormal numbers, which are many times slower than others: they are flushed to zero, which
    PyTorch can only arrange before its threads start. And memory that was freed is kept: by default glibc returns every
    activation map to the system and gets it back page by page, which costs a LeNet step a seventh of its time.
    """
    torch.set_flush_denormal(True)
    with contextlib.suppress(OSError, AttributeError):  # not glibc: the system's own ways
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST - 1)
