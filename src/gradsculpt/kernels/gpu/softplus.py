"""Softplus that keeps nothing but what it was given; each derivative of it is one kernel."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.kernels.gpu import curve


def softplus(z: Tensor, beta: float) -> Any:
    """Return log(1 + exp(beta z)) / beta, exact at both ends, differentiable to any order."""
    return _Softplus.apply(z, beta)[0]


class _Softplus(Function):
    """The value a, and what stands for the slope s = sigmoid(beta z), of which a' = s and s' = beta s (1 - s).

    What stands for it takes no memory, and nobody reads it: it is there to hand a derivative by s back to z. Each use
    of the slope is a function of g, z and it, with derivatives by g and by it.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        stand_in = z.new_empty(()).expand(z.shape)
        ctx.save_for_backward(z, stand_in)
        ctx.beta = beta
        ctx.set_materialize_grads(False)
        return curve.value(z, beta), stand_in

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, c: Tensor | None) -> tuple[Tensor | None, None]:
        z, stand_in = ctx.saved_tensors
        if g is None and c is None:
            return None, None
        if not torch.is_grad_enabled():
            return curve.bent(z, g, c, ctx.beta), None
        if c is None:
            return _Straight.apply(g, z.detach(), stand_in, ctx.beta), None
        return _Bent.apply(g, c, z.detach(), stand_in, ctx.beta), None


class _Straight(Function):
    """g s."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, z: Tensor, stand_in: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(g, z, stand_in)
        ctx.beta = beta
        return curve.bent(z, g, None, beta)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        g, z, stand_in = ctx.saved_tensors
        if torch.is_grad_enabled():
            on_g, on_s = _Pair.apply(v, g, z, stand_in, ctx.beta)
        else:
            on_g, on_s = curve.pair(z, v, g, ctx.beta)
        return on_g, None, on_s, None


class _Pair(Function):
    """v s and v g: the derivatives of <v, g s>."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, g: Tensor, z: Tensor, stand_in: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(v, g, z, stand_in)
        ctx.beta = beta
        ctx.set_materialize_grads(False)
        return curve.pair(z, v, g, beta)

    @staticmethod
    def backward(ctx: Any, p: Tensor | None, q: Tensor | None) -> tuple[Tensor | None, ...]:
        v, g, z, stand_in = ctx.saved_tensors
        if not torch.is_grad_enabled():
            by_v, by_g, by_s = curve.pair_gradients(z, v, g, p, q, ctx.beta)
            return by_v, by_g, None, by_s, None
        s = _Slope.apply(z, stand_in, ctx.beta)
        along, across = _times(p, s), _times(q, g)
        on_v = across if along is None else along if across is None else along + across
        return on_v, _times(q, v), None, _times(p, v), None


class _Bent(Function):
    """g s + beta c s (1 - s)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor | None, c: Tensor, z: Tensor, stand_in: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(g, c, z, stand_in)
        ctx.beta = beta
        return curve.bent(z, g, c, beta)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        g, c, z, stand_in = ctx.saved_tensors
        if not torch.is_grad_enabled():
            on_g, on_c, on_s = curve.bent_gradients(z, g, c, u, ctx.beta)
            return None if g is None else on_g, on_c, None, on_s, None
        s = _Slope.apply(z, stand_in, ctx.beta)
        turn = ctx.beta * c * (1 - 2 * s)
        on_s = u * (turn if g is None else turn + g)
        return None if g is None else u * s, ctx.beta * u * s * (1 - s), None, on_s, None


class _Slope(Function):
    """s itself, for derivatives of the fourth order and beyond, which are made of plain operations."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, stand_in: Tensor, beta: float) -> Tensor:
        return curve.slope(z, beta)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor, None]:
        return None, g, None


def _times(a: Tensor | None, b: Tensor) -> Tensor | None:
    return None if a is None else a * b
