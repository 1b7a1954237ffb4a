"""The kernels of `moments`: sums over channels, the numbers that they give, and maps made of maps by such numbers.

What is called ax here is <a, x>, and so on. The numbers of a batch are rows, each [C]: first those of a map,
then of the next one.
"""

import triton
import triton.language as tl

from gradsculpt.kernels.gpu.tiles import get, mean, offsets, put


@triton.jit
def _means(source, c, channels):
    result = tl.zeros(c.shape, tl.float32)
    if source is not None:
        result = get(source, c, c < channels)
    return result[None, :]


@triton.jit
def _less(source, mean, at, there):
    result = tl.zeros(at.shape, tl.float32)  # whose sums are not asked for
    if source is not None:
        result = get(source, at, there) - mean
    return result


@triton.jit
def _grown(u_at, at, there, x, g, v, u_sum, ux, ug, uv):
    u = get(u_at, at, there)
    return u_sum + u, ux + u * x, ug + u * g, uv + u * v


@triton.jit
def _put_sums(to, c, channels, u_sum, ux, ug, uv, count: tl.constexpr):
    put(to, 0, c, channels, tl.sum(u_sum, 0))
    if count > 1:
        put(to, 1, c, channels, tl.sum(ux, 0))
    if count > 2:
        put(to, 2, c, channels, tl.sum(ug, 0))
    if count > 3:
        put(to, 3, c, channels, tl.sum(uv, 0))


@triton.jit
def sums(
    x_at,
    g_at,
    v_at,
    a_at,
    b_at,
    mean_at,
    of_g,
    of_v,
    to,
    count,
    channels,
    area,
    step_c,
    step_p,
    chunk,
    kinds: tl.constexpr,
    wide: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
):
    """Write sums of a, a x', a g', a v', and of the same of b, as far as they are, over a part of each channel."""
    c = tl.program_id(0) * columns + tl.arange(0, columns)
    split = tl.program_id(1)
    if wide:
        split = split.to(tl.int64)
    end = tl.minimum(split * chunk + chunk, count)
    mean_x, mean_g, mean_v = _means(mean_at, c, channels), _means(of_g, c, channels), _means(of_v, c, channels)
    a_sum = tl.zeros([rows, columns], tl.float32)
    ax, ag, av = a_sum, a_sum, a_sum
    b_sum, bx, bg, bv = a_sum, a_sum, a_sum, a_sum
    for start in range(split * chunk, end, rows):
        at, there = offsets(start + tl.arange(0, rows), c, end, channels, area, step_c, step_p, wide)
        x = _less(x_at, mean_x, at, there)
        g = _less(g_at, mean_g, at, there)
        v = _less(v_at, mean_v, at, there)
        if a_at is not None:
            a_sum, ax, ag, av = _grown(a_at, at, there, x, g, v, a_sum, ax, ag, av)
        if b_at is not None:
            b_sum, bx, bg, bv = _grown(b_at, at, there, x, g, v, b_sum, bx, bg, bv)
    to += split * kinds * channels
    _put_sums(to, c, channels, a_sum, ax, ag, av, kinds)
    if kinds > 4:
        _put_sums(to + 4 * channels, c, channels, b_sum, bx, bg, bv, kinds)


@triton.jit
def totals(partial, to, splits, channels, count, kinds: tl.constexpr, width: tl.constexpr):
    """Write the sums of whole channels."""
    c = tl.program_id(0) * width + tl.arange(0, width)
    put(to, 0, c, channels, mean(partial, 0, c, splits, channels, 1.0, kinds, width))


@triton.jit
def _put_output(to, output: tl.constexpr, c, channels, x, g, v, a, b):
    put(to, output * 5, c, channels, x)
    put(to, output * 5 + 1, c, channels, g)
    put(to, output * 5 + 2, c, channels, v)
    put(to, output * 5 + 3, c, channels, a)
    put(to, output * 5 + 4, c, channels, b)


