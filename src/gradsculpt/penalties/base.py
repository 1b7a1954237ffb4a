"""The penalty: a convex function of a gradient map, and what follows from it by convex duality."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.devices import at_hand, placed
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import in_range, per_sample, unit, wide

Size = float | Tensor
"""A non-negative number, or a tensor of them that broadcasts over [N, C, H, W]."""


_WIDENED = frozenset({"value", "dual", "prox", "conjugate_prox", "ascent"})
"""What is computed in float32 at least. Not `conjugate`, which has to know how a perturbation was rounded."""


def _widened(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return an operation that takes a map of any precision, and computes in float32 at least."""

    @wraps(operation)
    def widened(self: "Penalty", g: Tensor, *step: Size) -> Tensor:
        if g.dtype.itemsize > 2:
            return operation(self, g, *step)
        result = operation(self, wide(g), *step)
        return result.to(g.dtype if result.shape == g.shape else in_range(g.dtype))

    return widened


class Penalty(ABC):
    """A convex function h* of a gradient map g, with h its Fenchel conjugate.

    Every operation acts on each sample of a batch [N, ...] by itself, and in float32 at least: maps in half precision
    are widened before, and the maps that come of them narrowed after. Values of float16 maps stay in float32, as sums
    leave the range of float16; those of bfloat16 maps are bfloat16. Training with perturbations that cost
    h(delta) penalises the input gradient by h* to first order (AdvGrad, Proposition 1), so one object serves
    adversarial training, direct penalties and sparse attributions alike.

    To write one, derive a frozen dataclass and give it `value`, `conjugate`, `dual` and `prox`; `FunctionPenalty` finds
    the others by itself. `conjugate_prox` is worth overriding by a closed form where Moreau's identity would subtract
    nearly equal numbers; `ascent` where perturbations are measured in another norm than L2. What follows attention maps
    overrides `given` and `follows_attention`.

    Example:
        >>> class HalfSquare(Penalty):
        ...     def value(self, g):
        ...         return g.square().flatten(1).sum(dim=1) / 2
        ...     conjugate = value
        ...     def dual(self, g):
        ...         return 1 * g
        ...     def prox(self, v, step):
        ...         return v / (1 + step)
        >>> HalfSquare().conjugate_prox(torch.tensor([[2.0, -4.0]]), 1.0)
        tensor([[ 1., -2.]])
    """

    def __init_subclass__(cls, **options: Any) -> None:
        # Here, so that no penalty, a user's own included, can forget it.
        super().__init_subclass__(**options)
        for name in _WIDENED & vars(cls).keys():
            setattr(cls, name, _widened(vars(cls)[name]))

    @abstractmethod
    def value(self, g: Tensor) -> Tensor:
        """Return h*(g) for each sample, shape [N]."""

    @abstractmethod
    def conjugate(self, delta: Tensor) -> Tensor:
        """Return h(delta) = sup over g of <g, delta> - h*(g) for each sample, shape [N]; inf outside its domain."""

    @abstractmethod
    def dual(self, g: Tensor) -> Tensor:
        """Return a subgradient of h* at g, 0 at a kink: the perturbation that maximises <g, delta> - h(delta)."""

    @abstractmethod
    def prox(self, v: Tensor, step: Size) -> Tensor:
        """Return the proximal map argmin over u of h*(u) + |u - v|^2 / (2 step), shaped like v; step > 0."""

    @_widened
    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        """Return argmin over d of h(d) + |d - v|^2 / (2 step): a projection where h is an indicator; step > 0."""
        step = stride(step, v)
        return v - step * self.prox(v / step, 1 / step)

    def ascent(self, g: Tensor) -> Tensor:
        """Return the direction of a step uphill along g: unit L2 norm for each sample, 0 where g is 0."""
        return unit(g)

    @property
    def follows_attention(self) -> bool:
        """Whether it needs the attention maps that accompany the images; most penalties do not."""
        return False

    def given(self, attention: Tensor | None) -> "Penalty":
        """Return the penalty for a batch whose attention maps are known; most penalties ignore them."""
        return self

    def __mul__(self, factor: float) -> "Penalty":
        return ScaledPenalty(self, factor)

    __rmul__ = __mul__


