"""A supremum by brute force, in one and two dimensions: slow, plain, and unaware of any penalty's solver."""

from collections.abc import Callable

import torch
from torch import Tensor

FAR = 1e8
"""Where a function still grows by more than `GROWTH`, its supremum is called infinite."""

GROWTH = 100.0


def supremum(function: Callable[[Tensor], Tensor], dimension: int, far: float = FAR) -> float:
    """Return the supremum of a concave function with a finite value at 0.

    A concave function is searched along rays from 0 by ternary search, which also copes with -inf outside a domain.
    In the plane, the rays on which the function exceeds a level form an interval, so the best ray is found by
    zooming in on it.

    Args:
        function: Maps points [M, dimension] to values [M], in float64.
        dimension: 1 or 2.
        far: How far from 0 to look.
    """
    if dimension == 1:
        return float(_along(function, torch.tensor([[-1.0], [1.0]], dtype=torch.float64), far).max())
    centre, width, best = torch.tensor(torch.pi).double(), torch.pi, -torch.inf
    for _ in range(5):
        angles = centre + torch.linspace(-width, width, 257, dtype=torch.float64)
        values = _along(function, torch.stack([angles.cos(), angles.sin()], dim=1), far)
        index = int(values.argmax())
        best, centre, width = max(best, float(values[index])), angles[index], width / 64
    return best


def _along(function: Callable[[Tensor], Tensor], directions: Tensor, far: float) -> Tensor:
    """Return the supremum on the ray from 0 along each direction."""
    low, high = torch.zeros(len(directions), 1).double(), torch.full((len(directions), 1), far).double()
    for _ in range(100):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        rising = (function(first * directions) < function(second * directions))[:, None]
        low, high = torch.where(rising, first, low), torch.where(rising, high, second)
    values = torch.maximum(function(low * directions), function(torch.zeros_like(directions)))
    endless = (low[:, 0] > far / 2) & (values - function(low / 2 * directions) > GROWTH)
    return torch.where(endless, torch.inf, values)
