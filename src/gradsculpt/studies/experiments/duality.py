"""The duality of adversarial training, in numbers: suprema by search beside what penalties say in closed form."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.gradients import input_gradient
from gradsculpt.isolation import seeded
from gradsculpt.metrics import Score
from gradsculpt.models import build
from gradsculpt.numerics import dot
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization, Penalty
from gradsculpt.studies.experiments.base import Experiment, Given, Takes

_HALVINGS, _ROTATIONS = 200, 80
_TOLERANCE = 1e-9
_GOLDEN = (math.sqrt(5) - 1) / 2
_NETWORK = "convnet"


class Printed(ABC):
    """A penalty h* and its conjugate h as the paper prints them, and suprema found by search alone; in float64."""

    propositions: ClassVar[str]
    """Where it is printed."""

    @abstractmethod
    def penalty(self) -> Penalty:
        """Return the penalty under test."""

    @abstractmethod
    def over_perturbations(self, g: Tensor) -> Tensor:
        """Return sup over delta of <g, delta> - h(delta), [N], by search."""

    @abstractmethod
    def over_gradients(self, z: Tensor) -> Tensor:
        """Return sup over x of <x, z> - h*(x), [N], by search; inf where it grows without end."""

    @abstractmethod
    def inside(self, z: Tensor) -> Tensor:
        """Return z, or a perturbation like it whose cost is finite."""


@dataclass(frozen=True)
class Entrywise(Printed):
    """l1 |x|_1 + the sum of l2_i x_i^2, where each entry can be looked at by itself.

    Args:
        l1: Weight of the absolute values.
        l2: Weights of the squares, a number or [N, C, H, W].
        tested: The penalty under test.
        propositions: Where it is printed.
    """

    l1: float
    l2: float | Tensor
    tested: Penalty
    propositions: str  # type: ignore[misc]

    def penalty(self) -> Penalty:
        """Return the penalty under test."""
        return self.tested

    def over_perturbations(self, g: Tensor) -> Tensor:
        """Search each entry between -R and R, where R is beyond any that could be best."""
        l2 = torch.as_tensor(self.l2, dtype=g.dtype).expand_as(g)
        reach = self.l1 + 4 * l2 * g.abs()
        return _highest(lambda delta: g * delta - self._pq(delta, l2), reach).flatten(1).sum(dim=1)

    def over_gradients(self, z: Tensor) -> Tensor:
        """Search each entry; where it has no squares, the end of any range is better than its middle or is not."""
        l2 = torch.as_tensor(self.l2, dtype=z.dtype).expand_as(z)
        bounded = l2 > 0
        reach = torch.where(bounded, 2 * (z.abs() + self.l1) / torch.where(bounded, l2, 1.0), 1.0)
        highest = _highest(lambda x: x * z - self.l1 * x.abs() - l2 * x.square(), reach)
        endless = ~bounded & (z.abs() > self.l1 * (1 + 1e-12))
        return torch.where(endless, torch.inf, highest).flatten(1).sum(dim=1)

    def inside(self, z: Tensor) -> Tensor:
        """Return z, cut to the box where there are no squares to pay with."""
        free = torch.as_tensor(self.l2, dtype=z.dtype).expand_as(z) > 0
        return torch.where(free, z, z.clamp(-self.l1, self.l1))

    def _pq(self, z: Tensor, l2: Tensor) -> Tensor:
        """Return the piecewise quadratic of Proposition 3, of each entry; without squares, the indicator of the box."""
        beyond = torch.where(z > self.l1, z - self.l1, torch.where(z < -self.l1, z + self.l1, 0.0))
        paid = beyond.square() / (4 * torch.where(l2 > 0, l2, 1.0))
        return torch.where(l2 > 0, paid, torch.where(beyond == 0, 0.0, torch.inf))


@dataclass(frozen=True)
class Groupwise(Printed):
    """weight times the sum of the L2 norms of patches, where each patch of each channel can be looked at by itself.

    Args:
        weight: Weight of the norms.
        patch: Side of a patch; it does not have to divide that of the map.
    """

    weight: float
    patch: int
    propositions: ClassVar[str] = "Propositions 1 and 2"

    def penalty(self) -> Penalty:
        """Return the penalty under test."""
        return GroupL21(self.weight, self.patch)

    def over_perturbations(self, g: Tensor) -> Tensor:
        """Climb from a random place on each ball, and go back to the ball after each step, until nothing changes."""
        return self._over_groups(g, self._climbed)

    def over_gradients(self, z: Tensor) -> Tensor:
        """Search the length of x in each group, along the best of directions, found by climbing on the unit ball."""

        def one(group: Tensor) -> Tensor:
            slope = self._climbed(group, radius=1.0) - self.weight
            return torch.where(slope > 1e-12 * self.weight, torch.inf, 0.0)

        return self._over_groups(z, one)

    def inside(self, z: Tensor) -> Tensor:
        """Return z, scaled down so that its longest group lies on the ball."""
        longest = self._each(z, lambda group: group.norm(dim=1)).amax(dim=0)
        factor = (self.weight / torch.where(longest > 0, longest, 1.0)).clamp(max=1.0)
        return z * (factor * (1 - 1e-9))[:, None, None, None]

    def _climbed(self, g: Tensor, radius: float | None = None) -> Tensor:
        """Return the largest <g, delta> over the ball, for rows [N, D], after steps as long as its radius."""
        radius = self.weight if radius is None else radius
        length = g.norm(dim=1, keepdim=True)
        uphill = radius * g / torch.where(length > 0, length, 1.0)
        delta = torch.randn(g.shape, generator=torch.Generator().manual_seed(g.shape[1]), dtype=g.dtype)
        for _ in range(_ROTATIONS):
            delta = delta + uphill
            long = delta.norm(dim=1, keepdim=True)
            delta = torch.where(long > radius, delta * (radius / torch.where(long > 0, long, 1.0)), delta)
        return (g * delta).sum(dim=1)

    def _over_groups(self, t: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
        return self._each(t, value).sum(dim=0)

    def _each(self, t: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a value of every group, [groups, N]."""
        steps = (range(0, side, self.patch) for side in t.shape[2:])
        rows, columns = (list(each) for each in steps)
        groups = [
            t[:, channel, top : top + self.patch, left : left + self.patch].flatten(1)
            for channel in range(t.shape[1])
            for top in rows
            for left in columns
        ]
        return torch.stack([value(group) for group in groups])


