"""Convolution: three bilinear maps, each of whose derivatives are the other two."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.kernels.base import Reading

_backward = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Geometry:
    """How a two-dimensional convolution walks over its input."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the convolution."""
        return torch.convolution(x, weight, bias, self.stride, self.padding, self.dilation, False, (0, 0), self.groups)

    def gradients(
        self, g: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return those wanted of the gradients of input, weight and bias."""
        gradients: tuple[Tensor | None, Tensor | None, Tensor | None] = _backward(
            g,
            x,
            weight,
            [weight.shape[0]],
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            wanted,
        )
        return gradients


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, reading: Reading) -> Tensor:
    """Return the convolution of x [N, C, H, W], differentiable to any order."""
    result: Tensor = _Convolve.apply(x, weight, bias, geometry, reading, x is reading.point)
    return result


class _Convolve(Function):
    """x * weight + bias."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, reading: Reading, first: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.reading, ctx.first = geometry, reading, first
        return geometry.convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = _wanted(ctx, 3)
        if not torch.is_grad_enabled():
            return *ctx.geometry.gradients(g, x, weight, wanted), None, None, None
        gx = _input_gradient(g, weight, x, ctx.geometry, ctx.reading) if wanted[0] else None
        gw = _WeightGradient.apply(x, g, weight, ctx.geometry, ctx.reading) if wanted[1] else None
        return gx, gw, g.sum((0, 2, 3)) if wanted[2] else None, None, None, None


class _InputGradient(Function):
    """The transposed convolution of g with weight."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, like: Tensor, geometry: Geometry, reading: Reading) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.geometry, ctx.reading, ctx.first = geometry, reading, False
        return geometry.gradients(g, like, weight, (True, False, False))[0]  # type: ignore[return-value]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        wanted = _wanted(ctx, 2)
        gg = gw = None
        if not torch.is_grad_enabled():
            gg = ctx.geometry.convolve(u, weight) if wanted[0] else None
            gw = ctx.geometry.gradients(g, u, weight, (False, True, False))[1] if wanted[1] else None
        else:
            gg = _Convolve.apply(u, weight, None, ctx.geometry, ctx.reading, False) if wanted[0] else None
            gw = _WeightGradient.apply(u, g, weight, ctx.geometry, ctx.reading) if wanted[1] else None
        return gg, gw, None, None, None


class _WeightGradient(Function):
    """The correlation of x with g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, like: Tensor, geometry: Geometry, reading: Reading) -> Tensor:
        ctx.save_for_backward(x, g)
        ctx.geometry, ctx.reading, ctx.first = geometry, reading, False
        return geometry.gradients(g, x, like, (False, True, False))[1]  # type: ignore[return-value]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        gx = _input_gradient(g, u, x, ctx.geometry, ctx.reading) if ctx.needs_input_grad[0] else None
        gg = _Convolve.apply(x, u, None, ctx.geometry, ctx.reading, False) if ctx.needs_input_grad[1] else None
        return gx, gg, None, None, None


def _input_gradient(g: Tensor, weight: Tensor, like: Tensor, geometry: Geometry, reading: Reading) -> Tensor:
    result: Tensor = _InputGradient.apply(g, weight, like.detach(), geometry, reading)
    return result


def _wanted(ctx: Any, count: int) -> tuple[bool, ...]:
    """Return which gradients are wanted now: nobody asks for that of the first layer's input but a reading."""
    needs = ctx.needs_input_grad[:count]
    if ctx.reading.inputs_only:
        return (needs[0], *[False] * (count - 1))
    return (needs[0] and not ctx.first, *needs[1:])
