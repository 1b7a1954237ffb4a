"""Convolution: three bilinear maps, each of whose derivatives are the other two."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.dispatch import Call
from gradsculpt.kernels import gpu

_Walk = tuple[Any, ...]
"""How a convolution walks over its input: stride, padding, dilation, transposed, output padding, groups."""


@dataclass
class Reading:
    """What is being asked of a recorded pass at the moment.

    An autograd function of PyTorch's own knows whether the gradient of its weights is wanted; one written in Python is
    told only that its weights have gradients. Here it can look.

    Args:
        point: The inputs of the pass. They are a leaf of its own, whose gradient is wanted only while `inputs_only` is
            set.
        order: The highest derivative that will be taken.
        inputs_only: Whether gradients of the inputs are being read, and none of parameters.
    """

    point: Tensor | None = None
    order: int = 3
    inputs_only: bool = field(default=False, init=False)


def conv2d(reading: Reading, call: Call) -> Any:
    """Return the convolution of maps [N, C, H, W], differentiable to any order."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    if x.ndim != 4 or isinstance(call["padding"], str):
        return NotImplemented
    kind = x.device.type
    if torch.is_autocast_enabled(kind):  # which does not see into the kernels
        dtype = torch.get_autocast_dtype(kind)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    walk = (*(pair(call[name]) for name in ("stride", "padding", "dilation")), False, (0, 0), call["groups"])
    return _Convolve.apply(x, weight, bias, walk, reading, x is reading.point)


def conv2d_of_step(call: Call) -> Any:
    """Return the convolution as PyTorch computes it; the gradient of its bias is summed by the kernels of a GPU."""
    x, bias = call["input"], call["bias"]
    trained = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    if not trained or x.ndim != 4 or not gpu.runs(x, bias):
        return NotImplemented
    result = call.given(bias=None)()
    # A node of its own, of which the engine knows whether it will be reached.
    return _Biased.apply(result, bias.view_as(bias).to(result.dtype))


def pair(value: Any) -> tuple[int, int]:
    """Return a number for H and one for W, which PyTorch's functions take as one if they are the same."""
    first, *rest = (value,) if isinstance(value, int) else value
    return int(first), int(rest[0] if rest else first)


class _Convolve(Function):
    """x * weight + bias."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, walk: _Walk, reading: Reading, first: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how, ctx.first = (walk, reading), first
        return torch.convolution(x, weight, bias, *walk)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = _wanted(ctx, 3)
        if not torch.is_grad_enabled():
            return *_gradients(g, x, weight, ctx.how[0], wanted), None, None, None
        gx = _InputGradient.apply(g, weight, x.detach(), *ctx.how) if wanted[0] else None
        gw = _WeightGradient.apply(x, g, weight, *ctx.how) if wanted[1] else None
        return gx, gw, channel_sums(g) if wanted[2] else None, None, None, None


class _Biased(Function):
    """Maps [N, C, H, W] to which a bias [C] is added in place."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        ctx.mark_dirty(y)
        return y.add_(bias.view(-1, 1, 1))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor | None]:
        wanted = torch._C._will_engine_execute_node(ctx.next_functions[1][0])
        return g, channel_sums(g) if wanted else None


class _InputGradient(Function):
    """The transposed convolution of g with weight."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, like: Tensor, walk: _Walk, reading: Reading) -> Any:
        ctx.save_for_backward(g, weight)
        ctx.how, ctx.first = (walk, reading), False
        return _gradients(g, like, weight, walk, (True, False, False))[0]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        g, weight = ctx.saved_tensors
        wanted, walk = _wanted(ctx, 2), ctx.how[0]
        if not torch.is_grad_enabled():
            gg = torch.convolution(u, weight, None, *walk) if wanted[0] else None
            gw = _gradients(g, u, weight, walk, (False, True, False))[1] if wanted[1] else None
        else:
            gg = _Convolve.apply(u, weight, None, *ctx.how, False) if wanted[0] else None
            gw = _WeightGradient.apply(u, g, weight, *ctx.how) if wanted[1] else None
        return gg, gw, None, None, None


class _WeightGradient(Function):
    """The correlation of x with g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, like: Tensor, walk: _Walk, reading: Reading) -> Any:
        ctx.save_for_backward(x, g)
        ctx.how = walk, reading
        return _gradients(g, x, like, walk, (False, True, False))[1]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        gx = _InputGradient.apply(g, u, x.detach(), *ctx.how) if ctx.needs_input_grad[0] else None
        gg = _Convolve.apply(x, u, None, *ctx.how, False) if ctx.needs_input_grad[1] else None
        return gx, gg, None, None, None


def _gradients(g: Tensor, x: Tensor, weight: Tensor, walk: _Walk, wanted: tuple[bool, ...]) -> Any:
    """Return those wanted of the gradients of input, weight and bias."""
    summed = wanted[2] and gpu.runs(g)
    asked = (*wanted[:2], wanted[2] and not summed)
    on_x, on_weight, on_bias = torch.ops.aten.convolution_backward.default(
        g, x, weight, [weight.shape[0]], *walk, asked
    )
    return on_x, on_weight, channel_sums(g) if summed else on_bias


def channel_sums(g: Tensor) -> Tensor:
    """Return the sum of each channel of maps [N, C, H, W]: the gradient of a bias."""
    if torch.is_grad_enabled() or not gpu.runs(g):
        return g.sum((0, 2, 3))
    from gradsculpt.kernels.gpu import moments

    return moments.totals(g)


def _wanted(ctx: Any, count: int) -> tuple[bool, ...]:
    """Return which gradients are wanted now: nobody asks for that of the first layer's input but a reading."""
    needs = ctx.needs_input_grad[:count]
    if ctx.how[1].inputs_only:
        return (needs[0], *[False] * (count - 1))
    return (needs[0] and not ctx.first, *needs[1:])
