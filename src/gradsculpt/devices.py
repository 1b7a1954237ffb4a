"""What the host knows without waiting for a device, and what a device is given once."""

from collections.abc import MutableMapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils.weak import WeakIdKeyDictionary

Values = npt.NDArray[Any]


def at_hand(t: Tensor) -> Values | None:
    """Return the values of a tensor in the host's memory; None of one on an accelerator, where to ask is to wait."""
    if t.device.type != "cpu":
        return None
    if torch._C._functorch.peek_interpreter_stack() is not None:  # inside torch.func.grad, vmap and their like
        while torch._C._functorch.is_functorch_wrapped_tensor(t):
            t = torch._C._functorch.get_unwrapped(t)
        with temporarily_clear_interpreter_stack():
            return at_hand(t)
    t = t.detach().resolve_conj().resolve_neg()
    return (t.float() if t.dtype is torch.bfloat16 else t).numpy()


def placed(value: Tensor, like: Tensor) -> Tensor:
    """Return a setting on the device and in the precision of images; it goes to another device once, as that waits."""
    if value.device == like.device:
        return value.to(like.dtype)
    key = (value._version, like.device, like.dtype)
    kept = _elsewhere.get(value)
    if kept is None or kept[0] != key:
        kept = _elsewhere[value] = key, value.to(like)
    return kept[1]


_elsewhere: MutableMapping[Tensor, tuple[Any, Tensor]] = WeakIdKeyDictionary()