@dataclass(frozen=True)
class ScaledPenalty(Penalty):
    """A penalty times a number: c h*, whose conjugate is c h(delta / c); `2 * L1(0.01)` makes one.

    Args:
        penalty: h*.
        factor: c, at least 0. With 0 nothing is penalised, and no perturbation but 0 is free.

    Raises: ArgumentError if the factor is negative or not finite.
    Source: Rockafellar 1970, theorem 16.1.

    Example:
        >>> from gradsculpt.penalties import L1
        >>> (2 * L1(0.25)).dual(torch.tensor([[3.0, -2.0]]))
        tensor([[ 0.5000, -0.5000]])
    """

    penalty: Penalty
    factor: float

    def __post_init__(self) -> None:
        checks.each_at_least(self, factor=0)

    def value(self, g: Tensor) -> Tensor:
        """Return c h*(g), shape [N]."""
        return self.factor * self.penalty.value(g)

    def conjugate(self, delta: Tensor) -> Tensor:
        """Return c h(delta / c), shape [N]; inf where its domain ends, which for c = 0 is at 0."""
        if self.factor == 0:
            # A number that is not one stays so: it is no perturbation of 0.
            moved = (delta != 0).flatten(1).any(dim=1)
            return torch.where(moved, torch.inf, per_sample(torch.zeros_like(delta))).to(in_range(delta.dtype))
        return self.factor * self.penalty.conjugate(delta / self.factor)

    def dual(self, g: Tensor) -> Tensor:
        """Return c times the dual of the penalty."""
        return self.factor * self.penalty.dual(g)

    def prox(self, v: Tensor, step: Size) -> Tensor:
        """Return the proximal map of the penalty with a step c times as long."""
        step = stride(step, v)
        return self.penalty.prox(v, self.factor * step) if self.factor else v.clone()

    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        """Return c times the proximal map of h at v / c with step / c."""
        step, c = stride(step, v), self.factor
        return c * self.penalty.conjugate_prox(v / c, step / c) if c else 0.0 * v

    def ascent(self, g: Tensor) -> Tensor:
        """Return the direction that the penalty itself has."""
        return self.penalty.ascent(g)

    @property
    def follows_attention(self) -> bool:
        """Whether the penalty does."""
        return self.penalty.follows_attention

    def given(self, attention: Tensor | None) -> Penalty:
        """Return the scaled penalty with the attention maps of a batch."""
        return ScaledPenalty(self.penalty.given(attention), self.factor)


def matching(size: Size, like: Tensor) -> Size:
    """Return a size on the device and in the precision of a map, so that results keep the map's; it has to fit it."""
    if not isinstance(size, Tensor):
        return size
    sizes = zip(reversed(size.shape), reversed(like.shape), strict=False)
    if size.ndim > like.ndim or any(a not in (1, b) for a, b in sizes):
        raise ArgumentError(
            f"a size of shape {list(size.shape)} does not broadcast to maps of shape {list(like.shape)}; pass a "
            "number, or one a channel as [1, C, 1, 1]."
        )
    return placed(size, like)


def stride(step: Size, like: Tensor) -> Size:
    """Return the step of a proximal map, which has to be positive, as it matches the map.

    Of a tensor on an accelerator, for which it would have to wait, entries that are not positive become NaN instead.
    """
    if isinstance(step, Tensor) and at_hand(step) is None:
        step = torch.where(step > 0, step, torch.nan)
    else:
        checks.positive("step", step)
    return matching(step, like)


def beyond(magnitude: Tensor, limit: Size, dtype: torch.dtype) -> Tensor:
    """Return how far a magnitude passes its limit; an excess within rounding error of the limit counts as none.

    `dtype` is the type that the perturbation was rounded to.
    """
    excess = magnitude - limit
    rounding = 64 * torch.finfo(dtype).eps * limit
    return torch.where(excess <= rounding, 0.0, excess)
