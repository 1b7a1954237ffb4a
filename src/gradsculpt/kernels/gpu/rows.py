"""What two batches of maps have in common, image by image: their distance and cosine, and the derivatives of these."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from gradsculpt.kernels.gpu.layout import beside, dense

_BLOCK, _SPLITS = 1024, 64


def compared(s: Tensor, o: Tensor, squared: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances [N], squared or not, cosines [N], and the sums [N, 4] that they are made of."""
    s = dense(s)
    o, count, size = beside(o, s), len(s), s[0].numel()
    chunk = triton.cdiv(triton.cdiv(size, _SPLITS), _BLOCK) * _BLOCK
    splits = triton.cdiv(size, chunk)
    partial = torch.empty(count, splits, 4, device=s.device)
    distance, cosine, sums = (torch.empty(shape, device=s.device) for shape in ((count,), (count,), (count, 4)))
    with torch.cuda.device_of(s):
        _partial[(count, splits)](s, o, partial, size, chunk, wide=s.numel() > 2**31 - _BLOCK, block=_BLOCK)
        _compared[(count,)](partial, sums, distance, cosine, splits, squared=squared, tile=_SPLITS)
    return distance, cosine, sums


def compared_gradients(
    s: Tensor,
    o: Tensor,
    sums: Tensor,
    by_distance: Tensor,
    by_cosine: Tensor,
    squared: bool,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of s and o, given those of their distances and cosines."""
    s = dense(s)
    o = beside(o, s)
    on_s, on_o = (torch.empty_like(s, dtype=t.dtype) if w else None for t, w in zip((s, o), wanted, strict=True))
    grid = (len(s), triton.cdiv(s[0].numel(), _BLOCK))
    with torch.cuda.device_of(s):
        _gradients[grid](
            *(s, o, sums, by_distance, by_cosine, on_s, on_o, by_distance.stride(0), by_cosine.stride(0), s[0].numel()),
            squared=squared,
            wide=s.numel() > 2**31 - _BLOCK,
            block=_BLOCK,
        )
    return on_s, on_o


@triton.jit
def _get(source, at, there):
    return tl.load(source + at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def _row(wide: tl.constexpr):
    row = tl.program_id(0)
    if wide:
        row = row.to(tl.int64)
    return row


@triton.jit
def _partial(s_at, o_at, to, size, chunk, wide: tl.constexpr, block: tl.constexpr):
    row = _row(wide)
    split = tl.program_id(1)
    end = tl.minimum(split * chunk + chunk, size)
    dd = tl.zeros([block], tl.float32)
    so, ss, oo = dd, dd, dd
    for start in range(split * chunk, end, block):
        at = start + tl.arange(0, block)
        s, o = _get(s_at, row * size + at, at < end), _get(o_at, row * size + at, at < end)
        dd += (s - o) * (s - o)
        so += s * o
        ss += s * s
        oo += o * o
    to += (row * tl.num_programs(1) + split) * 4
    tl.store(to, tl.sum(dd))
    tl.store(to + 1, tl.sum(so))
    tl.store(to + 2, tl.sum(ss))
    tl.store(to + 3, tl.sum(oo))


@triton.jit
def _compared(partial, sums_to, distance_to, cosine_to, splits, squared: tl.constexpr, tile: tl.constexpr):
    row = tl.program_id(0)
    split = tl.arange(0, tile)
    at = (row * splits + split) * 4
    dd, so = tl.sum(_get(partial, at, split < splits)), tl.sum(_get(partial, at + 1, split < splits))
    ss, oo = tl.sum(_get(partial, at + 2, split < splits)), tl.sum(_get(partial, at + 3, split < splits))
    tl.store(sums_to + row * 4, dd)
    tl.store(sums_to + row * 4 + 1, so)
    tl.store(sums_to + row * 4 + 2, ss)
    tl.store(sums_to + row * 4 + 3, oo)
    if squared:
        tl.store(distance_to + row, dd)
    else:
        tl.store(distance_to + row, tl.sqrt(dd))
    lengths = tl.sqrt(ss) * tl.sqrt(oo)
    tl.store(cosine_to + row, tl.where(lengths == 0, 0.0, so / tl.where(lengths == 0, 1.0, lengths)))


@triton.jit
def _gradients(
    s_at,
    o_at,
    sums,
    by_distance,
    by_cosine,
    on_s_to,
    on_o_to,
    step_distance,
    step_cosine,
    size,
    squared: tl.constexpr,
    wide: tl.constexpr,
    block: tl.constexpr,
):
    row = _row(wide)
    at = tl.program_id(1) * block + tl.arange(0, block)
    there = at < size
    s, o = _get(s_at, row * size + at, there), _get(o_at, row * size + at, there)
    dd, so = tl.load(sums + row * 4), tl.load(sums + row * 4 + 1)
    ss, oo = tl.load(sums + row * 4 + 2), tl.load(sums + row * 4 + 3)
    apart = tl.load(by_distance + row * step_distance).to(tl.float32)
    factor = 2.0
    if not squared:
        factor = tl.where(dd == 0, 0.0, 1.0 / tl.sqrt(tl.where(dd == 0, 1.0, dd)))
    apart *= factor
    lengths = tl.sqrt(ss) * tl.sqrt(oo)
    turned = tl.load(by_cosine + row * step_cosine).to(tl.float32)
    turned = tl.where(lengths == 0, 0.0, turned / tl.where(lengths == 0, 1.0, lengths))
    difference = apart * (s - o)
    if on_s_to is not None:
        on_s = difference + turned * (o - so / tl.where(ss == 0, 1.0, ss) * s)
        tl.store(on_s_to + row * size + at, on_s.to(on_s_to.dtype.element_ty), mask=there)
    if on_o_to is not None:
        on_o = turned * (s - so / tl.where(oo == 0, 1.0, oo) * o) - difference
        tl.store(on_o_to + row * size + at, on_o.to(on_o_to.dtype.element_ty), mask=there)
