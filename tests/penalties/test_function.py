"""A penalty from any convex function: accuracy of its solver, and what it says when it has none."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError, ConvergenceError
from gradsculpt.penalties import ElasticNet, FunctionPenalty, SquaredL2, convex
from tests.penalties.cases import coupled, map_of, pseudo_huber, quartic


def squared(g: Tensor) -> Tensor:
    return 0.7 * g.square().flatten(1).sum(dim=1)


def test_a_quadratic_agrees_with_its_closed_form() -> None:
    numerical, closed = FunctionPenalty(squared), SquaredL2(0.7)
    g = map_of(1, 3, 1.0, 0.3, False)
    for scale in (1e-3, 1.0, 1e3):
        for operation in ("value", "conjugate", "dual"):
            expected = getattr(closed, operation)(scale * g)
            torch.testing.assert_close(getattr(numerical, operation)(scale * g), expected, rtol=1e-9, atol=1e-9)
        for operation in ("prox", "conjugate_prox"):
            expected = getattr(closed, operation)(scale * g, 0.5)
            torch.testing.assert_close(getattr(numerical, operation)(scale * g, 0.5), expected, rtol=1e-9, atol=1e-9)


def test_an_ill_conditioned_quadratic() -> None:
    weights = torch.logspace(-1, 2, 70, dtype=torch.float64).view(1, 2, 5, 7)
    numerical = FunctionPenalty(lambda g: (weights * g.square()).flatten(1).sum(dim=1))
    g = map_of(1, 2, 1.0, 0.0, False)
    torch.testing.assert_close(numerical.conjugate(g), SquaredL2(weights).conjugate(g), rtol=1e-9, atol=0)
    torch.testing.assert_close(numerical.prox(g, 2.0), SquaredL2(weights).prox(g, 2.0), rtol=0, atol=1e-9)


def test_pseudo_huber_conjugate_by_hand() -> None:
    # sup of <g, d> - sqrt(1 + g^2) + 1 lies at g = d / sqrt(1 - d^2), where it is 1 - sqrt(1 - d^2).
    delta = torch.tensor([[0.6, 0.0], [-0.8, 0.6], [1.5, 0.0], [0.0, 0.0]], dtype=torch.float64)
    found = FunctionPenalty(pseudo_huber).conjugate(delta)
    assert found.tolist() == pytest.approx([0.2, 0.6, math.inf, 0.0], abs=1e-9)


def test_prox_of_the_quartic_solves_its_cubic() -> None:
    v = torch.tensor([[2.0, -0.5, 0.0]], dtype=torch.float64)
    u = FunctionPenalty(quartic).prox(v, 0.5)
    torch.testing.assert_close(0.4 * u**3 + u + (u - v) / 0.5, torch.zeros_like(u), rtol=0, atol=1e-9)


def test_a_shifted_function_prefers_another_point_than_zero() -> None:
    penalty = FunctionPenalty(coupled)
    g = torch.zeros(1, 4, dtype=torch.float64)
    torch.testing.assert_close(penalty.dual(g), torch.full_like(g, 0.25))
    # The smallest value of h* is -h(0); by symmetry at g = -1/4: log 4 - 1/4 + 4/32 = log 4 - 1/8.
    assert penalty.conjugate(g).item() == pytest.approx(-(math.log(4) - 0.125), abs=1e-9)


def test_value_keeps_its_graph() -> None:
    g = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    FunctionPenalty(squared).value(g).sum().backward()
    torch.testing.assert_close(g.grad, 1.4 * g.detach())


def test_operations_work_inside_no_grad_and_inference_mode() -> None:
    penalty, g = FunctionPenalty(quartic), torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    expected = [penalty.dual(g), penalty.conjugate(g), penalty.prox(g, 0.5)]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            inside = g.clone()
            found = [penalty.dual(inside), penalty.conjugate(inside), penalty.prox(inside, 0.5)]
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_one_step_parts_work_at_kinks() -> None:
    penalty = FunctionPenalty(lambda g: 0.3 * g.abs().flatten(1).sum(dim=1) + 0.7 * g.square().flatten(1).sum(dim=1))
    g = map_of(1, 2, 1.0, 0.3, False)
    torch.testing.assert_close(penalty.dual(g), ElasticNet(0.3, 0.7).dual(g))
    torch.testing.assert_close(penalty.value(g), ElasticNet(0.3, 0.7).value(g))


@pytest.mark.parametrize("operation", ["conjugate", "prox", "conjugate_prox"])
def test_solvers_refuse_to_vouch_at_kinks(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convex, "_ITERATIONS", 50)
    penalty = FunctionPenalty(lambda g: (g - 0.3).abs().sum(dim=1) + 0.1 * g.square().sum(dim=1))
    v = torch.tensor([[0.31, 0.2]], dtype=torch.float64)
    call = getattr(penalty, operation)
    with pytest.raises(ConvergenceError, match=r"did not converge.*kinks.*closed form.*dual and value work"):
        call(v) if operation == "conjugate" else call(v, 0.5)


@pytest.mark.parametrize(
    "fn", [torch.sum, lambda g: g, lambda g: g.flatten(1).sum(dim=1, keepdim=True)], ids=["scalar", "map", "column"]
)
def test_functions_of_another_shape_are_refused(fn: Callable[[Tensor], Tensor]) -> None:
    penalty, g = FunctionPenalty(fn), torch.ones(3, 1, 2, 2)
    for operation in (penalty.value, penalty.dual, penalty.conjugate, lambda t: penalty.prox(t, 1.0)):
        with pytest.raises(ArgumentError, match=r"fn returned shape \[.*\] for 3 samples.*one value a sample"):
            operation(g)


def test_a_derivative_that_is_not_finite_is_refused() -> None:
    penalty = FunctionPenalty(lambda g: g.square().sum(dim=1).sqrt())
    with pytest.raises(ArgumentError, match=r"no finite derivative.*vector_norm is safe"):
        penalty.dual(torch.zeros(1, 2))
    safe = FunctionPenalty(lambda g: torch.linalg.vector_norm(g, dim=1))
    assert not safe.dual(torch.zeros(1, 2)).any()


def test_steps_out_of_range_are_refused() -> None:
    for operation in (FunctionPenalty(squared).prox, FunctionPenalty(squared).conjugate_prox):
        with pytest.raises(ArgumentError, match=r"step=0"):
            operation(torch.ones(1, 2), 0.0)