def _l1(weights: tuple[float, ...], attention: Tensor, patch: int) -> Printed:
    return Entrywise(weights[0], 0.0, L1(weights[0]), "Proposition 1 and section 4.1")


def _group(weights: tuple[float, ...], attention: Tensor, patch: int) -> Printed:
    return Groupwise(weights[0], patch)


def _elastic_net(weights: tuple[float, ...], attention: Tensor, patch: int) -> Printed:
    return Entrywise(weights[0], weights[1], ElasticNet(*weights), "Propositions 1 and 3")


def _harmonization(weights: tuple[float, ...], attention: Tensor, patch: int) -> Printed:
    tested = Harmonization(weights[0], positive=True, attention=attention)
    peak = attention.amax(dim=(1, 2, 3), keepdim=True)
    reverted = (peak - attention + tested.sigma) * weights[0]
    return Entrywise(0.0, reverted, tested, "Propositions 1 and 4")


PENALTIES: Mapping[str, tuple[int, Callable[[tuple[float, ...], Tensor, int], Printed]]] = {
    "l1": (1, _l1),
    "group": (1, _group),
    "elastic-net": (2, _elastic_net),
    "harmonization": (1, _harmonization),
}
"""The penalties of the paper: how many weights each has, and how it is made of them, attention maps and a patch."""


