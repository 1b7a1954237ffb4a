"""Max pooling whose second derivative keeps the memory format."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_forward = torch.ops.aten.max_pool2d_with_indices.default
_backward = torch.ops.aten.max_pool2d_with_indices_backward.default

Window = tuple[list[int], list[int], list[int], list[int], bool]
"""Kernel size, stride, padding, dilation, and whether the last window may hang over the edge."""


Like = tuple[torch.Size, torch.memory_format]
"""Shape and memory format of a map; the map itself would be kept in memory for nothing else."""


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
        return _Scatter.apply(g, indices, _like(x), ctx.window), None


class _Scatter(Function):
    """Puts entries back to where they were picked, and adds up what meets."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, indices: Tensor, like: Like, window: Window) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.window, ctx.like = window, like
        shape, layout = like
        return _backward(g, torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=layout), *window, indices)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None, None]:
        (indices,) = ctx.saved_tensors
        return _Pick.apply(v, indices, ctx.like, ctx.window), None, None, None


class _Pick(Function):
    """Picks the entries at given indices."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, indices: Tensor, like: Like, window: Window) -> Tensor:
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
        return _Scatter.apply(g, indices, ctx.like, ctx.window), None, None, None


def _like(x: Tensor) -> Like:
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return x.shape, torch.channels_last if channels_last else torch.contiguous_format
