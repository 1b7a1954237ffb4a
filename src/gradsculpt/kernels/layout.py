"""Keeps gradients in the memory format of what they are gradients of."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def aligned(x: Tensor) -> Tensor:
    """Return x; its gradient will come in the memory format of x.

    Where a map in channels_last format is flattened, its gradient comes back in the other format, and every operation
    on the two together is several times slower.
    """
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    result: Tensor = _Align.apply(x) if channels_last else x
    return result


class _Align(Function):
    """The identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.contiguous(memory_format=torch.channels_last)