@triton.jit
def first_numbers(
    partial,
    weight_at,
    mean_at,
    r_at,
    statistics_to,
    on_weight_to,
    on_bias_to,
    to,
    means_to,
    splits,
    channels,
    count,
    kinds: tl.constexpr,
    width: tl.constexpr,
):
    """Write the mean of g and gx, the gradients of weight and bias, and what that of x is made of."""
    c = tl.program_id(0) * width + tl.arange(0, width)
    there = c < channels
    w, r = get(weight_at, c, there), get(r_at, c, there)
    mean_g = mean(partial, 0, c, splits, channels, count, kinds, width)
    gx = mean(partial, 1, c, splits, channels, count, kinds, width)
    put(statistics_to, 0, c, channels, mean_g)
    put(statistics_to, 1, c, channels, gx)
    put(on_weight_to, 0, c, channels, count * r * gx)
    put(on_bias_to, 0, c, channels, count * mean_g)
    put(means_to, 0, c, channels, get(mean_at, c, there))
    put(means_to, 1, c, channels, mean_g)
    zero = tl.zeros([width], tl.float32)
    _put_output(to, 0, c, channels, -w * r * r * r * gx, w * r, zero, zero, zero)


@triton.jit
def second_numbers(
    partial,
    weight_at,
    mean_at,
    r_at,
    of_g,
    statistics_to,
    on_weight_to,
    to,
    means_to,
    splits,
    channels,
    count,
    kinds: tl.constexpr,
    width: tl.constexpr,
):
    """Write the mean of v, vx and vg, the derivative of S by the weight, and what those by g and x are made of."""
    c = tl.program_id(0) * width + tl.arange(0, width)
    there = c < channels
    w, r = get(weight_at, c, there), get(r_at, c, there)
    r3 = r * r * r
    gx = get(of_g, channels + c, there)
    mean_v = mean(partial, 0, c, splits, channels, count, kinds, width)
    vx = mean(partial, 1, c, splits, channels, count, kinds, width)
    vg = mean(partial, 2, c, splits, channels, count, kinds, width)
    put(statistics_to, 0, c, channels, mean_v)
    put(statistics_to, 1, c, channels, vx)
    put(statistics_to, 2, c, channels, vg)
    put(on_weight_to, 0, c, channels, count * (r * vg - r3 * gx * vx))
    put(means_to, 0, c, channels, get(mean_at, c, there))
    put(means_to, 1, c, channels, get(of_g, c, there))
    put(means_to, 2, c, channels, mean_v)
    zero = tl.zeros([width], tl.float32)
    _put_output(to, 0, c, channels, -w * r3 * vx, zero, w * r, zero, zero)
    alpha = r3 * (3 * r * r * gx * vx - vg)
    _put_output(to, 1, c, channels, w * alpha, -w * r3 * vx, -w * r3 * gx, zero, zero)


@triton.jit
def third_numbers(
    partial,
    weight_at,
    mean_at,
    r_at,
    of_g,
    of_v,
    c_at,
    on_weight_to,
    to,
    means_to,
    splits,
    channels,
    count,
    kinds: tl.constexpr,
    width: tl.constexpr,
):
    """Write the third derivative by the weight, and what those by v, g and x are made of."""
    c = tl.program_id(0) * width + tl.arange(0, width)
    there = c < channels
    w, r = get(weight_at, c, there), get(r_at, c, there)
    r2 = r * r
    r3 = r2 * r
    gx = get(of_g, channels + c, there)
    vx, vg = get(of_v, channels + c, there), get(of_v, 2 * channels + c, there)
    ax = mean(partial, 1, c, splits, channels, count, kinds, width)
    av = mean(partial, 3, c, splits, channels, count, kinds, width)
    bx = mean(partial, 5, c, splits, channels, count, kinds, width)
    bg = mean(partial, 6, c, splits, channels, count, kinds, width)
    bv = mean(partial, 7, c, splits, channels, count, kinds, width)
    put(means_to, 0, c, channels, get(mean_at, c, there))
    put(means_to, 1, c, channels, get(of_g, c, there))
    put(means_to, 2, c, channels, get(of_v, c, there))
    put(means_to, 3, c, channels, mean(partial, 0, c, splits, channels, count, kinds, width))
    put(means_to, 4, c, channels, mean(partial, 4, c, splits, channels, count, kinds, width))
    k = tl.zeros([width], tl.float32)
    if c_at is not None:
        k = get(c_at, c, there)
    alpha = r3 * (3 * r2 * gx * vx - vg)
    # The derivatives of T / M, whose weight is 1 in what it is linear in.
    by_weight = r * av - r3 * (vx * ax + vx * bg + gx * bv) + alpha * bx
    by_vx = w * r3 * (3 * r2 * gx * bx - ax - bg) - k * r3 * gx
    by_gx = w * r3 * (3 * r2 * vx * bx - bv) - k * r3 * vx
    by_vg = k * r - w * r3 * bx
    by_r = w * (av - 3 * r2 * (vx * ax + vg * bx + vx * bg + gx * bv) + 15 * r2 * r2 * gx * vx * bx)
    by_r += k * (vg - 3 * r2 * gx * vx)
    put(on_weight_to, 0, c, channels, count * by_weight)
    zero = tl.zeros([width], tl.float32)
    _put_output(to, 0, c, channels, by_vx, by_vg, zero, w * r, -w * r3 * gx)
    _put_output(to, 1, c, channels, by_gx, zero, by_vg, zero, -w * r3 * vx)
    _put_output(to, 2, c, channels, -r3 * by_r, by_gx, by_vx, -w * r3 * vx, w * alpha)


