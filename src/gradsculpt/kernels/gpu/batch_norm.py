"""Batch normalisation by the statistics of the batch, each of whose derivatives is three kernels."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.kernels import primitives
from gradsculpt.kernels.convolution import Reading
from gradsculpt.kernels.gpu import moments


def normalise(x: Tensor, weight: Tensor, bias: Tensor, settings: tuple[Any, ...], reading: Reading) -> Any:
    """Return maps [N, C, ...] normalised per channel; settings are those that PyTorch takes after the bias."""
    return _Normalise.apply(x, weight, bias, settings, reading)[0]


class _Normalise(Function):
    """The result, and a stand-in for x, which hands derivatives by x that come of its gradient back to it.

    It takes no memory, and is never read. What reaches x so is added to the gradient of x as that is written.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, settings: tuple[Any, ...], reading: Reading
    ) -> tuple[Tensor, Tensor]:
        running_mean, running_var, training, momentum, ctx.eps = settings
        # PyTorch chooses between its own and that of the device's maker, as it does everywhere.
        result, mean, r, *_ = torch._batch_norm_impl_index(
            x, weight, bias, running_mean, running_var, training, momentum, ctx.eps, torch.backends.cudnn.enabled
        )
        stand_in = x.new_empty(()).expand(x.shape)
        ctx.save_for_backward(x, weight, stand_in)
        ctx.known, ctx.reading = moments.Moments((mean, r)), reading
        ctx.set_materialize_grads(False)
        return result, stand_in

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, more: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, stand_in = ctx.saved_tensors
        if g is None:
            return more, None, None, None, None
        if not torch.is_grad_enabled():
            gx, on_weight, on_bias, _ = moments.first(x, g, weight, ctx.known, more)
            return gx, on_weight.to(weight.dtype), on_bias.to(weight.dtype), None, None
        gx = _Gradient.apply(g, more, x.detach(), stand_in, weight, ctx.known, ctx.eps)
        if ctx.reading.inputs_only:
            return gx, None, None, None, None
        wide, dims = g.float(), _dims(x)
        on_weight = (wide * primitives.standardised(x.float(), dims, ctx.eps)).sum(dims)
        return gx, on_weight.to(weight.dtype), wide.sum(dims).to(weight.dtype), None, None


class _Gradient(Function):
    """The gradient of x, linear in that of the result, and more."""

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        more: Tensor | None,
        x: Tensor,
        stand_in: Tensor,
        weight: Tensor,
        known: moments.Moments,
        eps: float,
    ) -> Any:
        gx, _, _, ctx.known = moments.first(x, g, weight, known, more)
        ctx.save_for_backward(g, x, stand_in, weight)
        ctx.eps = eps
        return gx

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        g, x, stand_in, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            on_g, on_x, on_weight = _Second.apply(v, g, x, stand_in, weight, ctx.known, ctx.eps)
        else:
            on_g, on_x, on_weight, _ = moments.second(x, g, v, weight, ctx.known)
        more = v if ctx.needs_input_grad[1] else None
        return on_g, more, None, on_x, on_weight.to(weight.dtype), None, None


class _Second(Function):
    """The derivatives by g, x and the weight of the product of that gradient with v."""

    @staticmethod
    def forward(
        ctx: Any,
        v: Tensor,
        g: Tensor,
        x: Tensor,
        stand_in: Tensor,
        weight: Tensor,
        known: moments.Moments,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        on_g, on_x, on_weight, ctx.known = moments.second(x, g, v, weight, known)
        ctx.save_for_backward(v, g, x, stand_in, weight)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return on_g, on_x, on_weight

    @staticmethod
    def backward(ctx: Any, a: Tensor | None, b: Tensor | None, c: Tensor | None) -> tuple[Tensor | None, ...]:
        v, g, x, stand_in, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            x = _Same.apply(x, stand_in)
            on_v, on_g, on_x, on_weight = _third((a, b, c), v, g, x, weight, ctx.eps)
        else:
            on_v, on_g, on_x, on_weight = moments.third(x, g, v, weight, ctx.known, a, b, c)
        return on_v, on_g, None, on_x, on_weight.to(weight.dtype), None, None


class _Same(Function):
    """x, whose derivatives go where its stand-in's do: for those of the fourth order and beyond."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stand_in: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor]:
        return None, g


def _third(
    given: tuple[Tensor | None, ...], v: Tensor, g: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `moments.third` does, out of plain operations."""
    dims = _dims(x)
    shape = (1, -1, *[1] * (x.ndim - 2))
    a, b = (torch.zeros_like(x) if t is None else t for t in given[:2])
    k = torch.zeros_like(weight) if given[2] is None else given[2]
    v, g, x, a, b = (t.float() - t.float().mean(dims, keepdim=True) for t in (v, g, x, a, b))
    w, k = weight.float().view(shape), k.float().view(shape)

    def of(s: Tensor, t: Tensor) -> Tensor:
        return (s * t).mean(dims, keepdim=True)

    r = (of(x, x) + eps).rsqrt()
    gx, vx, vg, ax, av, bx, bg, bv = (
        of(*st) for st in ((g, x), (v, x), (v, g), (a, x), (a, v), (b, x), (b, g), (b, v))
    )
    alpha = 3 * r**5 * gx * vx - r**3 * vg
    by_weight = r * av - r**3 * (vx * ax + vx * bg + gx * bv) + alpha * bx
    by_vx = w * r**3 * (3 * r**2 * gx * bx - ax - bg) - k * r**3 * gx
    by_gx = w * r**3 * (3 * r**2 * vx * bx - bv) - k * r**3 * vx
    by_vg = k * r - w * r**3 * bx
    by_r = w * (av - 3 * r**2 * (vx * ax + vg * bx + vx * bg + gx * bv) + 15 * r**4 * gx * vx * bx)
    by_r = by_r + k * (vg - 3 * r**2 * gx * vx)
    on_v = by_vx * x + by_vg * g + w * (r * a - r**3 * gx * b)
    on_g = by_gx * x + by_vg * v - w * r**3 * vx * b
    on_x = by_gx * g + by_vx * v - r**3 * by_r * x + w * (alpha * b - r**3 * vx * a)
    return on_v, on_g, on_x, by_weight.flatten() * (x.numel() // x.shape[1])


def _dims(x: Tensor) -> tuple[int, ...]:
    return 0, *range(2, x.ndim)
