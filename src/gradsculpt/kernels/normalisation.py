"""Layer and instance normalisation with a short second derivative; its weights are applied by plain operations."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.dispatch import Call
from gradsculpt.kernels import primitives

_forward = torch.ops.aten.native_layer_norm.default
_backward = torch.ops.aten.native_layer_norm_backward.default


def layer_norm(call: Call) -> Any:
    """Return maps normalised over their last dimensions, differentiable to any order."""
    return primitives.layer_norm(call, _standardise)


def instance_norm(call: Call) -> Any:
    """Return maps [N, C, ...] normalised over each channel of each image, differentiable to any order."""
    return primitives.instance_norm(call, _standardise)


def _standardise(rows: Tensor, dims: tuple[int, ...], eps: float) -> Any:
    """Return maps less their mean over their last dimensions, over their standard deviation."""
    flat = rows.reshape(*rows.shape[: dims[0]], math.prod(rows.shape[dims[0] :]))
    return _Standardise.apply(flat, eps).view(rows.shape)


class _Standardise(Function):
    """x^ = (x - mean) r, with r = (variance + eps)^(-1/2), for each row of [..., M]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Any:
        result, ctx.mean, ctx.r = _forward(x, x.shape[-1:], None, None, eps)
        ctx.save_for_backward(x)
        ctx.eps = eps
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _Gradient.apply(g, *ctx.saved_tensors, ctx.mean, ctx.r, ctx.eps), None


class _Gradient(Function):
    """The gradient of x: r (g - mean(g) - x^ mean(g x^)), linear and symmetric in g."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, mean: Tensor, r: Tensor, eps: float) -> Any:
        gx = _project(g, x, mean, r)
        ctx.save_for_backward(g, x, gx)
        ctx.mean, ctx.r, ctx.eps = mean, r, eps
        return gx

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        g, x, gx = ctx.saved_tensors
        # With S = <v, gx>: dS/dg is the same map applied to v, and
        # dS/dx = -r (mean(v gx) x^ + mean(v x^) gx + mean(g x^) gv), for each row.
        if torch.is_grad_enabled():
            normalised, gv = _Standardise.apply(x, ctx.eps), _Gradient.apply(v, x, ctx.mean, ctx.r, ctx.eps)
            r = (x.var(-1, unbiased=False, keepdim=True) + ctx.eps).rsqrt()
        else:
            normalised, gv, r = (x - ctx.mean).mul_(ctx.r), _project(v, x, ctx.mean, ctx.r), ctx.r
        on_x = normalised * _mean(v, gx)
        on_x = torch.addcmul(on_x, gx, _mean(v, normalised))
        on_x = torch.addcmul(on_x, gv, _mean(g, normalised))
        return gv, -r * on_x, None, None, None


def _project(g: Tensor, x: Tensor, mean: Tensor, r: Tensor) -> Any:
    return _backward(g, x, x.shape[-1:], mean, r, None, None, [True, False, False])[0]


def _mean(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).mean(-1, keepdim=True)
