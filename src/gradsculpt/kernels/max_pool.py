"""Max pooling whose second derivative keeps the memory format, and flattening whose first one does."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.dispatch import Call

_forward = torch.ops.aten.max_pool2d_with_indices.default
_backward = torch.ops.aten.max_pool2d_with_indices_backward.default

_Like = tuple[torch.Size, torch.memory_format]
"""Shape and memory format of a map; the map itself would be kept in memory for nothing else."""


def max_pool2d(call: Call) -> Any:
    """Return the maxima of maps [N, C, H, W], differentiable to any order; which entry is largest counts as fixed."""
    x, size = call["input"], call["kernel_size"]
    if x.ndim != 4 or call["return_indices"]:
        return NotImplemented
    return _MaxPool.apply(x, (size, call["stride"] or size, call["padding"], call["dilation"], call["ceil_mode"]))


def flatten(call: Call) -> Any:
    """Return maps [N, C, H, W] flattened; their gradient will come in their memory format.

    That of maps in channels_last format would come back in the other one, and every operation on the two together is
    several times slower.
    """
    x = call["input"]
    if x.ndim != 4:
        return NotImplemented
    if x.requires_grad and torch.is_grad_enabled() and _like(x)[1] is torch.channels_last:
        x = x.view_as(x)
        x.register_hook(lambda g: g.contiguous(memory_format=torch.channels_last))
    return x.flatten(call["start_dim"], call["end_dim"])


class _MaxPool(Function):
    """Picks entries of x by windows: kernel size, stride, padding, dilation, and whether they may hang over the end."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: tuple[Any, ...]) -> Any:
        result, indices = _forward(x, *window)
        ctx.save_for_backward(indices)
        ctx.how = _like(x), window
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(g, *ctx.saved_tensors, *ctx.how), None


class _Scatter(Function):
    """Puts entries back to where they were picked, and adds up what meets."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, indices: Tensor, like: _Like, window: tuple[Any, ...]) -> Any:
        ctx.save_for_backward(indices)
        ctx.how = like, window
        shape, layout = like
        x = torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=layout)
        return _backward(g, x, *window, indices)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        return _Pick.apply(v, *ctx.saved_tensors, *ctx.how), None, None, None


class _Pick(Function):
    """Picks the entries at given indices."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, indices: Tensor, like: _Like, window: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.how = like, window
        if indices.is_contiguous():
            return v.flatten(2).gather(2, indices.flatten(2)).view_as(indices)
        n, c, h, w = indices.shape
        rows = v.permute(0, 2, 3, 1).reshape(n, -1, c)
        picked = rows.gather(1, indices.permute(0, 2, 3, 1).reshape(n, -1, c))
        return picked.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return _Scatter.apply(g, *ctx.saved_tensors, *ctx.how), None, None, None


def _like(x: Tensor) -> _Like:
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return x.shape, torch.channels_last if channels_last else torch.contiguous_format
