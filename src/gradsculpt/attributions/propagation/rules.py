"""How relevance is shared out: in proportion to contributions, or by another rule where there are none.

A rule is a few ways to tell who contributes, tried in turn. A way tells what each unit adds up from contributions that
are not negative, and how what a unit has is handed to them.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gradsculpt.gradients import pullback

Sums = tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]
"""What units add up, and how shares of these units go back to the inputs.

The sums are nobody else's, so that they may be overwritten.
"""

Rule = Callable[..., tuple[Tensor, ...]]
"""From the relevance of units, and what the ways take, to the relevance of the inputs."""

_FLOOR, _CEILING = 1e-18, 1e6
_LAST = torch.channels_last


class Layer(NamedTuple):
    """A layer, which shares relevance among its inputs.

    Attributes:
        linear: The layer without its bias, as a function of inputs and weights.
        x: What it was given.
        weight: What it weights that with.
        mask: Which entries of x depend on the images, or None for all.
    """

    linear: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    weight: Tensor
    mask: Tensor | None


def in_turn(*ways: Callable[..., Sums]) -> Rule:
    """Return the rule that splits relevance in proportion to contributions, and in the next way where there are none."""

    def rule(g: Tensor, *of: object) -> tuple[Tensor, ...]:
        shares: tuple[Tensor, ...] = ()
        left: Tensor | None = g
        for way in ways:
            if left is None:
                break
            total, back = way(*of)
            share, left = _quotient(left, total)
            more = back(share)
            shares = tuple(a + b for a, b in zip(shares, more, strict=True)) if shares else more
        return shares

    return rule


def positive(layer: Layer) -> Sums:
    """Count the positive products of inputs and weights."""
    linear, x, weight = layer.linear, _masked(layer.x, layer.mask), layer.weight
    if bool(x.detach().amin() >= 0):
        return _products(linear, x, _clamped(weight, x, low=0))
    return _two(linear, (x.clamp(min=0), _clamped(weight, x, low=0)), (x.clamp(max=0), _clamped(weight, x, high=0)))


def in_box(low: Tensor, high: Tensor, layer: Layer) -> Sums:
    """Count the distances from the ends of a range, as two sums of which no term is negative."""
    linear, x, weight, _ = layer
    low, high = low.to(x), high.to(x)
    return _two(linear, (x - low, _clamped(weight, x, low=0)), (x - high, _clamped(weight, x, high=0)))


def magnitudes(layer: Layer) -> Sums:
    """Count the weights by size, whatever the inputs are."""
    return _products(layer.linear, _masked(torch.ones_like(layer.x), layer.mask), layer.weight.abs())


def equal(layer: Layer) -> Sums:
    """Count all inputs alike."""
    return _products(layer.linear, _masked(torch.ones_like(layer.x), layer.mask), torch.ones_like(layer.weight))


def averaged(
    entries: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor | None
) -> Sums:
    """Count something of each entry that is averaged."""
    a = _masked(entries(x), mask)
    total, pull = pullback(function, a)
    return total.clone(), lambda share: (a * pull(share),)


def summed(
    entries: Callable[[Tensor], Tensor], pair: tuple[Tensor, Tensor], masks: tuple[Tensor | None, Tensor | None]
) -> Sums:
    """Count something of each entry of two summands."""
    a, b = (_masked(entries(t), mask) for t, mask in zip(pair, masks, strict=True))

    def back(share: Tensor) -> tuple[Tensor, ...]:
        in_place = not torch.is_grad_enabled()
        return tuple(t.mul_(share) if in_place and t.shape == share.shape else t * share for t in (a, b))

    return a + b, back


# What entries of weight 1 contribute: the positive ones, or if none is, all by size, or if all are 0, all alike.
_ENTRIES: tuple[Callable[[Tensor], Tensor], ...] = (torch.relu, torch.abs, torch.ones_like)

Z_PLUS = in_turn(positive, magnitudes, equal)
"""The z+ rule of a `Layer`."""

AVERAGE = in_turn(*(partial(averaged, entries) for entries in _ENTRIES))
"""The rule of a function that averages, its input, and which entries of it depend on the images."""

SUM = in_turn(*(partial(summed, entries) for entries in _ENTRIES))
"""The rule of two summands, and which of their entries depend on the images."""


def z_box(low: Tensor, high: Tensor) -> Rule:
    """Return the rule zB of a `Layer` whose inputs are between two ends."""
    return in_turn(partial(in_box, low, high), magnitudes, equal)


def _quotient(g: Tensor, total: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return relevance by contribution, and what is left because it met units without contributions."""
    in_place = not torch.is_grad_enabled()
    if bool(total.detach().amin() > _FLOOR):
        return torch.div(g, total, out=total) if in_place else g / total, None
    # The quotient tells by its size whether there is relevance at units without contributions, in one pass less.
    share = total.clamp(min=_FLOOR)
    share = torch.div(g, share, out=share) if in_place else g / share
    if bool(share.detach().amax() < _CEILING):
        return share, None
    contributed = total > torch.finfo(total.dtype).tiny
    left = torch.where(contributed, 0.0, g)
    share = torch.where(contributed, g / torch.where(contributed, total, 1.0), 0.0)
    return share, left if bool(left.any()) else None


def _two(
    linear: Callable[[Tensor, Tensor], Tensor], first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> Sums:
    """Return the sum of two layers' contributions."""
    (a, v), (b, w) = first, second
    if a.ndim == w.ndim and a.shape[1] == v.shape[1]:
        # As one layer with twice the channels: with the few that images have, going back takes as long for one as for
        # two. (In a grouped or transposed layer the channels of inputs and weights are not the same ones.)
        total, back = _products(linear, torch.cat([a, b], 1), torch.cat([v, w], 1))

        def halves(share: Tensor) -> tuple[Tensor, ...]:
            one, other = back(share)[0].chunk(2, 1)
            return (one + other,)

        return total, halves
    (one, here), (other, there) = _products(linear, a, v), _products(linear, b, w)
    return one + other, lambda share: (here(share)[0] + there(share)[0],)


def _products(linear: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Sums:
    """Return the sum of a layer's products of inputs and weights, and how shares of it go back to the inputs."""
    total, pull = pullback(lambda t: linear(t, weight), x)

    def back(share: Tensor) -> tuple[Tensor, ...]:
        pulled = pull(share)
        return (pulled * x if torch.is_grad_enabled() else pulled.mul_(x),)

    return total, back


def _clamped(weight: Tensor, x: Tensor, *, low: float | None = None, high: float | None = None) -> Tensor:
    """Return weights of one sign, laid out like x: else each convolution would do it again."""
    last = x.ndim == 4 and weight.ndim == 4 and x.is_contiguous(memory_format=_LAST)
    if torch.is_grad_enabled() or not last:
        return weight.clamp(low, high)
    return weight.contiguous(memory_format=_LAST).clamp(low, high)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask, 0.0)
