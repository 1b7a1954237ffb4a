"""The penalties and the maps that the laws run over."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor

from gradsculpt.penalties import (
    L1,
    PENALTIES,
    ElasticNet,
    FunctionPenalty,
    GroupL21,
    Harmonization,
    Penalty,
    ScaledPenalty,
    SquaredL2,
)

SHAPE = (2, 5, 7)
"""Channels, height and width of the maps; a prime height and width, so that no patch divides them."""

_BANK = torch.rand(8, 1, *SHAPE[1:], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
"""Attention maps, one for each index of a sample."""

_WEIGHTS = torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(6), dtype=torch.float64) + 0.1
_CHANNELS = torch.tensor([0.2, 1.5], dtype=torch.float64).view(1, 2, 1, 1)


def pseudo_huber(g: Tensor) -> Tensor:
    return ((1 + g.square()).sqrt() - 1).flatten(1).sum(dim=1)


def log_cosh(g: Tensor) -> Tensor:
    return (g.abs() + F.softplus(-2 * g.abs()) - torch.tensor(2.0).double().log().to(g)).flatten(1).sum(dim=1)


def quartic(g: Tensor) -> Tensor:
    return (0.1 * g.pow(4) + 0.5 * g.square()).flatten(1).sum(dim=1)


def coupled(g: Tensor) -> Tensor:
    """Log-sum-exp plus a quadratic: every entry matters to every other, and the minimum is not at 0."""
    return g.flatten(1).logsumexp(dim=1) + 0.5 * g.square().flatten(1).sum(dim=1)


@dataclass(frozen=True)
class Case:
    """A penalty under test.

    Args:
        name: The test id.
        make: Builds the penalty for a batch of samples, given their indices [N]: most penalties do not look at them.
        zero: Whether h* is smallest at 0, where it is 0.
        plane: The same penalty for maps [N, 1, 1, 2], where brute force can follow; None takes `make`.
    """

    name: str
    make: Callable[[Tensor], Penalty]
    zero: bool = True
    plane: Penalty | None = None

    def batch(self, n: int) -> Penalty:
        return self.make(torch.arange(n))

    def flat(self) -> Penalty:
        return self.plane or self.batch(1)

    def within_reach(self, g: Tensor) -> Tensor:
        """Return a map that the case can be tried on: a function that is all but linear has no conjugate in floats."""
        return 2 * (g / 2).tanh() if self.numerical else g

    @property
    def numerical(self) -> bool:
        """Whether conjugate and prox are found by a solver."""
        return isinstance(self.batch(1), FunctionPenalty)


def _fixed(penalty: Penalty, *, zero: bool = True, plane: Penalty | None = None, name: str | None = None) -> Case:
    return Case(name or repr(penalty), lambda _: penalty, zero, plane)


_FLAT_WEIGHTS = torch.tensor([0.3, 1.2], dtype=torch.float64).view(1, 1, 1, 2)
_FLAT_ATTENTION = torch.tensor([[[[0.2, 1.0]]]], dtype=torch.float64)

CASES: tuple[Case, ...] = (
    _fixed(L1(0.3)),
    _fixed(L1(0.0)),
    _fixed(L1(_CHANNELS), name="L1(per channel)", plane=L1(_FLAT_WEIGHTS)),
    _fixed(SquaredL2(0.7)),
    _fixed(SquaredL2(0.0)),
    _fixed(SquaredL2(_WEIGHTS), name="SquaredL2(per entry)", plane=SquaredL2(_FLAT_WEIGHTS)),
    _fixed(ElasticNet(0.3, 0.7)),
    _fixed(ElasticNet(0.3, 0.0)),
    _fixed(ElasticNet(0.0, 0.7)),
    _fixed(
        ElasticNet(_CHANNELS, _WEIGHTS),
        name="ElasticNet(tensors)",
        plane=ElasticNet(_FLAT_WEIGHTS, _FLAT_WEIGHTS.flip(3)),
    ),
    _fixed(GroupL21(0.4, patch=2)),
    _fixed(GroupL21(0.4, patch=3, per_channel=False)),
    _fixed(GroupL21(0.4)),
    _fixed(GroupL21(0.4, patch=1)),
    _fixed(GroupL21(0.4, patch=None)),
    _fixed(GroupL21(0.4, patch=None, per_channel=False)),
    _fixed(GroupL21(0.0, patch=2)),
    Case(
        "Harmonization(positive)",
        lambda i: Harmonization(0.6, positive=True, sigma=0.05).given(_BANK[i]),
        plane=Harmonization(0.6, positive=True, sigma=0.05).given(_FLAT_ATTENTION),
    ),
    Case(
        "Harmonization(sigma=0)",
        lambda i: Harmonization(0.6, positive=True, sigma=0.0).given(_BANK[i]),
        plane=Harmonization(0.6, positive=True, sigma=0.0).given(_FLAT_ATTENTION),
    ),
    _fixed(ScaledPenalty(ElasticNet(0.3, 0.7), 0.4)),
    _fixed(ScaledPenalty(SquaredL2(0.7), 2.5)),
    _fixed(ScaledPenalty(L1(0.3), 0.0)),
    _fixed(FunctionPenalty(pseudo_huber), name="FunctionPenalty(pseudo-Huber)"),
    _fixed(FunctionPenalty(log_cosh), name="FunctionPenalty(log-cosh)"),
    _fixed(FunctionPenalty(quartic), name="FunctionPenalty(quartic)"),
    _fixed(FunctionPenalty(coupled), name="FunctionPenalty(coupled)", zero=False),
)

LAWFUL: frozenset[type[Penalty]] = frozenset(type(case.batch(1)) for case in CASES)
"""The classes that the laws run over; `tests/test_completeness.py` compares them with `PENALTIES`."""

CLOSED = tuple(case for case in CASES if not case.numerical)
NUMERICAL = tuple(case for case in CASES if case.numerical)


def missing() -> set[str]:
    """Return the names of the public penalties that no law runs over."""
    return {penalty.__name__ for penalty in set(PENALTIES) - LAWFUL}


def map_of(seed: int, n: int, scale: float, zeros: float, rounded: bool) -> Tensor:
    """Return a random map [n, *SHAPE] in float64.

    Args:
        seed: Of the generator.
        n: Batch size.
        scale: Typical size of an entry.
        zeros: Share of entries, and of whole patches, that are 0.
        rounded: Whether entries are multiples of 0.1, so that many lie on kinks and edges of domains.
    """
    generator = torch.Generator().manual_seed(seed)
    g = scale * torch.randn(n, *SHAPE, generator=generator, dtype=torch.float64)
    if rounded:
        g = (g * 10).round() / 10
    kept = torch.rand(g.shape, generator=generator) >= zeros
    blocks = torch.rand(n, SHAPE[0], 3, 4, generator=generator) >= zeros
    return g * kept * blocks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., : SHAPE[1], : SHAPE[2]]


SEEDS = st.integers(0, 2**31)
SIZES = st.sampled_from([0.01, 0.3, 1.0, 10.0])
STEPS = st.sampled_from([0.1, 0.5, 1.0, 3.0])
ZEROS = st.sampled_from([0.0, 0.3, 1.0])


@st.composite
def maps(draw: st.DrawFn, n: int = 2, zeros: st.SearchStrategy[float] = ZEROS) -> Tensor:
    return map_of(draw(SEEDS), n, draw(SIZES), draw(zeros), draw(st.booleans()))


@st.composite
def pairs(draw: st.DrawFn) -> Tensor:
    """One map of two entries, [1, 1, 1, 2], with zeros and entries on kinks among them."""
    entries = st.sampled_from([-2.0, -0.7, -0.3, 0.0, 0.3, 0.4, 1.2]) | st.integers(-40, 40).map(lambda i: i / 19)
    return torch.tensor([[[[draw(entries), draw(entries)]]]], dtype=torch.float64)
