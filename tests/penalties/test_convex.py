"""The solver behind `FunctionPenalty`, on functions whose minimum is known."""

import torch
from torch import Tensor

from gradsculpt.penalties.convex import Evaluate, minimise


def quadratics(curvatures: Tensor, centres: Tensor) -> Evaluate:
    def evaluate(u: Tensor) -> tuple[Tensor, Tensor]:
        return (curvatures * (u - centres).square()).sum(dim=1) / 2, curvatures * (u - centres)

    return evaluate


def test_minima_of_a_batch_of_unlike_functions() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 30, dtype=torch.float64, generator=generator)
    curvatures = torch.logspace(0, 3, 30, dtype=torch.float64) * torch.tensor([[1e-6], [1.0], [1e6], [1.0]])
    tolerance = 1e-11 * curvatures.amax(dim=1)
    found = minimise(quadratics(curvatures, centres), torch.zeros_like(centres), tolerance)
    assert (found.residual <= tolerance).all()
    torch.testing.assert_close(found.point, centres, rtol=0, atol=1e-6)


def test_a_start_at_the_minimum_stays_there() -> None:
    start = torch.ones(2, 3, dtype=torch.float64)
    found = minimise(quadratics(torch.ones(2, 3), start), start, torch.full((2,), 1e-12))
    assert torch.equal(found.point, start)
    assert found.residual.tolist() == found.value.tolist() == [0.0, 0.0]


def test_unbounded_functions_are_told_from_their_batch_mates() -> None:
    def evaluate(u: Tensor) -> tuple[Tensor, Tensor]:
        slopes = torch.tensor([[1.0, -2.0], [0.0, 0.0]], dtype=torch.float64)
        bowl = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        return (slopes * u + bowl * (u - 3).square()).sum(dim=1), slopes + 2 * bowl * (u - 3)

    found = minimise(evaluate, torch.zeros(2, 2, dtype=torch.float64), torch.full((2,), 1e-11).double())
    assert found.value.tolist() == [-torch.inf, 0.0]
    assert found.residual[0] == 0
    torch.testing.assert_close(found.point[1], torch.full((2,), 3.0).double())


def test_a_sample_that_is_not_a_number_neither_stalls_nor_spoils_the_others() -> None:
    centres = torch.ones(2, 3, dtype=torch.float64)
    centres[0, 0] = torch.nan
    calls = 0
    inner = quadratics(torch.tensor([1.0, 10.0, 100.0]), centres)

    def evaluate(u: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        return inner(u)

    found = minimise(evaluate, torch.zeros(2, 3, dtype=torch.float64), torch.full((2,), 1e-11).double())
    assert found.residual[0].isnan()
    torch.testing.assert_close(found.point[1], torch.ones(3).double())
    assert calls < 200
