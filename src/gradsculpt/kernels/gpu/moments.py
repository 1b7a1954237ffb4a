"""Sums over each channel of maps [N, C, ...], and maps made of others by numbers that such sums give.

All derivatives of batch normalisation by the statistics of the batch are of this kind. For one channel of M entries,
with t' = t - mean(t), <s, t> = mean(s' t'), weight w, r = (<x, x> + eps)^(-1/2), and G = <g, x> of a gradient g:

    gx = w (r g' - r^3 G x')                      which with a direction v makes
    S = M w (r A - r^3 G V)                       where A = <v, g>, V = <v, x>
    dS / dg = w (r v' - r^3 V x')
    dS / dx = w (alpha x' - r^3 V g' - r^3 G v')  where alpha = -r^3 A + 3 r^5 G V
    dS / dw = M (r A - r^3 G V)

No derivative divides by w. Those of the third order come of <a, dS / dg> + <b, dS / dx> + c dS / dw by the same rules:
d<s, t> / ds = t' / M, and dr / dx = -r^3 x' / M.
"""

import math
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from gradsculpt.kernels.gpu import moment_kernels as kernels
from gradsculpt.kernels.gpu.layout import beside, dense

_ENTRIES, _WIDTH, _PROGRAMS, _SPLITS = 2048, 32, 512, 128
"""Entries of a tile, channels of it at most, programs that keep a GPU busy, and sums of a channel at most."""


class Moments(NamedTuple):
    """What is known of the channels of a batch: rows of numbers, each [C].

    Args:
        x: Mean and r of x.
        g: Mean of g and <g, x>, [2, C].
        v: Mean of v, <v, x> and <v, g>, [3, C].
    """

    x: tuple[Tensor, Tensor]
    g: Tensor | None = None
    v: Tensor | None = None


def totals(t: Tensor) -> Tensor:
    """Return the sum of each channel, [C]."""
    t = dense(t)
    walk = _Walk(t)
    partial = walk.partial(None, None, None, None, t, None)
    if len(partial) == 1:
        return partial.view(-1).to(t.dtype)
    result = t.new_empty(t.shape[1])
    walk.combine(kernels.totals, partial, 1, result)
    return result


def first(
    x: Tensor, g: Tensor, weight: Tensor, known: Moments, more: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Moments]:
    """Return the gradients of x, to which more is added, weight and bias, and what is known from then on.

    Shape: [N, C, ...], [C] and [C].
    """
    walk = _Walk(x)
    x, g, more = walk.aligned(x, g, more)
    partial = walk.partial(known, x, None, None, g, None)
    coefficients, means = walk.numbers(1)
    on_weight, on_bias = torch.empty_like(known.x[0]), torch.empty_like(known.x[0])
    statistics = known.x[0].new_empty(2, x.shape[1])
    walk.combine(
        kernels.first_numbers, partial, 2, weight, *known.x, statistics, on_weight, on_bias, coefficients, means
    )
    gx = torch.empty_like(x)
    walk.apply(x, g, None, None, None, coefficients, means, gx, None, None, more)
    return gx, on_weight, on_bias, known._replace(g=statistics)


def second(x: Tensor, g: Tensor, v: Tensor, weight: Tensor, known: Moments) -> tuple[Tensor, Tensor, Tensor, Moments]:
    """Return the derivatives of S by g, x and weight, and what is known from then on."""
    walk = _Walk(x)
    x, g, v = walk.aligned(x, g, v)
    partial = walk.partial(known, x, g, None, v, None)
    coefficients, means = walk.numbers(2)
    on_weight, statistics = torch.empty_like(known.x[0]), known.x[0].new_empty(3, x.shape[1])
    walk.combine(
        kernels.second_numbers, partial, 3, weight, *known.x, known.g, statistics, on_weight, coefficients, means
    )
    on_g, on_x = torch.empty_like(x, dtype=g.dtype), torch.empty_like(x)
    walk.apply(x, g, v, None, None, coefficients, means, on_g, on_x, None, None)
    return on_g, on_x, on_weight, known._replace(v=statistics)