@triton.jit
def _added(total, entries, coefficients, row: tl.constexpr, c, channels):
    return total + entries * get(coefficients, row * channels + c, c < channels)[None, :]


@triton.jit
def _put_map(
    to,
    output: tl.constexpr,
    at,
    there,
    c,
    channels,
    coefficients,
    x,
    g,
    v,
    a,
    b,
    more,
    with_v: tl.constexpr,
    with_a: tl.constexpr,
    with_b: tl.constexpr,
):
    total = _added(more, x, coefficients, output * 5, c, channels)
    total = _added(total, g, coefficients, output * 5 + 1, c, channels)
    if with_v:
        total = _added(total, v, coefficients, output * 5 + 2, c, channels)
    if with_a:
        total = _added(total, a, coefficients, output * 5 + 3, c, channels)
    if with_b:
        total = _added(total, b, coefficients, output * 5 + 4, c, channels)
    tl.store(to + at, total.to(to.dtype.element_ty), mask=there)


@triton.jit
def _centred(source, at, there, means, row: tl.constexpr, c, channels):
    return get(source, at, there) - get(means, row * channels + c, c < channels)[None, :]


@triton.jit
def combined(
    x_at,
    g_at,
    v_at,
    a_at,
    b_at,
    coefficients,
    means,
    one_to,
    two_to,
    three_to,
    more_at,
    count,
    channels,
    area,
    step_c,
    step_p,
    wide: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
):
    """Write up to three maps, each a sum of multiples of x', g', v', a', b'; what is given is added to the first."""
    c = tl.program_id(1) * columns + tl.arange(0, columns)
    block = tl.program_id(0)
    if wide:
        block = block.to(tl.int64)
    m = block * rows + tl.arange(0, rows)
    at, there = offsets(m, c, count, channels, area, step_c, step_p, wide)
    x = _centred(x_at, at, there, means, 0, c, channels)
    g = _centred(g_at, at, there, means, 1, c, channels)
    v, a, b = g, g, g
    if v_at is not None:
        v = _centred(v_at, at, there, means, 2, c, channels)
    if a_at is not None:
        a = _centred(a_at, at, there, means, 3, c, channels)
    if b_at is not None:
        b = _centred(b_at, at, there, means, 4, c, channels)
    with_v: tl.constexpr = v_at is not None
    with_a: tl.constexpr = a_at is not None
    with_b: tl.constexpr = b_at is not None
    none = tl.zeros_like(x)
    more = none
    if more_at is not None:
        more = get(more_at, at, there)
    _put_map(one_to, 0, at, there, c, channels, coefficients, x, g, v, a, b, more, with_v, with_a, with_b)
    if two_to is not None:
        _put_map(two_to, 1, at, there, c, channels, coefficients, x, g, v, a, b, none, with_v, with_a, with_b)
    if three_to is not None:
        _put_map(three_to, 2, at, there, c, channels, coefficients, x, g, v, a, b, none, with_v, with_a, with_b)
