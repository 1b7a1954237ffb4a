"""Penalties that act on every entry by itself: L1, squared L2, and their sum, the elastic net."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.numerics import in_range, per_sample, unit, wide
from gradsculpt.penalties.base import Penalty, Size, beyond, matching, stride


class _Entrywise(Penalty):
    """The function l1 |g|_1 + l2 |g|_2^2, of which each subclass says what l1 and l2 are."""

    @abstractmethod
    def _sizes(self) -> tuple[Size, Size]:
        """Return l1 and l2."""

    def value(self, g: Tensor) -> Tensor:
        """Return l1 |g|_1 + l2 |g|_2^2, shape [N]."""
        l1, l2 = self._weights(g)
        return per_sample(l1 * g.abs() + l2 * g.square())

    def conjugate(self, delta: Tensor) -> Tensor:
        """Return the sum of (|delta| - l1)_+^2 / (4 l2), shape [N]: 0 inside the box, inf outside it if l2 = 0."""
        l1, l2 = self._weights(wide(delta))
        excess = beyond(wide(delta).abs(), l1, delta.dtype)
        # Divided before it is squared: the square of a tiny excess would be 0, and its cost 0 / 0 if l2 = 0.
        cost = per_sample(torch.where(excess == 0, 0.0, excess * (excess / (4 * l2))))
        return cost.to(in_range(delta.dtype))

    def dual(self, g: Tensor) -> Tensor:
        """Return l1 sign(g) + 2 l2 g."""
        l1, l2 = self._weights(g)
        return l1 * g.sign() + 2 * l2 * g

    def prox(self, v: Tensor, step: Size) -> Tensor:
        """Return v after soft thresholding by step l1 and shrinking by 1 + 2 step l2."""
        step, (l1, l2) = stride(step, v), self._weights(v)
        shrunk: Tensor = v.sign() * (v.abs() - step * l1).clamp(min=0) / (1 + 2 * step * l2)
        return shrunk

    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        """Return v inside the box |v| <= l1, and beyond it the point drawn back towards the box."""
        step, (l1, l2) = stride(step, v), self._weights(v)
        excess = (v.abs() - l1).clamp(min=0)
        # Written with the share of the excess that is kept, so that l2 = 0 is exactly the projection.
        kept = 2 * l2 / (step + 2 * l2)
        return v.sign() * (v.abs().clamp(max=l1) + kept * excess)

    def ascent(self, g: Tensor) -> Tensor:
        """Return g scaled to unit L2 norm for each sample; with l2 = 0, where perturbations fill a box, its sign."""
        l2 = self._sizes()[1]
        if not isinstance(l2, Tensor):
            return unit(g) if l2 else g.sign()
        return torch.where((l2 != 0).any().to(g.device), unit(g), g.sign())

    def _weights(self, like: Tensor) -> tuple[Size, Size]:
        l1, l2 = self._sizes()
        return matching(l1, like), matching(l2, like)


@dataclass(frozen=True)
class ElasticNet(_Entrywise):
    """The elastic net l1 |g|_1 + l2 |g|_2^2: sparse maps whose pattern is stable.

    Its conjugate is the piecewise quadratic of AdvGrad, Proposition 3, and `dual` is the one-step perturbation
    l1 sign(g) + 2 l2 g of appendix B.3. With l2 = 0 it is `L1`, with l1 = 0 `SquaredL2`.

    Args:
        l1: Weight of the absolute values. Units: model input, as it is the size of the sign step.
        l2: Weight of the squares. Units: model input squared per unit of loss.

    Raises: ArgumentError if a weight is negative or not finite.
    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.3, Proposition 3, B.3.

    Example:
        >>> ElasticNet(l1=0.5, l2=1.0).dual(torch.tensor([[2.0, -1.0, 0.0]]))
        tensor([[ 4.5000, -2.5000,  0.0000]])
    """

    l1: Size
    l2: Size

    def __post_init__(self) -> None:
        checks.each_at_least(self, l1=0, l2=0)

    def _sizes(self) -> tuple[Size, Size]:
        return self.l1, self.l2


@dataclass(frozen=True, repr=False)
class L1(_Entrywise):
    """The L1 norm weight |g|_1: sparse maps. Its one-step perturbation is that of FGSM, weight sign(g).

    Args:
        weight: Weight of the norm, and radius of the l-infinity ball of perturbations. Units: model input.

    Raises: ArgumentError if a weight is negative or not finite.
    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.1 and B.3.

    Example:
        >>> L1(0.01).dual(torch.tensor([[3.0, -2.0, 0.0]]))
        tensor([[ 0.0100, -0.0100,  0.0000]])
    """

    weight: Size

    def __post_init__(self) -> None:
        checks.each_at_least(self, weight=0)

    def _sizes(self) -> tuple[Size, Size]:
        return self.weight, 0.0

    def __repr__(self) -> str:
        return f"L1({self.weight!r})"


@dataclass(frozen=True, repr=False)
class SquaredL2(_Entrywise):
    """The squared L2 norm weight |g|_2^2: small, smooth maps; the control of the harmonization experiment.

    Args:
        weight: Weight of the squares; a tensor gives every entry its own (AdvGrad, Proposition 4).
            Units: model input squared per unit of loss.

    Raises: ArgumentError if a weight is negative or not finite.
    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.3, Proposition 4, C.3.1.
    """

    weight: Size

    def __post_init__(self) -> None:
        checks.each_at_least(self, weight=0)

    def _sizes(self) -> tuple[Size, Size]:
        return 0.0, self.weight

    def __repr__(self) -> str:
        return f"SquaredL2({self.weight!r})"
