"""Softplus a = log(1 + exp(beta z)) / beta and what its derivatives are made of: s = a', and s' = beta s (1 - s)."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gradsculpt.kernels.gpu.layout import beside, dense

_BLOCK = 1024


def value(z: Tensor, beta: float) -> Tensor:
    """Return a, in the layout of z."""
    z = dense(z)
    a = torch.empty_like(z)
    _launch(_value, z, a, beta)
    return a


def slope(z: Tensor, beta: float) -> Tensor:
    """Return s."""
    z = dense(z)
    s = torch.empty_like(z)
    _launch(_bent, z, None, None, s, beta)
    return s


def bent(z: Tensor, g: Tensor | None, c: Tensor | None, beta: float) -> Tensor:
    """Return g s + beta c s (1 - s), of which one may be missing."""
    z, g, c = _aligned(z, g, c)
    result = torch.empty_like(z)
    _launch(_bent, z, g, c, result, beta)
    return result


def pair(z: Tensor, v: Tensor, g: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Return v s and v g."""
    z, v, g = _aligned(z, v, g)
    along, across = torch.empty_like(z), torch.empty_like(z)
    _launch(_pair, z, v, g, along, across, beta)
    return along, across


def pair_gradients(
    z: Tensor, v: Tensor, g: Tensor, p: Tensor | None, q: Tensor | None, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of <p, v s> + <q, v g> by v, g and s: p s + q g, q v and p v."""
    z, v, g, p, q = _aligned(z, v, g, p, q)
    results = torch.empty_like(z), torch.empty_like(z), torch.empty_like(z)
    _launch(_pair_gradients, z, v, g, p, q, *results, beta)
    return results


def bent_gradients(z: Tensor, g: Tensor | None, c: Tensor, u: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of <u, g s + beta c s (1 - s)> by g, c and s."""
    z, g, c, u = _aligned(z, g, c, u)
    results = torch.empty_like(z), torch.empty_like(z), torch.empty_like(z)
    _launch(_bent_gradients, z, g, c, u, *results, beta)
    return results


def _aligned(z: Tensor, *others: Tensor | None) -> Any:
    z = dense(z)
    return z, *(None if t is None else beside(t, z) for t in others)


def _launch(kernel: Any, z: Tensor, *arguments: Any) -> None:
    count = z.numel()
    with torch.cuda.device_of(z):
        kernel[(triton.cdiv(count, _BLOCK),)](z, *arguments, count, wide=count > 2**31 - _BLOCK, block=_BLOCK)


@triton.jit
def _offsets(count, wide: tl.constexpr, block: tl.constexpr):
    first = tl.program_id(0)
    if wide:
        first = first.to(tl.int64)
    at = first * block + tl.arange(0, block)
    return at, at < count


@triton.jit
def _put(to, at, entries, there):
    tl.store(to + at, entries.to(to.dtype.element_ty), mask=there)


@triton.jit
def _get(source, at, there):
    return tl.load(source + at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def _slopes(z, beta):
    """Return s and s (1 - s), neither of which loses digits however large |z| is."""
    e = tl.exp(-tl.abs(beta * z))
    inverse = 1.0 / (1.0 + e)
    return tl.where(z >= 0, inverse, e * inverse), e * inverse * inverse


@triton.jit
def _value(z_at, to, beta, count, wide: tl.constexpr, block: tl.constexpr):
    at, there = _offsets(count, wide, block)
    z = _get(z_at, at, there)
    e = tl.exp(-tl.abs(beta * z))
    # log(1 + e) = 2 artanh(y), whose series is exact to float32 in 8 terms as y is at most 1/3. A logarithm of 1 + e
    # would lose what is small.
    y = e / (2.0 + e)
    square = y * y
    series = 1.0 / 15.0
    series = series * square + 1.0 / 13.0
    series = series * square + 1.0 / 11.0
    series = series * square + 1.0 / 9.0
    series = series * square + 1.0 / 7.0
    series = series * square + 1.0 / 5.0
    series = series * square + 1.0 / 3.0
    series = series * square + 1.0
    # NaN stays NaN: a maximum with 0 would not keep it.
    _put(to, at, tl.where(z < 0, 0.0, z) + 2.0 * y * series / beta, there)


@triton.jit
def _bent(z_at, g_at, c_at, to, beta, count, wide: tl.constexpr, block: tl.constexpr):
    at, there = _offsets(count, wide, block)
    s, curvature = _slopes(_get(z_at, at, there), beta)
    if c_at is None:
        result = s
        if g_at is not None:
            result = s * _get(g_at, at, there)
    else:
        result = beta * curvature * _get(c_at, at, there)
        if g_at is not None:
            result += s * _get(g_at, at, there)
    _put(to, at, result, there)


@triton.jit
def _pair(z_at, v_at, g_at, along_to, across_to, beta, count, wide: tl.constexpr, block: tl.constexpr):
    at, there = _offsets(count, wide, block)
    s, _ = _slopes(_get(z_at, at, there), beta)
    v = _get(v_at, at, there)
    _put(along_to, at, v * s, there)
    _put(across_to, at, v * _get(g_at, at, there), there)


@triton.jit
def _pair_gradients(
    z_at, v_at, g_at, p_at, q_at, on_v_to, on_g_to, on_s_to, beta, count, wide: tl.constexpr, block: tl.constexpr
):
    at, there = _offsets(count, wide, block)
    s, _ = _slopes(_get(z_at, at, there), beta)
    v = _get(v_at, at, there)
    p = tl.zeros([block], tl.float32)
    q = tl.zeros([block], tl.float32)
    if p_at is not None:
        p = _get(p_at, at, there)
    if q_at is not None:
        q = _get(q_at, at, there)
    _put(on_v_to, at, p * s + q * _get(g_at, at, there), there)
    _put(on_g_to, at, q * v, there)
    _put(on_s_to, at, p * v, there)


@triton.jit
def _bent_gradients(
    z_at, g_at, c_at, u_at, on_g_to, on_c_to, on_s_to, beta, count, wide: tl.constexpr, block: tl.constexpr
):
    at, there = _offsets(count, wide, block)
    s, curvature = _slopes(_get(z_at, at, there), beta)
    u = _get(u_at, at, there)
    _put(on_g_to, at, u * s, there)
    _put(on_c_to, at, beta * u * curvature, there)
    turn = beta * (1.0 - 2.0 * s) * _get(c_at, at, there)
    if g_at is not None:
        turn += _get(g_at, at, there)
    _put(on_s_to, at, u * turn, there)
