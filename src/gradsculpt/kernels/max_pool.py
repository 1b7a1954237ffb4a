"""Max pooling whose second derivative keeps the memory format, and flattening whose first one does."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.dispatch import Call
from gradsculpt.kernels import gpu
from gradsculpt.kernels.convolution import pair

_forward = torch.ops.aten.max_pool2d_with_indices.default
_backward = torch.ops.aten.max_pool2d_with_indices_backward.default


def max_pool2d(call: Call) -> Any:
    """Return the maxima of maps [N, C, H, W], differentiable to any order; which entry is largest counts as fixed."""
    x, size = call["input"], call["kernel_size"]
    if x.ndim != 4 or call["return_indices"]:
        return NotImplemented
    sizes = (size, call["stride"] or size, call["padding"], call["dilation"])
    like, fused = (x.shape, _layout(x)), None
    if gpu.runs(x):
        from gradsculpt.kernels.gpu import max_pool

        fused = max_pool.pool(*like, tuple(map(pair, sizes)), call["ceil_mode"])
    return _MaxPool.apply(x, fused or _Pool(*like, (*sizes, call["ceil_mode"])))


def flatten(call: Call) -> Any:
    """Return maps [N, C, H, W] flattened; their gradient will come in their memory format.

    That of maps in channels_last format would come back in the other one, and every operation on the two together is
    several times slower.
    """
    x = call["input"]
    if x.ndim != 4:
        return NotImplemented
    if x.requires_grad and torch.is_grad_enabled() and _layout(x) is torch.channels_last:
        x = x.view_as(x)
        x.register_hook(lambda g: g.contiguous(memory_format=torch.channels_last))
    return x.flatten(call["start_dim"], call["end_dim"])


class _Pool(NamedTuple):
    """How maps of a shape and a memory format are pooled, by the indices of the maxima in a map.

    Its window is size, stride, padding, dilation, and whether it may hang over the end. The map itself would be kept in
    memory for nothing but its shape.
    """

    shape: torch.Size
    layout: torch.memory_format
    window: tuple[Any, ...]

    def maxima(self, x: Tensor) -> Any:
        return _forward(x, *self.window)

    def scattered(self, g: Tensor, indices: Tensor) -> Any:
        x = torch.empty(self.shape, dtype=g.dtype, device=g.device, memory_format=self.layout)
        return _backward(g, x, *self.window, indices)

    def picked(self, v: Tensor, indices: Tensor) -> Tensor:
        if indices.is_contiguous():
            return v.flatten(2).gather(2, indices.flatten(2)).view_as(indices)
        n, c, h, w = indices.shape
        rows = v.permute(0, 2, 3, 1).reshape(n, -1, c)
        picked = rows.gather(1, indices.permute(0, 2, 3, 1).reshape(n, -1, c))
        return picked.view(n, h, w, c).permute(0, 3, 1, 2)


class _MaxPool(Function):
    """Picks the largest entry of x in each window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: Any) -> Any:
        result, places = how.maxima(x)
        ctx.save_for_backward(places)
        ctx.how = how
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(g, *ctx.saved_tensors, ctx.how), None


class _Scatter(Function):
    """Puts entries back to where they were picked, and adds up what meets."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, places: Tensor, how: Any) -> Any:
        ctx.save_for_backward(places)
        ctx.how = how
        return how.scattered(g, places)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None]:
        return _Pick.apply(v, *ctx.saved_tensors, ctx.how), None, None


class _Pick(Function):
    """Picks the entries at given places."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, places: Tensor, how: Any) -> Any:
        ctx.save_for_backward(places)
        ctx.how = how
        return how.picked(v, places)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return _Scatter.apply(g, *ctx.saved_tensors, ctx.how), None, None


def _layout(x: Tensor) -> torch.memory_format:
    """Return the memory format of maps, or that of the maps they are a part of."""
    return torch.channels_last if x.stride(1) == 1 and not x.is_contiguous() else torch.contiguous_format
