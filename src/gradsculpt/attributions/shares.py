"""How relevance is shared out: in proportion to contributions, or by another rule where there are none."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from gradsculpt.gradients import pullback

Linear = Callable[[Tensor, Tensor], Tensor]
"""A layer without its bias, as a function of inputs and weights."""

Parts = tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]
"""What units add up from contributions that are not negative, and how shares of these units go back to the inputs.

The sums are nobody else's, so that they may be overwritten.
"""

_FLOOR, _CEILING = 1e-18, 1e6
_LAST = torch.channels_last


def split(g: Tensor, ways: Iterable[Parts]) -> tuple[Tensor, ...]:
    """Split relevance in proportion to contributions, and in the next way where there are none."""
    found: tuple[Tensor, ...] = ()
    left: Tensor | None = g
    for total, back in ways:
        if left is not None:
            share, left = _shares(left, total)
            parts = back(share)
            found = tuple(a + b for a, b in zip(found, parts, strict=True)) if found else parts
        if left is None:
            break
    return found


def _shares(g: Tensor, total: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return relevance by contribution, and what is left because it met units without contributions."""
    in_place = not torch.is_grad_enabled()
    if bool(total.detach().amin() > _FLOOR):
        return torch.div(g, total, out=total) if in_place else g / total, None
    # The quotient tells by its size whether there is relevance at units without contributions, in one pass less.
    share = total.clamp(min=_FLOOR)
    share = torch.div(g, share, out=share) if in_place else g / share
    if bool(share.detach().amax() < _CEILING):
        return share, None
    known = total > torch.finfo(total.dtype).tiny
    left = torch.where(known, 0.0, g)
    return torch.where(known, g / torch.where(known, total, 1.0), 0.0), left if bool(left.any()) else None


def positive(linear: Linear, x: Tensor, weight: Tensor, reach: Tensor | None) -> Iterator[Parts]:
    """Yield the z+ rule, and what magnitudes say.

    Args:
        linear: The layer.
        x: What it was given.
        weight: What it weights that with.
        reach: Which entries of x depend on the images, or None for all.
    """
    x = _reached(x, reach)
    if bool(x.detach().amin() >= 0):
        yield _contributions(linear, x, _clamped(weight, x, low=0))
    else:
        pairs = (x.clamp(min=0), _clamped(weight, x, low=0)), (x.clamp(max=0), _clamped(weight, x, high=0))
        yield _two(linear, *pairs)
    yield from _magnitudes(linear, x, weight, reach)


def box(linear: Linear, x: Tensor, weight: Tensor, low: Tensor, high: Tensor, reach: Tensor | None) -> Iterator[Parts]:
    """Yield the zB rule, as two sums of which no term is negative, and what magnitudes say."""
    yield _two(linear, (x - low, _clamped(weight, x, low=0)), (x - high, _clamped(weight, x, high=0)))
    yield from _magnitudes(linear, x, weight, reach)


def averaged(function: Callable[..., Tensor], x: Tensor, reach: Tensor | None) -> Iterator[Parts]:
    """Yield the ways to split relevance among the entries that are averaged."""
    for entries in _CONTRIBUTIONS:
        a = _reached(entries(x), reach)
        total, pull = pullback(function, a)
        yield total.clone(), partial(_pulled, a, pull)


def summands(a: Tensor, b: Tensor, reaches: tuple[Tensor | None, Tensor | None]) -> Iterator[Parts]:
    """Yield the ways to split relevance between two summands."""
    for entries in _CONTRIBUTIONS:
        pair = _reached(entries(a), reaches[0]), _reached(entries(b), reaches[1])
        yield pair[0] + pair[1], partial(_times, pair)


def _magnitudes(linear: Linear, x: Tensor, weight: Tensor, reach: Tensor | None) -> Iterator[Parts]:
    """Yield the rule of the weights' magnitudes, and if all of them are 0, that of equal parts."""
    ones = _reached(torch.ones_like(x), reach)
    yield _contributions(linear, ones, weight.abs())
    yield _contributions(linear, ones, torch.ones_like(weight))


def _two(linear: Linear, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Parts:
    """Return the sum of two layers' contributions."""
    (a, v), (b, w) = first, second
    if a.ndim == w.ndim and a.shape[1] == v.shape[1]:
        # As one layer with twice the channels: with the few that images have, going back takes as long for one as for
        # two. (In a grouped or transposed layer the channels of inputs and weights are not the same ones.)
        total, back = _contributions(linear, torch.cat([a, b], 1), torch.cat([v, w], 1))

        def halves(share: Tensor) -> tuple[Tensor, ...]:
            one, other = back(share)[0].chunk(2, 1)
            return (one + other,)

        return total, halves
    (one, here), (other, there) = _contributions(linear, a, v), _contributions(linear, b, w)
    return one + other, lambda share: (here(share)[0] + there(share)[0],)


def _contributions(linear: Linear, x: Tensor, weight: Tensor) -> Parts:
    """Return the sum of a layer's products of inputs and weights, and how shares of it go back to the inputs."""
    total, pull = pullback(partial(_swapped, linear, weight), x)

    def back(share: Tensor) -> tuple[Tensor, ...]:
        found = pull(share)
        return (found * x if torch.is_grad_enabled() else found.mul_(x),)

    return total, back


def _swapped(linear: Linear, weight: Tensor, x: Tensor) -> Tensor:
    return linear(x, weight)


def _pulled(a: Tensor, pull: Callable[[Tensor], Tensor], share: Tensor) -> tuple[Tensor, ...]:
    return (a * pull(share),)


def _times(pair: tuple[Tensor, Tensor], share: Tensor) -> tuple[Tensor, ...]:
    if torch.is_grad_enabled():
        return tuple(a * share for a in pair)
    return tuple(a.mul_(share) if a.shape == share.shape else a * share for a in pair)


def _clamped(weight: Tensor, x: Tensor, *, low: float | None = None, high: float | None = None) -> Tensor:
    """Return weights of one sign, laid out like x: else each convolution would do it again."""
    last = x.ndim == 4 and weight.ndim == 4 and x.is_contiguous(memory_format=_LAST)
    if torch.is_grad_enabled() or not last:
        return weight.clamp(low, high)
    return weight.contiguous(memory_format=_LAST).clamp(low, high)


def _reached(x: Tensor, reach: Tensor | None) -> Tensor:
    return x if reach is None else x.masked_fill(~reach, 0.0)


_CONTRIBUTIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.relu, torch.abs, torch.ones_like)
"""What entries of weight 1 contribute: the positive ones, or if none is, all by size, or if all are 0, all alike."""
