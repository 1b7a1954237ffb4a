"""Pieces that are one kernel each on a GPU, written in Triton; the plain form of each is used elsewhere.

The modules beside this one import Triton, and are imported only where `runs` says that it is of use.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

_STORED = (torch.float32, torch.bfloat16, torch.float16)
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton is told to run its kernels in Python, on tensors of the CPU as well: to test them without a GPU."""


class _Use:
    """In how many blocks the kernels are used, in all threads: gradients are computed in threads of the engine."""

    lock, blocks = threading.Lock(), 0


@contextmanager
def used() -> Iterator[None]:
    """Have the kernels here compute what they can.

    For steps that are recorded: a launch of theirs costs the host several times what one of PyTorch's own does, and
    steps that are taken one by one, which wait for the host, would take longer by them.
    """
    with _Use.lock:
        _Use.blocks += 1
    try:
        yield
    finally:
        with _Use.lock:
            _Use.blocks -= 1


def runs(*tensors: Tensor | None) -> bool:
    """Tell whether the kernels here are used, and these tensors are what they can compute with.

    They are if all lie on one GPU, that Triton is installed for, and their entries have up to 32 bits. Everything is
    computed in float32.
    """
    if not _Use.blocks:
        return False
    present = [t for t in tensors if t is not None]
    return all(_suits(t) for t in present) and len({t.device for t in present}) == 1 and _works(present[0].device)


def _suits(t: Tensor) -> bool:
    plain = type(t) in (Tensor, torch.nn.Parameter) and not torch._C._functorch.is_functorch_wrapped_tensor(t)
    return plain and (t.is_cuda or _INTERPRETED) and t.dtype in _STORED and t.numel() > 0 and t.layout is torch.strided


@cache
def _works(device: torch.device) -> bool:
    """Tell whether a kernel can be compiled and started, which takes a compiler and a driver that Triton knows."""
    if not _INTERPRETED and find_spec("triton") is None:
        return False
    try:
        from gradsculpt.kernels.gpu import curve

        one = torch.zeros(1, device=device)
        curve.value(one, curve.Kind("softplus"), one)
    except Exception as error:  # whatever goes wrong in a compiler: the plain form still works
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"Triton cannot run on {device} ({reason}), so that second derivatives take longer than they could. "
            "A C compiler and the Triton that came with this PyTorch are what it needs.",
            stacklevel=2,
        )
        return False
    return True
