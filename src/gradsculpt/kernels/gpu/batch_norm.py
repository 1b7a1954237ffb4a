"""The gradient of batch normalisation by the statistics of the batch, each of whose derivatives is three kernels."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.kernels.gpu import moments


def gradients(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, weighted: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of x [N, C, ...] and, if they are wanted, of weight and bias [C], without a graph."""
    gx, on_weight, known = moments.first(x, g, weight, moments.Moments((mean, r)))
    if not weighted or known.g is None:
        return gx, None, None
    return gx, on_weight.to(weight.dtype), (known.g[0] * (x.numel() // x.shape[1])).to(weight.dtype)


class Gradient(Function):
    """The gradient of x, linear in that of the result.

    It is given the gradient of the result [N, C, ...], x, the weight [C], mean and (variance + eps)^(-1/2) of each
    channel, and eps.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, eps: float) -> Any:
        """Return it, shaped like x."""
        gx, _, ctx.known = moments.first(x, g, weight, moments.Moments((mean, r)))
        ctx.save_for_backward(g, x, weight)
        ctx.eps = eps
        return gx

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of its product with v by g, x and the weight."""
        g, x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            results = _Second.apply(v, g, x, weight, ctx.known, ctx.eps)
        else:
            results = moments.second(x, g, v, weight, ctx.known)[:3]
        on_g, on_x, on_weight = results
        return on_g, on_x, on_weight.to(weight.dtype), None, None, None


class _Second(Function):
    """The derivatives by g, x and the weight of the product of that gradient with v."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, g: Tensor, x: Tensor, weight: Tensor, known: moments.Moments, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        on_g, on_x, on_weight, ctx.known = moments.second(x, g, v, weight, known)
        ctx.save_for_backward(v, g, x, weight)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return on_g, on_x, on_weight

    @staticmethod
    def backward(ctx: Any, a: Tensor | None, b: Tensor | None, c: Tensor | None) -> tuple[Tensor | None, ...]:
        v, g, x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_third((a, b, c), v, g, x, weight, ctx.eps), None, None
        on_v, on_g, on_x, on_weight = moments.third(x, g, v, weight, ctx.known, a, b, c)
        return on_v, on_g, on_x, on_weight.to(weight.dtype), None, None


def _third(
    given: tuple[Tensor | None, ...], v: Tensor, g: Tensor, x: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `moments.third` does, out of plain operations."""
    dims = [0, *range(2, x.ndim)]
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
