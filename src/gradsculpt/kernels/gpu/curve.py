"""Smooth activations f of maps, entry by entry: their values, and what is made of their derivatives f', f'' and f'''.

Softplus is log(1 + exp(beta z)) / beta, SiLU z / (1 + exp(-z)), and GELU z times the probability of less than z under
the normal distribution.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from gradsculpt.kernels.gpu.layout import beside, dense

_BLOCK = 1024


class Kind(NamedTuple):
    """Which activation.

    Args:
        name: softplus, silu or gelu.
        beta: Sharpness of Softplus.
    """

    name: str
    beta: float = 1.0


def value(z: Tensor, kind: Kind, to: Tensor) -> Tensor:
    """Write f to a tensor that is dense, and return it."""
    _launch(_value, kind, beside(z, to), to)
    return to


def bent(z: Tensor, g: Tensor | None, c: Tensor | None, more: Tensor | None, kind: Kind) -> Tensor:
    """Return g f' + c f'' + more; what is None is 0."""
    z, g, c, more = _aligned(z, g, c, more)
    result = torch.empty_like(z)
    _launch(_bent, kind, z, g, c, more, result)
    return result


def pair(z: Tensor, v: Tensor, g: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Return v f' and v g."""
    z, v, g = _aligned(z, v, g)
    along, across = torch.empty_like(z), torch.empty_like(z)
    _launch(_pair, kind, z, v, g, along, across)
    return along, across


def pair_gradients(
    z: Tensor, v: Tensor, g: Tensor, p: Tensor | None, q: Tensor | None, kind: Kind
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of <p, v f'> + <q, v g> by v, g and f': p f' + q g, q v and p v."""
    z, v, g, p, q = _aligned(z, v, g, p, q)
    results = torch.empty_like(z), torch.empty_like(z), torch.empty_like(z)
    _launch(_pair_gradients, kind, z, v, g, p, q, *results)
    return results


def bent_gradients(z: Tensor, g: Tensor | None, c: Tensor, u: Tensor, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of <u, g f' + c f''> by g, c and z: u f', u f'' and u (g f'' + c f''')."""
    z, g, c, u = _aligned(z, g, c, u)
    results = torch.empty_like(z), torch.empty_like(z), torch.empty_like(z)
    _launch(_bent_gradients, kind, z, g, c, u, *results)
    return results


def _aligned(z: Tensor, *others: Tensor | None) -> Any:
    z = dense(z)
    return z, *(None if t is None else beside(t, z) for t in others)


def _launch(kernel: Any, kind: Kind, z: Tensor, *maps: Tensor | None) -> None:
    count = z.numel()
    with torch.cuda.device_of(z):
        kernel[(triton.cdiv(count, _BLOCK),)](
            *(z, *maps, float(kind.beta), count), name=kind.name, wide=count > 2**31 - _BLOCK, block=_BLOCK
        )


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
def _logistic(t):
    """Return s = 1 / (1 + exp(-t)) and s (1 - s), neither of which loses digits however large |t| is."""
    e = tl.exp(-tl.abs(t))
    inverse = 1.0 / (1.0 + e)
    return tl.where(t >= 0, inverse, e * inverse), e * inverse * inverse


@triton.jit
def _normal(z):
    """Return the normal distribution's probability of less than z, and its density."""
    return 0.5 * (1.0 + tl.erf(z * 0.7071067811865476)), tl.exp(-0.5 * z * z) * 0.3989422804014327


@triton.jit
def _slope(z, beta, name: tl.constexpr):
    """Return f'."""
    if name == "softplus":
        s, _ = _logistic(beta * z)
        result = s
    elif name == "silu":
        s, s1 = _logistic(z)
        result = s + z * s1
    else:
        p, density = _normal(z)
        result = p + z * density
    return result


@triton.jit
def _bend(z, beta, name: tl.constexpr):
    """Return f''."""
    if name == "softplus":
        _, s1 = _logistic(beta * z)
        result = beta * s1
    elif name == "silu":
        s, s1 = _logistic(z)
        result = s1 * (2.0 + z * (1.0 - 2.0 * s))
    else:
        _, density = _normal(z)
        result = density * (2.0 - z * z)
    return result


@triton.jit
def _twist(z, beta, name: tl.constexpr):
    """Return f'''."""
    if name == "softplus":
        s, s1 = _logistic(beta * z)
        result = beta * beta * s1 * (1.0 - 2.0 * s)
    elif name == "silu":
        s, s1 = _logistic(z)
        result = s1 * (3.0 * (1.0 - 2.0 * s) + z * (1.0 - 6.0 * s1))
    else:
        _, density = _normal(z)
        result = density * z * (z * z - 4.0)
    return result


@triton.jit
def _value(z_at, to, beta, count, name: tl.constexpr, wide: tl.constexpr, block: tl.constexpr):
    at, there = _offsets(count, wide, block)
    z = _get(z_at, at, there)
    if name == "silu":
        s, _ = _logistic(z)
        result = z * s
    elif name == "gelu":
        p, _ = _normal(z)
        result = z * p
    else:
        result = _softplus(z, beta)
    _put(to, at, result, there)


@triton.jit
def _softplus(z, beta):
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
    return tl.where(z < 0, 0.0, z) + 2.0 * y * series / beta


@triton.jit
def _bent(z_at, g_at, c_at, more_at, to, beta, count, name: tl.constexpr, wide: tl.constexpr, block: tl.constexpr):
    at, there = _offsets(count, wide, block)
    z = _get(z_at, at, there)
    result = tl.zeros([block], tl.float32)
    if g_at is not None:
        result += _slope(z, beta, name) * _get(g_at, at, there)
    if c_at is not None:
        result += _bend(z, beta, name) * _get(c_at, at, there)
    if more_at is not None:
        result += _get(more_at, at, there)
    _put(to, at, result, there)


@triton.jit
def _pair(
    z_at, v_at, g_at, along_to, across_to, beta, count, name: tl.constexpr, wide: tl.constexpr, block: tl.constexpr
):
    at, there = _offsets(count, wide, block)
    slope = _slope(_get(z_at, at, there), beta, name)
    v = _get(v_at, at, there)
    _put(along_to, at, v * slope, there)
    _put(across_to, at, v * _get(g_at, at, there), there)


@triton.jit
def _pair_gradients(
    z_at,
    v_at,
    g_at,
    p_at,
    q_at,
    on_v_to,
    on_g_to,
    on_s_to,
    beta,
    count,
    name: tl.constexpr,
    wide: tl.constexpr,
    block: tl.constexpr,
):
    at, there = _offsets(count, wide, block)
    slope = _slope(_get(z_at, at, there), beta, name)
    v = _get(v_at, at, there)
    p = tl.zeros([block], tl.float32)
    q = tl.zeros([block], tl.float32)
    if p_at is not None:
        p = _get(p_at, at, there)
    if q_at is not None:
        q = _get(q_at, at, there)
    _put(on_v_to, at, p * slope + q * _get(g_at, at, there), there)
    _put(on_g_to, at, q * v, there)
    _put(on_s_to, at, p * v, there)


@triton.jit
def _bent_gradients(
    z_at,
    g_at,
    c_at,
    u_at,
    on_g_to,
    on_c_to,
    on_z_to,
    beta,
    count,
    name: tl.constexpr,
    wide: tl.constexpr,
    block: tl.constexpr,
):
    at, there = _offsets(count, wide, block)
    z = _get(z_at, at, there)
    u = _get(u_at, at, there)
    bend = _bend(z, beta, name)
    turn = _twist(z, beta, name) * _get(c_at, at, there)
    if g_at is not None:
        turn += bend * _get(g_at, at, there)
    _put(on_g_to, at, u * _slope(z, beta, name), there)
    _put(on_c_to, at, u * bend, there)
    _put(on_z_to, at, u * turn, there)
