"""How relevance is shared out: in proportion to contributions, or by another rule where there are none."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gradsculpt.gradients import pullback

Back = Callable[[Tensor], tuple[Tensor, ...]]
"""Hands shares of what units add up back to the inputs."""

Rule = Callable[..., tuple[Tensor, ...]]
"""From the relevance of units, and what these are computed from, to the relevance of the inputs."""

_FLOOR, _CEILING = 1e-18, 1e6
_LAST = torch.channels_last


class Layer(NamedTuple):
    """A layer without its bias, as a function of weights and inputs; both; and a mask of the inputs that count."""

    linear: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    weight: Tensor
    mask: Tensor | None


def in_turn(units: Callable[..., tuple[Tensor, Back]], *contributions: Callable[..., object]) -> Rule:
    """Return the rule that shares in proportion to contributions, and by the next ones where units have none.

    Args:
        units: Returns what units add up from contributions that are not negative, and how it goes back to the inputs.
            The sums are nobody else's, so that they may be overwritten.
        contributions: Tell what each input contributes, first things first.
    """

    def rule(g: Tensor, *of: object) -> tuple[Tensor, ...]:
        shared: tuple[Tensor, ...] = ()
        for contribution in contributions:
            total, back = units(contribution, *of)
            quotient, left = _divided(g, total)
            more = back(quotient)
            shared = tuple(a + b for a, b in zip(shared, more, strict=True)) if shared else more
            if left is None:
                break
            g = left
        return shared

    return rule


def _divided(g: Tensor, total: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return relevance by contribution, and what is left because it met units without contributions."""
    in_place = not torch.is_grad_enabled()
    if bool(total.detach().amin() > _FLOOR):
        return torch.div(g, total, out=total) if in_place else g / total, None
    # The quotient tells by its size whether there is relevance at units without contributions, in one pass less.
    quotient = total.clamp(min=_FLOOR)
    quotient = torch.div(g, quotient, out=quotient) if in_place else g / quotient
    if bool(quotient.detach().amax() < _CEILING):
        return quotient, None
    there = total > torch.finfo(total.dtype).tiny
    left = torch.where(there, 0.0, g)
    return torch.where(there, g / torch.where(there, total, 1.0), 0.0), left if bool(left.any()) else None


# What a layer's inputs contribute: products of something of the inputs and something of the weights, and maybe of more.
_Products = list[tuple[Tensor, Tensor]]


def _positive(layer: Layer) -> _Products:
    x, weight = _masked(layer.x, layer.mask), layer.weight
    if bool(x.detach().amin() >= 0):
        return [(x, _clamped(weight, x, low=0))]
    return [(x.clamp(min=0), _clamped(weight, x, low=0)), (x.clamp(max=0), _clamped(weight, x, high=0))]


def _in_box(low: Tensor, high: Tensor, layer: Layer) -> _Products:
    x, weight = layer.x, layer.weight
    return [(x - low.to(x), _clamped(weight, x, low=0)), (x - high.to(x), _clamped(weight, x, high=0))]


def _of_weights(size: Callable[[Tensor], Tensor], layer: Layer) -> _Products:
    return [(_masked(torch.ones_like(layer.x), layer.mask), size(layer.weight))]


def _weighted(contribution: Callable[[Layer], _Products], layer: Layer) -> tuple[Tensor, Back]:
    products = contribution(layer)
    x, weight = products[0]
    together = len(products) == 2 and x.ndim == weight.ndim and x.shape[1] == weight.shape[1]
    if together:
        # As one layer with twice the channels: with the few that images have, going back takes as long for one as for
        # two. (In a grouped or transposed layer the channels of inputs and weights are not the same ones.)
        products = [(torch.cat([x, products[1][0]], 1), torch.cat([weight, products[1][1]], 1))]
    sums, pulls = zip(*(pullback(partial(layer.linear, w), a) for a, w in products), strict=True)

    def back(quotient: Tensor) -> tuple[Tensor, ...]:
        pulled = zip((pull(quotient) for pull in pulls), products, strict=True)
        shares = [g * a if torch.is_grad_enabled() else g.mul_(a) for g, (a, _) in pulled]
        first, *second = shares[0].chunk(2, 1) if together else shares
        return (first + second[0] if second else first,)

    return sums[0] if len(sums) == 1 else sums[0] + sums[1], back


def _averaged(
    contribution: Callable[[Tensor], Tensor], function: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor | None
) -> tuple[Tensor, Back]:
    a = _masked(contribution(x), mask)
    total, pull = pullback(function, a)
    return total.clone(), lambda quotient: (a * pull(quotient),)


def _added(
    contribution: Callable[[Tensor], Tensor], pair: tuple[Tensor, Tensor], masks: tuple[Tensor | None, Tensor | None]
) -> tuple[Tensor, Back]:
    a, b = (_masked(contribution(t), mask) for t, mask in zip(pair, masks, strict=True))

    def back(quotient: Tensor) -> tuple[Tensor, ...]:
        in_place = not torch.is_grad_enabled()
        return tuple(t.mul_(quotient) if in_place and t.shape == quotient.shape else t * quotient for t in (a, b))

    return a + b, back


def _clamped(weight: Tensor, x: Tensor, *, low: float | None = None, high: float | None = None) -> Tensor:
    """Return weights of one sign, laid out like x: else each convolution would do it again."""
    last = x.ndim == 4 and weight.ndim == 4 and x.is_contiguous(memory_format=_LAST)
    if last and not torch.is_grad_enabled():
        weight = weight.contiguous(memory_format=_LAST)
    return weight.clamp(low, high)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask, 0.0)


_BY_WEIGHTS = (partial(_of_weights, torch.abs), partial(_of_weights, torch.ones_like))

Z_PLUS = in_turn(_weighted, _positive, *_BY_WEIGHTS)
"""The z+ rule of a `Layer`: its positive products count, else its weights by size, else all inputs alike."""

AVERAGE = in_turn(_averaged, torch.relu, torch.abs, torch.ones_like)
"""z+ of a function that averages, its input, and a mask: positive entries count, else all by size, else all alike."""

SUM = in_turn(_added, torch.relu, torch.abs, torch.ones_like)
"""The same of two summands and their masks."""


def z_box(low: Tensor, high: Tensor) -> Rule:
    """Return the rule zB of a `Layer` whose inputs are between two ends: its distances from these count."""
    return in_turn(_weighted, partial(_in_box, low, high), *_BY_WEIGHTS)