@dataclass(frozen=True)
class Duality(Experiment):
    """Compares what a penalty says in closed form with suprema that are found by search.

    For gradients g, half of them drawn at random, of scales from 0.001 to 1,000 and with zeros, half those of the cross
    entropy of a network with random weights at images of noise, three relative gaps are kept, a value a gradient:

    - `value_gap`: sup over delta of <g, delta> - h(delta), by search with the printed h, beside h*(g) (Proposition 1);
    - `dual_gap`: the same supremum beside what the one-step perturbation, `dual`, attains (appendix B.3);
    - `conjugate_gap`: sup over x of <x, z> - h*(x), by search, beside h(z) in closed form (Propositions 2 to 4), for
      perturbations z inside and outside of where h is finite; 0 where both are infinite.

    Also the largest of each, and `agreement`, the share of gradients for which no gap is above 1e-9.

    Search is of each entry, by golden sections, or of each group, by projected ascent; in float64, as are all values.

    Args:
        penalty: l1, group, elastic-net, or harmonization (its positive weights, which have a conjugate).
        weights: Its weight; the elastic net's l1 and l2.
        patch: Side of the groups.
        gradients: Number of gradients.
        image_size: Height and width of the maps, of 3 channels.

    Raises: ArgumentError if a number is out of range, or the penalty is not one of these or has other weights.
    Source: Gong et al., CVPR 2024 (AdvGrad), Propositions 1 to 4, A.2 to A.4, B.3.
    """

    penalty: str = "elastic-net"
    weights: tuple[float, ...] = (0.01, 0.05)
    patch: int = 14
    gradients: int = 64
    image_size: int = 32
    takes: ClassVar[Takes] = "nothing"

    def __post_init__(self) -> None:
        checks.each_at_least(self, patch=1, gradients=2, image_size=16)
        if self.penalty not in PENALTIES:
            hint = did_you_mean(self.penalty, list(PENALTIES))
            raise ArgumentError(
                f"penalty={self.penalty!r} has no printed conjugate to compare with; choose from "
                f"{', '.join(PENALTIES)}.{hint}"
            )
        count = PENALTIES[self.penalty][0]
        if len(self.weights) != count:
            raise ArgumentError(f"weights={self.weights} do not fit {self.penalty}; pass {count} of them.")
        for weight in self.weights:
            checks.positive("weights", weight)

    def run(self, given: Given) -> None:
        """Draw gradients and perturbations, search, and compare."""
        drawn = torch.Generator().manual_seed(given.seed)
        g = self._gradients(drawn, given.seed)
        attention = torch.rand(len(g), 1, *g.shape[2:], generator=drawn, dtype=g.dtype)
        attention = torch.nn.functional.avg_pool2d(attention, 5, stride=1, padding=2)
        printed = PENALTIES[self.penalty][1](self.weights, attention, self.patch)
        penalty = printed.penalty()
        best, delta = printed.over_perturbations(g), penalty.dual(g)
        z = 2 * delta * torch.rand(delta.shape, generator=drawn, dtype=g.dtype)
        z = torch.where((torch.arange(len(z)) % 2 == 0)[:, None, None, None], printed.inside(z), z)
        gaps = {
            _GAPS[0]: relative(penalty.value(g), best),
            _GAPS[1]: relative(dot(g, delta) - penalty.conjugate(delta), best),
            _GAPS[2]: relative(penalty.conjugate(z), printed.over_gradients(z)),
        }
        half = len(g) // 2
        names = [f"random {i}" if i < half else f"network {i - half}" for i in range(len(g))]
        columns = {score: dict(zip(names, gap.tolist(), strict=True)) for score, gap in gaps.items()}
        for score, gap in gaps.items():
            columns[score.within(f"largest_{score.name}", "at the worst gradient")] = {"all": float(gap.max())}
        agrees = torch.stack(list(gaps.values())).amax(dim=0) <= _TOLERANCE
        columns[_AGREEMENT] = dict(zip(names, agrees.double().tolist(), strict=True))
        given.keep(columns, propositions=printed.propositions, penalty=repr(penalty)[:200])

    def _gradients(self, drawn: torch.Generator, seed: int) -> Tensor:
        """Return gradients [N, 3, H, W] in float64: random ones, and then those of a network."""
        half, side = self.gradients // 2, self.image_size
        shape = (half, 3, side, side)
        scales = torch.logspace(-3, 3, half, dtype=torch.float64)[:, None, None, None]
        random = scales * torch.randn(shape, generator=drawn, dtype=torch.float64)
        random = random * (torch.rand(shape, generator=drawn) > 0.2)
        count = self.gradients - half
        with seeded(seed):
            network = build(_NETWORK, num_classes=10, image_size=side, softplus=3.0).double().eval()
        x = torch.randn(count, *shape[1:], generator=drawn, dtype=torch.float64)
        y = torch.arange(count) % 10
        real = input_gradient(lambda u: torch.nn.functional.cross_entropy(network(u), y, reduction="none"), x)[1]
        return torch.cat([random, real])


def relative(value: Tensor, other: Tensor) -> Tensor:
    """Return how far apart values are, [N], in units of the larger magnitude; 1 where only one of them is infinite."""
    size = torch.maximum(value.abs(), other.abs())
    apart = (value - other).abs() / torch.where(size > 0, size, 1.0)
    return torch.where(value == other, 0.0, apart).nan_to_num(nan=1.0)


def _highest(function: Callable[[Tensor], Tensor], reach: Tensor) -> Tensor:
    """Return the largest value of a concave function of each entry between -reach and reach, by golden sections."""
    low, high = -reach, reach
    for _ in range(_HALVINGS):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        left = function(a) >= function(b)
        low, high = torch.where(left, low, a), torch.where(left, b, high)
    # At 0 nothing is paid, and what costs as much as it gains has its supremum there.
    return torch.maximum(function((low + high) / 2), function(torch.zeros_like(reach)))


_GAPS = (
    Score("value_gap", 0.0, math.inf, "lower", meaning="How far the best found is from the penalty in closed form."),
    Score("dual_gap", 0.0, math.inf, "lower", meaning="How far the one-step perturbation is from the best found."),
    Score("conjugate_gap", 0.0, math.inf, "lower", meaning="How far the conjugate found is from that in closed form."),
)
_AGREEMENT = Score(
    "agreement", 0.0, 1.0, "higher", "fraction", "Share of the gradients at which search and closed form agree."
)
