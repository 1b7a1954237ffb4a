"""How far two batches of maps are apart, image by image, and the cosine between them."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from gradsculpt.kernels import gpu
from gradsculpt.numerics import cosine, divided, dot, length, spread


def compared(source: Tensor, other: Tensor, *, squared: bool) -> tuple[Tensor, Tensor]:
    """Return the L2 distance of each pair of maps [N, ...], squared or not, and its cosine: two of [N], in float32.

    A distance of 0, and the cosine of a map of zeros, which is 0, have the derivative 0. On a GPU both take two
    kernels, and the gradient of one or both of the maps takes one.

    Example:
        >>> compared(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]), squared=False)
        (tensor([5.]), tensor([0.]))
    """
    if source.shape == other.shape and source.ndim > 1 and gpu.runs(source, other):
        result: tuple[Tensor, Tensor] = _Compared.apply(source, other, squared)
        return result
    return _plain(source, other, squared)


def _plain(source: Tensor, other: Tensor, squared: bool) -> tuple[Tensor, Tensor]:
    difference = source - other
    distance = dot(difference, difference) if squared else length(difference)
    return distance, cosine(source, other)


class _Compared(Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, other: Tensor, squared: bool) -> tuple[Tensor, Tensor]:
        from gradsculpt.kernels.gpu import rows

        distance, angle, ctx.sums = rows.compared(source, other, squared)
        ctx.save_for_backward(source, other)
        ctx.squared = squared
        return distance, angle

    @staticmethod
    def backward(ctx: Any, by_distance: Tensor, by_cosine: Tensor) -> tuple[Tensor | None, ...]:
        source, other = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_plain_gradients(source, other, by_distance, by_cosine, ctx.squared), None
        from gradsculpt.kernels.gpu import rows

        wanted = ctx.needs_input_grad[:2]
        return *rows.compared_gradients(source, other, ctx.sums, by_distance, by_cosine, ctx.squared, wanted), None


def _plain_gradients(
    s: Tensor, o: Tensor, by_distance: Tensor, by_cosine: Tensor, squared: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of both maps, out of plain operations."""
    distance, angle = _plain(s, o, squared)
    apart = spread(2 * by_distance if squared else divided(by_distance, distance), s) * (s - o)
    turned = spread(divided(by_cosine, length(s) * length(o)), s)
    along_s, along_o = (spread(divided(by_cosine * angle, dot(t, t)), s) for t in (s, o))
    return (apart + turned * o - along_s * s).to(s.dtype), (turned * s - along_o * o - apart).to(o.dtype)
