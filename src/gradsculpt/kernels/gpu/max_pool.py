"""Max pooling that keeps the place of each maximum in its window in one byte, and derivatives that gather by it."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_ENTRIES, _CHANNELS = 1024, 64
"""Entries of a tile, and channels of it at most."""

_PLACES = 256
"""How many entries a window may have, so that one byte tells them apart."""

_pooled = torch.ops.aten.max_pool2d_with_indices.default


class Pool(NamedTuple):
    """What is pooled, and how.

    Args:
        shape, layout: Of the maps [N, C, H, W]: their memory format.
        pooled: Shape of what comes of them, which lies in memory as they do.
        window: Its size, stride, padding and dilation, each for H and W.
    """

    shape: torch.Size
    layout: torch.memory_format
    pooled: torch.Size
    window: tuple[tuple[int, int], ...]

    @property
    def _sizes(self) -> dict[str, Any]:
        """What the kernels are made for, as entries of maps are [outer, H, W, inner]; a tile is of pixels and inner."""
        _, c, height, width = self.shape
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = self.window
        numbers = {"height": height, "width": width, "rows": self.pooled[2], "columns": self.pooled[3]}
        numbers |= {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "ph": ph, "pw": pw, "dh": dh, "dw": dw}
        most = max(self.shape.numel(), self.pooled.numel())
        inner = c if self.layout is torch.channels_last else 1
        across = min(_CHANNELS, triton.next_power_of_2(inner))
        tile = {"wide": most > 2**31 - _ENTRIES * inner, "along": _ENTRIES // across, "across": across}
        return numbers | {"inner": inner} | tile

    def maxima(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest entry of each window, and which one that is: the first of equal ones, the last NaN."""
        value, places = self._empty(x, self.pooled), self._empty(x, self.pooled, torch.uint8)
        self._launch(_maxima, value, self._laid_out(x), value, places)
        return value, places

    def scattered(self, g: Tensor, places: Tensor) -> Tensor:
        """Return maps of zeros to which entries of g are added at the places of the maxima."""
        result = self._empty(g, self.shape)
        self._launch(_scattered, result, self._laid_out(g), places, result)
        return result

    def picked(self, v: Tensor, places: Tensor) -> Tensor:
        """Return the entries of v at the places of the maxima."""
        result = self._empty(v, self.pooled)
        self._launch(_picked, result, self._laid_out(v), places, result)
        return result

    def _laid_out(self, t: Tensor) -> Tensor:
        return t.contiguous(memory_format=self.layout)

    def _empty(self, like: Tensor, shape: torch.Size, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=self.layout)

    def _launch(self, kernel: Any, written: Tensor, *maps: Tensor) -> None:
        sizes = self._sizes
        pixels = written.numel() // sizes["inner"]
        grid = (triton.cdiv(pixels, sizes["along"]), triton.cdiv(sizes["inner"], sizes["across"]))
        with torch.cuda.device_of(written):
            kernel[grid](*maps, pixels, **sizes)


def pool(
    shape: torch.Size, layout: torch.memory_format, window: tuple[tuple[int, int], ...], ceil_mode: bool
) -> Pool | None:
    """Return how maps are pooled; None if windows have too many entries. What PyTorch refuses, it refuses here too."""
    if window[0][0] * window[0][1] > _PLACES:
        return None
    pooled, _ = _pooled(torch.empty(shape, device="meta"), *window, ceil_mode)
    return Pool(shape, layout, pooled.shape, window)


@triton.jit
def _split(
    pixels,
    height: tl.constexpr,
    width: tl.constexpr,
    inner: tl.constexpr,
    wide: tl.constexpr,
    along: tl.constexpr,
    across: tl.constexpr,
):
    """Return offsets of entries of maps [outer, height, width, inner], whether they are there, and where in each.

    Numbers of pixels are computed once for all that lies between.
    """
    first = tl.program_id(0)
    if wide:
        first = first.to(tl.int64)
    pixel = first * along + tl.arange(0, along)
    c = (tl.program_id(1) * across + tl.arange(0, across))[None, :]
    row = pixel // width
    outer = row // height
    h, w = row - outer * height, pixel - row * width
    there = (pixel < pixels)[:, None] & (c < inner)
    return pixel[:, None] * inner + c, there, outer[:, None], h[:, None], w[:, None], c