def third(
    x: Tensor,
    g: Tensor,
    v: Tensor,
    weight: Tensor,
    known: Moments,
    a: Tensor | None,
    b: Tensor | None,
    c: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the derivatives of <a, dS / dg> + <b, dS / dx> + c dS / dw by v, g, x and weight; what is None is 0."""
    walk = _Walk(x)
    x, g, v, a, b = walk.aligned(x, g, v, a, b)
    partial = walk.partial(known, x, g, v, a, b)
    coefficients, means = walk.numbers(3)
    on_weight = torch.empty_like(known.x[0])
    walk.combine(
        kernels.third_numbers, partial, 8, weight, *known.x, known.g, known.v, c, on_weight, coefficients, means
    )
    on_v, on_g, on_x = torch.empty_like(x, dtype=v.dtype), torch.empty_like(x, dtype=g.dtype), torch.empty_like(x)
    walk.apply(x, g, v, a, b, coefficients, means, on_v, on_g, on_x, None)
    return on_v, on_g, on_x, on_weight


class _Walk:
    """How to walk over the channels of a map: its tiles of so many rows and columns, which are entries and channels."""

    def __init__(self, x: Tensor) -> None:
        self._x = dense(x)
        self.channels, self.area = x.shape[1], math.prod(x.shape[2:])
        self.count = x.shape[0] * self.area
        last = self.area == 1 or not self._x.is_contiguous()
        self._steps = (1, self.channels) if last else (self.area, 1)
        self._columns = min(_WIDTH, triton.next_power_of_2(self.channels)) if last else 1
        self._rows = max(1, min(_ENTRIES // self._columns, triton.next_power_of_2(self.count)))
        self._blocks = triton.cdiv(self.channels, self._columns)
        self._wide = x.numel() > 2**31 - _ENTRIES * self.channels

    def aligned(self, *maps: Tensor | None) -> Any:
        """Return maps that lie in memory as x does; None stays None."""
        return [None if t is None else beside(t, self._x) for t in maps]

    def numbers(self, outputs: int) -> tuple[Tensor, Tensor]:
        """Return room for the coefficients of each output in each input, and for the means of inputs."""
        rows = torch.empty(outputs * 5 + 5, self.channels, device=self._x.device)
        return rows[: outputs * 5], rows[outputs * 5 :]

    def partial(
        self,
        known: Moments | None,
        x: Tensor | None,
        g: Tensor | None,
        v: Tensor | None,
        a: Tensor | None,
        b: Tensor | None,
    ) -> Tensor:
        """Return sums over parts of each channel: of a, a x', a g', a v', and of the same of b, as far as they are."""
        rows = (1 + sum(t is not None for t in (x, g, v))) * (1 + (v is not None))
        more = 4 if rows == 1 else 1  # which leaves room for more programs at once
        splits = max(1, min(more * _SPLITS, more * _PROGRAMS // self._blocks, triton.cdiv(self.count, self._rows)))
        chunk = triton.cdiv(triton.cdiv(self.count, splits), self._rows) * self._rows
        splits = triton.cdiv(self.count, chunk)
        partial = torch.empty(splits, rows, self.channels, device=self._x.device)
        mean, of_g, of_v = (None, None, None) if known is None else (known.x[0], known.g, known.v)
        with torch.cuda.device_of(partial):
            kernels.sums[(self._blocks, splits)](
                *(x, g, v, a, b, mean, of_g, of_v, partial, self.count, self.channels, self.area),
                *(*self._steps, chunk),
                kinds=rows,
                **self._tile(),
            )
        return partial

    def combine(self, kernel: Any, partial: Tensor, kinds: int, *arguments: Any) -> None:
        """Write the numbers that come of these sums."""
        width = min(16, triton.next_power_of_2(self.channels))
        with torch.cuda.device_of(partial):
            kernel[(triton.cdiv(self.channels, width),)](
                *(partial, *arguments, len(partial), self.channels, float(self.count)), kinds=kinds, width=width
            )

    def apply(self, x: Tensor, *arguments: Any) -> None:
        """Write maps made of x, g, v, a, b."""
        with torch.cuda.device_of(x):
            kernels.combined[(triton.cdiv(self.count, self._rows), self._blocks)](
                *(x, *arguments, self.count, self.channels, self.area, *self._steps), **self._tile()
            )

    def _tile(self) -> dict[str, Any]:
        return {"wide": self._wide, "rows": self._rows, "columns": self._columns, "num_warps": 8}
