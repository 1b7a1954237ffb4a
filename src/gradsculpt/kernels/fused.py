"""Convolution with constant weights whose values are cut in place: one pass over the memory instead of three."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.kernels.convolution import Geometry

Cut = tuple[float, float | None]
"""The lowest and the highest value of an activation: (0, None) for a ReLU, (0, 6) for a ReLU6."""

_LAST = torch.channels_last
_ENOUGH = 16
"""From this many images on, PyTorch leaves 1 x 1 convolutions to oneDNN on a single thread too, which is faster."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, cut: Cut | None) -> Tensor:
    """Return the convolution of x [N, C, H, W], cut if asked for; weight and bias get no gradient."""
    result: Tensor = _Convolve.apply(x, weight, bias, geometry, cut)
    return result


def arranged(x: Tensor) -> Tensor:
    """Return x in the memory format that convolutions are fastest in."""
    return x.contiguous(memory_format=_LAST) if x.device.type == "cpu" else x


class _Convolve(Function):
    """Values that are cut are their own mask, and of the input nothing but its shape is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry, cut: Cut | None) -> Tensor:
        ctx.contiguous = x.is_contiguous()
        x = arranged(x)
        rows = _by_rows(x, weight, geometry)
        result = geometry.convolve(_rows(x) if rows else x, weight, bias)
        if rows:
            # Autograd would not let a view be changed in place by whatever follows.
            maps = _maps(result, len(x))
            storage = result.untyped_storage(), result.storage_offset()
            result = torch.empty(0, dtype=x.dtype).set_(*storage, maps.shape, maps.stride())
        if cut is not None:
            result = result.relu_() if cut == (0, None) else result.clamp_(*cut)
            ctx.save_for_backward(result)
        ctx.weight, ctx.geometry, ctx.cut, ctx.rows, ctx.shape = weight, geometry, cut, rows, x.shape
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.cut is not None:
            g = _through(g, ctx.saved_tensors[0].detach(), ctx.cut)
        # Memory that nobody touches costs nothing.
        like = torch.empty(ctx.shape, dtype=g.dtype, device=g.device, memory_format=_LAST)
        wanted = (True, False, False)
        if ctx.rows:
            g = _maps(ctx.geometry.gradients(_rows(g), _rows(like), ctx.weight, wanted)[0], len(like))
        else:
            g = ctx.geometry.gradients(g, like, ctx.weight, wanted)[0]
        return g.contiguous() if ctx.contiguous else g, None, None, None, None


def _through(g: Tensor, values: Tensor, cut: Cut) -> Tensor:
    """Return the gradient where the values were not cut."""
    low, high = cut
    if high is None:
        return torch.ops.aten.threshold_backward(g, values, low)  # type: ignore[no-any-return]
    return torch.ops.aten.hardtanh_backward(g, values, low, high)  # type: ignore[no-any-return]


def _by_rows(x: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Return whether to take the rows of few images for images, which changes nothing where pixels are independent."""
    pointwise = weight.shape[2:] == (1, 1) and geometry.stride == (1, 1) and geometry.padding == (0, 0)
    return pointwise and 0 < len(x) < _ENOUGH and x.device.type == "cpu" and torch.get_num_threads() == 1


def _rows(maps: Tensor) -> Tensor:
    """Return maps [N, C, H, W] as [N H, C, 1, W], laid out channels last."""
    n, c, h, w = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(n * h, 1, w, c).permute(0, 3, 1, 2)


def _maps(rows: Tensor, images: int) -> Tensor:
    """Return rows [N H, C, 1, W] as maps [N, C, H, W]."""
    count, c, _, w = rows.shape
    return rows.permute(0, 2, 3, 1).reshape(images, count // images, w, c).permute(0, 3, 1, 2)