@triton.jit
def _maxima(
    x_at,
    value_to,
    places_to,
    pixels,
    height: tl.constexpr,
    width: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    kh: tl.constexpr,
    kw: tl.constexpr,
    sh: tl.constexpr,
    sw: tl.constexpr,
    ph: tl.constexpr,
    pw: tl.constexpr,
    dh: tl.constexpr,
    dw: tl.constexpr,
    inner: tl.constexpr,
    wide: tl.constexpr,
    along: tl.constexpr,
    across: tl.constexpr,
):
    at, there, outer, row, column, c = _split(pixels, rows, columns, inner, wide, along, across)
    top, left = row * sh - ph, column * sw - pw
    best = tl.full([along, across], float("-inf"), tl.float32)
    # The first entry within the map, should none be larger than another.
    place = (tl.maximum(-top, 0) + dh - 1) // dh * kw + (tl.maximum(-left, 0) + dw - 1) // dw
    place = place.to(tl.int32) + tl.zeros([along, across], tl.int32)
    for i in range(kh):
        h = top + i * dh
        for j in tl.static_range(kw):
            w = left + j * dw
            inside = there & (h >= 0) & (h < height) & (w >= 0) & (w < width)
            x = tl.load(x_at + ((outer * height + h) * width + w) * inner + c, mask=inside, other=float("-inf"))
            x = x.to(tl.float32)
            larger = inside & ((x > best) | (x != x))
            best = tl.where(larger, x, best)
            place = tl.where(larger, i * kw + j, place)
    tl.store(value_to + at, best.to(value_to.dtype.element_ty), mask=there)
    tl.store(places_to + at, place.to(tl.uint8), mask=there)


@triton.jit
def _scattered(
    g_at,
    places_at,
    to,
    pixels,
    height: tl.constexpr,
    width: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    kh: tl.constexpr,
    kw: tl.constexpr,
    sh: tl.constexpr,
    sw: tl.constexpr,
    ph: tl.constexpr,
    pw: tl.constexpr,
    dh: tl.constexpr,
    dw: tl.constexpr,
    inner: tl.constexpr,
    wide: tl.constexpr,
    along: tl.constexpr,
    across: tl.constexpr,
):
    # Each entry asks the windows that reach it, so that none is written twice: no zeros first, and one order of sums.
    at, there, outer, h, w, c = _split(pixels, height, width, inner, wide, along, across)
    last, end = (h + ph) // sh, (w + pw) // sw
    total = tl.zeros([along, across], tl.float32)
    for m in range((kh - 1) * dh // sh + 1):
        row = last - m
        i = h + ph - row * sh
        reached = there & (row >= 0) & (row < rows) & (i % dh == 0) & (i // dh < kh)
        for n in tl.static_range((kw - 1) * dw // sw + 1):
            column = end - n
            j = w + pw - column * sw
            here = reached & (column >= 0) & (column < columns) & (j % dw == 0) & (j // dw < kw)
            source = ((outer * rows + row) * columns + column) * inner + c
            place = tl.load(places_at + source, mask=here, other=0).to(tl.int32)
            chosen = here & (place == i // dh * kw + j // dw)
            # What neighbours read at once is one load, and most of it is wanted.
            g = tl.load(g_at + source, mask=here, other=0.0).to(tl.float32)
            total += tl.where(chosen, g, 0.0)
    tl.store(to + at, total.to(to.dtype.element_ty), mask=there)


@triton.jit
def _picked(
    v_at,
    places_at,
    to,
    pixels,
    height: tl.constexpr,
    width: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    kh: tl.constexpr,
    kw: tl.constexpr,
    sh: tl.constexpr,
    sw: tl.constexpr,
    ph: tl.constexpr,
    pw: tl.constexpr,
    dh: tl.constexpr,
    dw: tl.constexpr,
    inner: tl.constexpr,
    wide: tl.constexpr,
    along: tl.constexpr,
    across: tl.constexpr,
):
    at, there, outer, row, column, c = _split(pixels, rows, columns, inner, wide, along, across)
    place = tl.load(places_at + at, mask=there, other=0).to(tl.int32)
    h, w = row * sh - ph + place // kw * dh, column * sw - pw + place % kw * dw
    # A window with holes may miss the map.
    inside = there & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    v = tl.load(v_at + ((outer * height + h) * width + w) * inner + c, mask=inside, other=0.0)
    tl.store(to + at, v, mask=there)
