"""Minimisation of smooth convex functions, one for each sample of a batch, to the accuracy of float64."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps points [N, D] to values [N] and gradients [N, D]."""

_MEMORY, _ITERATIONS, _DOUBLINGS, _SLOPE_KEPT, _NARROW = 20, 1000, 200, 0.5, 1e-15


class Minimum(NamedTuple):
    """Where a batch of functions is smallest: value [N] and L2 norm of the gradient; -inf and 0 where unbounded."""

    point: Tensor
    value: Tensor
    residual: Tensor


def minimise(evaluate: Evaluate, start: Tensor, tolerance: Tensor) -> Minimum:
    """Minimise a smooth convex function for each sample by L-BFGS.

    The line search looks at slopes alone. Along a line the slope of a convex function only grows, so bisection
    always ends, and its accuracy is that of the gradient: comparing function values would stop at its square root.

    The functions are independent of each other; the start [N, D] is float64, and a sample is done when the norm of its
    gradient is at most its tolerance, [N].
    """
    point = start
    value, gradient = evaluate(point)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_MEMORY)
    unbounded = torch.zeros_like(value, dtype=torch.bool)
    stalled = unbounded
    for iteration in range(_ITERATIONS):
        done = unbounded | stalled | ~(gradient.norm(dim=1) > tolerance)  # not a number stays one: nothing to seek
        if bool(done.all()):
            break
        direction = _two_loops(gradient, pairs)
        uphill = (direction * gradient).sum(dim=1) >= 0
        direction = torch.where((uphill | (iteration == 0))[:, None], -gradient, direction)
        direction = torch.where(done[:, None], 0.0, direction)
        first = 1 / gradient.norm(dim=1).clamp(min=1) if iteration == 0 else torch.ones_like(value)
        length, endless = _line_search(evaluate, point, direction, gradient, first)
        unbounded = unbounded | (endless & ~done)
        moved = point + length[:, None] * direction
        stalled = (moved == point).all(dim=1)  # at a kink the steps shrink to nothing
        value, ahead = evaluate(moved)
        step, change = moved - point, ahead - gradient
        curvature = (step * change).sum(dim=1)
        pairs.append((step, change, torch.where(curvature > 0, 1 / curvature, 0.0)))
        point, gradient = moved, ahead
    value = torch.where(unbounded, -torch.inf, value)
    return Minimum(point, value, torch.where(unbounded, 0.0, gradient.norm(dim=1)))


def _two_loops(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return the L-BFGS direction; a pair without positive curvature is passed over for the samples that lack it."""
    direction = -gradient
    if not pairs:
        return direction
    shares = []
    for step, change, inverse in reversed(pairs):
        share = inverse * (step * direction).sum(dim=1)
        direction = direction - share[:, None] * change
        shares.append(share)
    _, change, inverse = pairs[-1]
    square = change.square().sum(dim=1)
    scale = torch.where((inverse > 0) & (square > 0), 1 / (inverse * square), 1.0)
    direction = direction * scale[:, None]
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        back = inverse * (change * direction).sum(dim=1)
        direction = direction + (share - back)[:, None] * step
    return direction


def _line_search(
    evaluate: Evaluate, point: Tensor, direction: Tensor, gradient: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """Find a length at which the slope has shrunk, and tell for which samples it never does."""
    target = _SLOPE_KEPT * (direction * gradient).sum(dim=1).abs()
    low, high, length = torch.zeros_like(first), torch.full_like(first, torch.inf), first
    falling = torch.zeros_like(target, dtype=torch.bool)
    moving = (direction != 0).any(dim=1)
    for _ in range(_DOUBLINGS):
        slope = (direction * evaluate(point + length[:, None] * direction)[1]).sum(dim=1)
        falling = slope < -target
        rising = ~(slope <= target) & moving  # not a number counts as too far
        narrow = high.isfinite() & (high - low <= _NARROW * high)  # at a kink no length will do
        if not bool(((falling | rising) & ~narrow).any()):
            break
        low = torch.where(falling, length, low)
        high = torch.where(rising, length, high)
        midway = torch.where(high.isinf(), 2 * length, (low + high) / 2)
        length = torch.where(falling | rising, midway, length)
    return length, falling & high.isinf()
