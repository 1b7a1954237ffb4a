"""Every solver of the inner maximum, on losses whose maximum is known."""

import pytest
import torch
from torch import Tensor

from gradsculpt.penalties import L1, Harmonization, Penalty, SquaredL2
from gradsculpt.perturbations import PERTURBATIONS, OneStep, Perturbation
from tests.penalties.cases import CASES, SHAPE, Case, map_of
from tests.penalties.laws import close, dot
from tests.penalties.oracles import supremum

SOLVERS: tuple[Perturbation, ...] = (OneStep(),)
solvers = pytest.mark.parametrize("solver", SOLVERS, ids=repr)
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class Linear:
    """The loss <slope, x> of each sample, and its gradient; counts its calls."""

    def __init__(self, slope: Tensor) -> None:
        self.slope, self.calls = slope, 0

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return dot(self.slope, x), self.slope.clone()


def gain(loss: Linear, penalty: Penalty, x: Tensor, delta: Tensor) -> Tensor:
    """The objective of the inner problem: loss at x + delta, less the cost of delta."""
    return loss(x + delta)[0] - penalty.conjugate(delta)


def test_every_public_solver_is_tested() -> None:
    assert {type(solver) for solver in SOLVERS} == set(PERTURBATIONS)


@solvers
@every
def test_perturbations_are_worth_their_cost(solver: Perturbation, case: Case) -> None:
    loss, x, penalty = Linear(map_of(1, 2, 0.5, 0.3, False)), map_of(2, 2, 1.0, 0.0, False), case.batch(2)
    delta = solver(loss, x, penalty)
    assert delta.shape == x.shape
    assert delta.dtype == x.dtype
    assert not delta.requires_grad
    assert bool((gain(loss, penalty, x, delta) >= gain(loss, penalty, x, torch.zeros_like(x)) - 1e-9).all())


@every
def test_one_step_attains_the_maximum_of_proposition_1(case: Case) -> None:
    loss, x, penalty = Linear(map_of(1, 2, 0.5, 0.3, False)), map_of(2, 2, 1.0, 0.0, False), case.batch(2)
    delta = OneStep()(loss, x, penalty)
    best = gain(loss, penalty, x, delta)
    close(best, loss(x)[0] + penalty.value(loss.slope), scale=dot(loss.slope.abs(), x.abs()))
    for seed in range(5):  # and nothing near or far does better
        for size in (1e-3, 0.1, 2.0):
            other = delta + size * map_of(seed, 2, 1.0, 0.0, False)
            assert bool((gain(loss, penalty, x, other) <= best + 1e-9).all())


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.numerical and "sigma=0" not in case.name], ids=lambda case: case.name
)
def test_one_step_attains_what_a_search_of_the_plane_finds(case: Case) -> None:
    penalty = case.flat()
    loss, x = Linear(torch.tensor([[[[0.8, -0.3]]]]).double()), torch.zeros(1, 1, 1, 2).double()

    def objective(points: Tensor) -> Tensor:
        return points @ loss.slope.flatten() - penalty.conjugate(points.view(-1, 1, 1, 2))

    found = gain(loss, penalty, x, OneStep()(loss, x, penalty)).item()
    assert found == pytest.approx(supremum(objective, 2), abs=1e-7)


def test_one_step_asks_for_one_gradient_at_the_clean_batch() -> None:
    loss, x = Linear(map_of(1, 2, 0.5, 0.3, False)), map_of(2, 2, 1.0, 0.0, False)
    seen = []

    def watched(inputs: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(inputs)
        return loss(inputs)

    delta = OneStep()(watched, x, L1(0.1))
    assert len(seen) == 1
    assert torch.equal(seen[0], x)
    assert torch.equal(delta, 0.1 * loss.slope.sign())


def test_one_step_follows_the_indefinite_harmonization() -> None:
    attention = torch.rand(2, 1, *SHAPE[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss, x = Linear(map_of(1, 2, 0.5, 0.0, False)), map_of(2, 2, 1.0, 0.0, False)
    delta = OneStep()(loss, x, Harmonization(0.5).given(attention))
    for n in range(2):
        weights = attention[n].max() / 2 - attention[n]
        torch.testing.assert_close(delta[n], 2 * 0.5 * weights * loss.slope[n] / loss.slope[n].norm())


@solvers
def test_a_flat_loss_gets_no_perturbation(solver: Perturbation) -> None:
    x = map_of(2, 2, 1.0, 0.0, False)
    for case in CASES:
        if case.zero:
            assert not solver(Linear(torch.zeros_like(x)), x, case.batch(2)).any()


@solvers
def test_batch_mates_do_not_matter(solver: Perturbation) -> None:
    slope, x = map_of(1, 3, 0.5, 0.3, False), map_of(2, 3, 1.0, 0.0, False)
    whole = solver(Linear(slope), x, SquaredL2(0.3))
    for i in range(3):
        torch.testing.assert_close(solver(Linear(slope[i : i + 1]), x[i : i + 1], SquaredL2(0.3)), whole[i : i + 1])


@solvers
def test_the_clean_batch_is_never_changed(solver: Perturbation) -> None:
    slope, x = map_of(1, 2, 0.5, 0.3, False), map_of(2, 2, 1.0, 0.0, False)
    before = x.clone()
    solver(Linear(slope), x, L1(0.1)).fill_(7)
    assert torch.equal(x, before)
