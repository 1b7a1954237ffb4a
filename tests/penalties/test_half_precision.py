"""Maps in half precision get the results of float32, rounded; nothing leaves the range of a type on the way."""

import pytest
import torch
from torch import Tensor

from gradsculpt.penalties import L1, ElasticNet, FunctionPenalty, GroupL21, Harmonization, Penalty, SquaredL2
from tests.penalties.cases import CASES, Case, map_of

HALF = (torch.float16, torch.bfloat16)
WHOLE = GroupL21(0.5, patch=None, per_channel=False)
LARGE: tuple[Penalty, ...] = (
    L1(0.3),
    SquaredL2(0.7),
    ElasticNet(0.3, 0.7),
    GroupL21(0.4),
    WHOLE,
    Harmonization(0.6, positive=True).given(torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(1))),
    2 * L1(0.3),
    FunctionPenalty(lambda g: g.square().flatten(1).sum(dim=1)),
)

halves = pytest.mark.parametrize("dtype", HALF, ids=str)


def close(found: Tensor, exact: Tensor) -> None:
    """Assert that a result is the exact one, rounded to its own type."""
    assert bool(found.isfinite().all())
    rounding = 4 * float(torch.finfo(found.dtype).eps)
    torch.testing.assert_close(found.double(), exact.double(), rtol=max(rounding, 1e-5), atol=float(rounding * 0.1))


def results_are_those_of_single_precision(penalty: Penalty, g: Tensor, step: float, solved: bool = True) -> None:
    """Values of float16 maps are float32, all else has the type of the map; the perturbation `dual` stays free."""
    single = g.float()
    of_sums = torch.float32 if g.dtype == torch.float16 else g.dtype
    for operation in (penalty.dual, penalty.ascent):
        assert operation(g).dtype == g.dtype
        close(operation(g), operation(single))
    assert penalty.value(g).dtype == of_sums
    close(penalty.value(g), penalty.value(single))
    if solved:
        for proximal in (penalty.prox, penalty.conjugate_prox):
            assert proximal(g, step).dtype == g.dtype
            close(proximal(g, step), proximal(single, step))
        delta = penalty.dual(g)  # rounded, so it may lie beyond the edge of the domain by as much
        assert penalty.conjugate(delta).dtype == of_sums
        assert bool(penalty.conjugate(delta).isfinite().all())


@halves
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_penalty(case: Case, dtype: torch.dtype) -> None:
    g = case.within_reach(map_of(3, 2, 1.0, 0.3, False)).to(dtype)
    results_are_those_of_single_precision(case.batch(2), g, step=0.5)


@halves
@pytest.mark.parametrize("size", [1e-4, 30.0])
@pytest.mark.parametrize("penalty", LARGE, ids=lambda penalty: type(penalty).__name__)
def test_every_penalty_of_as_many_entries_as_images_have(penalty: Penalty, size: float, dtype: torch.dtype) -> None:
    g = (size * torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))).to(dtype)
    results_are_those_of_single_precision(penalty, g, 0.01, solved=not isinstance(penalty, FunctionPenalty))
    assert bool((penalty.value(g) > 0).all())


def test_sums_leave_the_range_of_float16() -> None:
    g = torch.full((1, 3, 224, 224), 10.0).half()
    assert L1(1.0).value(g).item() == 1_505_280
    assert SquaredL2(1.0).value(g).item() == 15_052_800
    assert WHOLE.norms(g.float()).item() == pytest.approx(10 * 150_528**0.5)


def test_a_penalty_of_ones_own_need_not_think_of_it() -> None:
    class Squares(Penalty):
        def value(self, g: Tensor) -> Tensor:
            return g.square().flatten(1).sum(dim=1)

        def conjugate(self, delta: Tensor) -> Tensor:
            return delta.square().flatten(1).sum(dim=1) / 4

        def dual(self, g: Tensor) -> Tensor:
            return 2 * g

        def prox(self, v: Tensor, step: float | Tensor) -> Tensor:
            return v / (1 + 2 * step)

    g = torch.full((1, 3, 224, 224), 300.0).half()
    assert Squares().value(g).item() == pytest.approx(300**2 * 150_528)
    close(Squares().conjugate_prox(g, 1e-6), Squares().conjugate_prox(g.float(), 1e-6))
