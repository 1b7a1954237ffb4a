"""Max pooling whose second derivative keeps the memory format."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_forward = torch.ops.aten.max_pool2d_with_indices.default
_backward = torch.ops.aten.max_pool2d_with_indices_backward.default

Window = tuple[list[int], list[int], list[int], list[int], bool]
"""Kernel size, stride, padding, dilation, and whether the last window may hang over the edge."""


def max_pool(x: Tensor, window: Window) -> Tensor:
    """Return the maxima of x [N, C, H, W], differentiable to any order; which entry is largest counts as fixed."""
    result: Tensor = _MaxPool.apply(x, window)
    return result


class _MaxPool(Function):
    """Picks entries of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        result, indices = _forward(x, *window)
        ctx.save_for_backward(x, indices)
        ctx.window = window
        return result  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x, indices = ctx.saved_tensors
        return _Scatter.apply(g, x.detach(), indices, ctx.window), None


class _Scatter(Function):
    """Puts entries back to where they were picked, and adds up what meets."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, like: Tensor, indices: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.window, ctx.like = window, like
        return _backward(g, like, *window, indices)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None, None]:
        (indices,) = ctx.saved_tensors
        return _Pick.apply(v, indices, ctx.like, ctx.window), None, None, None


class _Pick(Function):
    """Picks the entries at given indices."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, indices: Tensor, like: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.window, ctx.like = window, like
        if indices.is_contiguous():
            return v.flatten(2).gather(2, indices.flatten(2)).view_as(indices)
        n, c, h, w = indices.shape
        rows = v.permute(0, 2, 3, 1).reshape(n, -1, c)
        picked = rows.gather(1, indices.permute(0, 2, 3, 1).reshape(n, -1, c))
        return picked.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        (indices,) = ctx.saved_tensors
        return _Scatter.apply(g, ctx.like, indices, ctx.window), None, None, None
