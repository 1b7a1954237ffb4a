"""What kernels do with tiles of so many entries and channels of maps [N, C, ...], and with numbers of channels."""

import triton
import triton.language as tl


@triton.jit
def get(source, at, there):
    """Return what lies at offsets, in float32, and 0 where nothing does."""
    return tl.load(source + at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def put(to, row: tl.constexpr, c, channels, numbers):
    """Write numbers of channels to a row of them."""
    tl.store(to + row * channels + c, numbers, mask=c < channels)


@triton.jit
def offsets(m, c, count, channels, area, step_c, step_p, wide: tl.constexpr):
    """Return where the entries m of channels c lie, and whether they are there."""
    n = m // area
    p = m - n * area
    if wide:
        n = n.to(tl.int64)
        p = p.to(tl.int64)
        c = c.to(tl.int64)
    at = (n * (channels * area) + p * step_p)[:, None] + (c * step_c)[None, :]
    return at, (m < count)[:, None] & (c < channels)[None, :]


@triton.jit
def mean(partial, kind: tl.constexpr, c, splits, channels, count, kinds: tl.constexpr, width: tl.constexpr):
    """Return the sum of the parts of a channel, over its count."""
    total = tl.zeros([128, width], tl.float32)
    for start in range(0, splits, 128):
        split = start + tl.arange(0, 128)
        there = (split < splits)[:, None] & (c < channels)[None, :]
        total += get(partial, ((split * kinds + kind) * channels)[:, None] + c[None, :], there)
    return tl.sum(total, 0) / count
