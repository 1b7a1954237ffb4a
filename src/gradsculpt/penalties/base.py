"""The penalty: a convex function of a gradient map, and what follows from it by convex duality."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gradsculpt import checks

Size = float | Tensor
"""A non-negative number, or a tensor of them that broadcasts over [N, C, H, W]."""


class Penalty(ABC):
    """A convex function h* of a gradient map g, with h its Fenchel conjugate.

    Every operation acts on each sample of a batch [N, ...] by itself. Training with perturbations that cost
    h(delta) penalises the input gradient by h* to first order (AdvGrad, Proposition 1), so one object serves
    adversarial training, direct penalties and sparse attributions alike.

    A subclass gives `value`, `conjugate`, `dual` and `prox`; `conjugate_prox` follows by Moreau's identity, and is
    worth overriding by a closed form where the identity would subtract nearly equal numbers.
    """

    @abstractmethod
    def value(self, g: Tensor) -> Tensor:
        """Return h*(g) for each sample, shape [N]."""

    @abstractmethod
    def conjugate(self, delta: Tensor) -> Tensor:
        """Return h(delta) = sup over g of <g, delta> - h*(g) for each sample, shape [N]; inf outside its domain."""

    @abstractmethod
    def dual(self, g: Tensor) -> Tensor:
        """Return a subgradient of h* at g: the perturbation that maximises <g, delta> - h(delta).

        Where h* has a kink at 0, the subgradient there is 0. Shape and dtype are those of g.
        """

    @abstractmethod
    def prox(self, v: Tensor, step: Size) -> Tensor:
        """Return the proximal map argmin over u of h*(u) + |u - v|^2 / (2 step), shaped like v; step > 0."""

    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        """Return argmin over d of h(d) + |d - v|^2 / (2 step): a projection where h is an indicator; step > 0."""
        checks.positive("step", step)
        step = matching(step, v)
        return v - step * self.prox(v / step, 1 / step)

    def given(self, attention: Tensor | None) -> "Penalty":
        """Return the penalty for a batch whose attention maps are known; most penalties ignore them."""
        return self


def per_sample(t: Tensor) -> Tensor:
    """Sum over everything but the batch dimension: [N, ...] to [N]."""
    return t.flatten(1).sum(dim=1) if t.ndim > 1 else t.clone()


def matching(size: Size, like: Tensor) -> Size:
    """Return a size on the device and in the precision of a map, so that results keep the map's."""
    return size.to(like) if isinstance(size, Tensor) else size


def beyond(magnitude: Tensor, limit: Size) -> Tensor:
    """Return how far a magnitude passes its limit; an excess within rounding error of the limit counts as none."""
    excess = magnitude - limit
    rounding = 64 * torch.finfo(magnitude.dtype).eps * limit
    return torch.where(excess <= rounding, 0.0, excess)
