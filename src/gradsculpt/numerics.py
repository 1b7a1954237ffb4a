"""Arithmetic on batches that is exact at its edges: nothing divides by zero, no square overflows or vanishes."""

import torch
from torch import Tensor


def wide(t: Tensor) -> Tensor:
    """Return t in float32 at least: what half precision holds, its squares and sums do not."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def in_range(dtype: torch.dtype) -> torch.dtype:
    """Return the type of sums and squares of a type: itself, or float32 for float16, whose range ends at 65,504."""
    return torch.float32 if dtype == torch.float16 else dtype


def per_sample(t: Tensor) -> Tensor:
    """Add up everything but the batch: [N, ...] to [N], in float32 at least."""
    return wide(t).flatten(1).sum(dim=1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each pair of samples, [N], in float32 at least."""
    return per_sample(wide(a) * wide(b))


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Give one value a sample, [N], the dimensions in which it broadcasts over `like`, [N, 1, ...]."""
    return values.view(-1, *[1] * (like.ndim - 1))


def divided(part: Tensor, whole: Tensor, empty: float = 0.0) -> Tensor:
    """Return part / whole, and `empty` where the whole is 0; neither it nor its derivative is ever NaN there.

    Example:
        >>> divided(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]))
        tensor([0.5000, 0.0000])
    """
    there = whole != 0
    return torch.where(there, part / torch.where(there, whole, 1.0), empty)


def divisor(t: Tensor) -> Tensor:
    """Return t with 1 in place of what is not positive: for maps, where `divided` would cost a pass more."""
    return torch.where(t > 0, t, 1.0)


def length(t: Tensor, *, keepdim: bool = False) -> Tensor:
    """Return the L2 norm of each sample, [N] or [N, 1, ...], in float32 at least; its subgradient at 0 is 0.

    The squares of entries near the end of the range of their type overflow or vanish: `unit_peak` first where that
    can be.
    """
    # A root of a sum of squares would have the gradient NaN at 0.
    norm: Tensor = torch.linalg.vector_norm(wide(t), dim=tuple(range(1, t.ndim)), keepdim=keepdim)
    return norm


def peak(t: Tensor) -> Tensor:
    """Return the largest magnitude of each sample, [N, 1, ...]."""
    return t.abs().amax(dim=tuple(range(1, t.ndim)), keepdim=True)


def unit_peak(t: Tensor) -> Tensor:
    """Divide each sample by its largest magnitude; a sample of zeros stays one."""
    return t / divisor(peak(t))


def unit(t: Tensor) -> Tensor:
    """Return each sample with L2 norm 1; 0 stays 0.

    Example:
        >>> unit(torch.tensor([[3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    scaled = unit_peak(wide(t))
    return (scaled / divisor(length(scaled, keepdim=True))).to(t.dtype)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of each pair of samples, [N] in [-1, 1] up to rounding; 0 if one of them is zero."""
    return divided(dot(a, b), length(a) * length(b))
