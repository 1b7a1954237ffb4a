"""Batch normalisation by the statistics of the batch, with a short second derivative."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.devices import at_hand
from gradsculpt.dispatch import Call
from gradsculpt.kernels import gpu
from gradsculpt.kernels.convolution import Reading

_backward = torch.ops.aten.native_batch_norm_backward.default


def batch_norm(reading: Reading, call: Call) -> Any:
    """Return maps [N, C, ...] normalised per channel, differentiable to any order; running statistics are updated."""
    x, weight, bias, running = (call[name] for name in ("input", "weight", "bias", "running_mean"))
    if not call["training"] or x.numel() <= x.shape[1]:  # one entry a channel, which is refused in training
        return NotImplemented
    like = x if running is None else running
    weight = like.new_ones(x.shape[1]) if weight is None else weight
    bias = torch.zeros_like(weight) if bias is None else bias
    settings = (running, call["running_var"], True, call["momentum"], call["eps"])
    if gpu.runs(x, weight, bias):
        from gradsculpt.kernels.gpu import batch_norm as fused

        return fused.normalise(x, weight, bias, settings, reading)
    return _Normalise.apply(x, weight, bias, settings, reading)


class _Normalise(Function):
    """weight (x - mean) r + bias, with r = (variance + eps)^(-1/2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, settings: tuple[Any, ...], reading: Reading) -> Any:
        running_mean, running_var, training, momentum, eps = settings
        # PyTorch chooses between its own and that of the device's maker, as it does everywhere.
        result, ctx.mean, ctx.r, *_ = torch._batch_norm_impl_index(
            x, weight, bias, running_mean, running_var, training, momentum, eps, torch.backends.cudnn.enabled
        )
        ctx.save_for_backward(x, weight)
        ctx.eps, ctx.reading = eps, reading
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        weighted = any(ctx.needs_input_grad[1:3]) and not ctx.reading.inputs_only
        if not torch.is_grad_enabled():
            wanted = [True, weighted, weighted]
            return *_backward(g, x, weight, None, None, ctx.mean, ctx.r, True, ctx.eps, wanted), None, None
        gx = _Gradient.apply(g, x, weight, ctx.mean, ctx.r, ctx.eps, ctx.reading.order)
        if not weighted:
            return gx, None, None, None, None
        normalised, _ = _normalised(x, ctx.eps)
        return gx, _sum(g * normalised), _sum(g), None, None


class _Gradient(Function):
    """The gradient of x: weight r (g - mean(g) - x^ mean(g x^)), linear and symmetric in g."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, eps: float, order: int) -> Any:
        gx, along, _ = _backward(g, x, weight, None, None, mean, r, True, eps, [True, True, True])
        # A second derivative can do without g, a sixth of what would be kept in memory, where no weight is 0. Only the
        # CPU is asked for them: another device would have to be waited for.
        known = at_hand(weight)
        zeros = known is None or not known.all()
        ctx.whole = "zero" if zeros else "order" if order > 2 else None
        ctx.save_for_backward(x, weight, gx, *([g] if ctx.whole else []))
        ctx.mean, ctx.r, ctx.along, ctx.eps, ctx.order = mean, r, along, eps, order
        return gx

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, gx, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            if not ctx.whole:
                raise RuntimeError("this pass was recorded for second derivatives; record it for a higher order.")
            if ctx.whole == "zero":
                return *_plain_second(v, kept[0], x, weight, ctx.eps), None, None, None, None
            return *_second(ctx, v, kept[0], x, weight, gx), None, None, None, None
        # With S = <v, gx>: dS/dg is the same map applied to v, and
        # dS/dx = -(r / M) (S r (x - mean) + sum(v x^) gx + sum(g x^) gv), for each channel.
        gv, v_along, _ = _backward(v, x, weight, None, None, ctx.mean, ctx.r, True, ctx.eps, [True, True, True])
        count = x.numel() // x.shape[1]
        product = _sum(v * gx)
        scale = ctx.r / count
        on_x = -scale * product * ctx.r
        result = torch.addcmul(_wide(-on_x * ctx.mean, x), x, _wide(on_x, x))
        result.addcmul_(gx, _wide(-scale * v_along, x)).addcmul_(gv, _wide(-scale * ctx.along, x))
        return gv, result, _weight_gradient(ctx, v, product), None, None, None, None


def _weight_gradient(ctx: Any, v: Tensor, product: Tensor) -> Any:
    """Return dS / dweight: S is linear in the weight, but where a weight is 0 its share has to be summed up anew."""
    x, weight, _, *kept = ctx.saved_tensors
    if ctx.whole != "zero":
        return product / weight
    unit = torch.ones_like(weight)
    return _sum(v * _backward(kept[0], x, unit, None, None, ctx.mean, ctx.r, True, ctx.eps, [True, False, False])[0])


def _second(ctx: Any, v: Tensor, g: Tensor, x: Tensor, weight: Tensor, gx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of S = <v, gx> by g, x and weight, as `backward` does, with a graph."""
    ones = torch.ones_like(weight)
    normalised = _Normalise.apply(x, ones, torch.zeros_like(ones), (None, None, True, 0.0, ctx.eps), Reading())
    r = (x.var(_others(x), unbiased=False) + ctx.eps).rsqrt()
    gv = _Gradient.apply(v, x, weight, ctx.mean, ctx.r, ctx.eps, ctx.order - 1)
    product = _sum(v * gx)
    scale = -r * (x.shape[1] / x.numel())
    on_x = _wide(scale * product, x) * normalised
    on_x = torch.addcmul(on_x, gx, _wide(scale * _sum(v * normalised), x))
    on_x = torch.addcmul(on_x, gv, _wide(scale * _sum(g * normalised), x))
    return gv, on_x, product / weight


def _plain_second(v: Tensor, g: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same out of plain operations, which do not divide by the weight."""
    normalised, r = _normalised(x, eps)

    def project(t: Tensor) -> Tensor:
        return t - _mean(t) - normalised * _mean(t * normalised)

    g_flat, v_flat = project(g), project(v)
    scale = _wide(weight, x) * r
    on_weight = _mean(v * g_flat) * r
    along = _mean(v * normalised) * scale * g_flat + _mean(g * normalised) * scale * v_flat
    on_x = r * (normalised * on_weight * _wide(weight, x) + along)
    count = x.numel() // x.shape[1]
    return scale * v_flat, -on_x, count * on_weight.flatten()


def _normalised(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    centred = x - _mean(x)
    r = (_mean(centred.square()) + eps).rsqrt()
    return centred * r, r


def _others(t: Tensor) -> list[int]:
    return [0, *range(2, t.ndim)]


def _sum(t: Tensor) -> Tensor:
    return t.sum(_others(t))


def _mean(t: Tensor) -> Tensor:
    return t.mean(_others(t), keepdim=True)


def _wide(channels: Tensor, like: Tensor) -> Tensor:
    return channels.view(1, -1, *[1] * (like.ndim - 2))
