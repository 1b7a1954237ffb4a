"""Smooth activations that keep nothing but what they were given; each derivative of one is one kernel."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.kernels.gpu import curve
from gradsculpt.kernels.gpu.curve import Kind
from gradsculpt.kernels.gpu.layout import dense


def activation(z: Tensor, name: str, beta: float = 1.0) -> Any:
    """Return softplus, silu or gelu of every entry, differentiable to any order."""
    return _Activation.apply(z, Kind(name, beta), False)[0]


def overwritten(z: Tensor, name: str) -> Any:
    """Return the same, written over z; `NotImplemented` if z shows a part of something else, or has gaps."""
    if z._is_view() or dense(z) is not z:
        return NotImplemented
    return _Activation.apply(z, Kind(name), True)[0]


class _Activation(Function):
    """The value f, and what stands for the slope f' and for z.

    These take no memory, and nobody reads them: they are there to hand derivatives by the slope and by z, which come of
    the gradient, back to z, where all are added up as one is written. Each use of the slope is a function of z and of
    them.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, kind: Kind, overwrite: bool) -> tuple[Tensor, Tensor, Tensor]:
        slope, same = (z.new_empty(()).expand(z.shape) for _ in range(2))
        kept = z.clone() if overwrite else z
        ctx.save_for_backward(kept, slope, same)
        ctx.kind = kind
        ctx.set_materialize_grads(False)
        if overwrite:
            ctx.mark_dirty(z)
        return curve.value(kept, kind, z if overwrite else torch.empty_like(dense(z))), slope, same

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, c: Tensor | None, more: Tensor | None) -> tuple[Tensor | None, None, None]:
        z, slope, same = ctx.saved_tensors
        if g is None and c is None:
            return more, None, None
        if not torch.is_grad_enabled():
            return curve.bent(z, g, c, more, ctx.kind), None, None
        if c is None and more is None:
            return _Straight.apply(g, z.detach(), slope, same, ctx.kind), None, None
        return _Bent.apply(g, c, more, z.detach(), slope, same, ctx.kind), None, None


class _Straight(Function):
    """g f'."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, z: Tensor, slope: Tensor, same: Tensor, kind: Kind) -> Tensor:
        ctx.save_for_backward(g, z, slope, same)
        ctx.kind = kind
        return curve.bent(z, g, None, None, kind)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        g, z, slope, same = ctx.saved_tensors
        if torch.is_grad_enabled():
            on_g, on_slope = _Pair.apply(v, g, z, slope, same, ctx.kind)
        else:
            on_g, on_slope = curve.pair(z, v, g, ctx.kind)
        return on_g, None, on_slope, None, None


class _Pair(Function):
    """v f' and v g: the derivatives of <v, g f'> by g and f'."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, g: Tensor, z: Tensor, slope: Tensor, same: Tensor, kind: Kind
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(v, g, z, same)
        ctx.kind = kind
        ctx.set_materialize_grads(False)
        return curve.pair(z, v, g, kind)

    @staticmethod
    def backward(ctx: Any, p: Tensor | None, q: Tensor | None) -> tuple[Tensor | None, ...]:
        v, g, z, same = ctx.saved_tensors
        if not torch.is_grad_enabled():
            by_v, by_g, by_slope = curve.pair_gradients(z, v, g, p, q, ctx.kind)
            return by_v, by_g, None, by_slope, None, None
        along, across = _times(p, _plain(_Same.apply(z, same), ctx.kind)[0]), _times(q, g)
        on_v = across if along is None else along if across is None else along + across
        return on_v, _times(q, v), None, _times(p, v), None, None


class _Bent(Function):
    """g f' + c f'' + more."""

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor | None,
        c: Tensor | None,
        more: Tensor | None,
        z: Tensor,
        slope: Tensor,
        same: Tensor,
        kind: Kind,
    ) -> Tensor:
        ctx.save_for_backward(g, c, z, same)
        ctx.kind = kind
        return curve.bent(z, g, c, more, kind)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        g, c, z, same = ctx.saved_tensors
        c = torch.zeros_like(z) if c is None else c
        if torch.is_grad_enabled():
            first, second, third = _plain(_Same.apply(z, same), ctx.kind)
            on_g, on_c, on_z = u * first, u * second, u * (c * third if g is None else c * third + g * second)
        else:
            on_g, on_c, on_z = curve.bent_gradients(z, g, c, u, ctx.kind)
        needed = ctx.needs_input_grad[:3]
        by_g, by_c, by_more = (t if n else None for t, n in zip((on_g, on_c, u), needed, strict=True))
        return by_g, by_c, by_more, None, None, on_z, None


class _Same(Function):
    """z, whose derivatives go where its stand-in's do: for those of the fourth order and beyond."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, same: Tensor) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor]:
        return None, g


def _plain(z: Tensor, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
    """Return f', f'' and f''' out of plain operations."""
    if kind.name == "gelu":
        density = (-0.5 * z * z).exp() / math.sqrt(2 * math.pi)
        probability = 0.5 * (1 + (z / math.sqrt(2)).erf())
        return probability + z * density, density * (2 - z * z), density * z * (z * z - 4)
    s = (kind.beta * z).sigmoid()
    s1 = s * (1 - s)
    if kind.name == "softplus":
        return s, kind.beta * s1, kind.beta**2 * s1 * (1 - 2 * s)
    return s + z * s1, s1 * (2 + z * (1 - 2 * s)), s1 * (3 * (1 - 2 * s) + z * (1 - 6 * s1))


def _times(a: Tensor | None, b: Tensor) -> Tensor | None:
    return None if a is None else a * b
