"""Every solver of the inner maximum, on losses whose maximum is known."""

import copy
import pickle

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization, SquaredL2
from gradsculpt.perturbations import PERTURBATIONS, Free, Iterative, Momentum, Noise, OneStep, Perturbation
from tests.penalties.cases import CASES, SHAPE, Case, map_of
from tests.penalties.laws import close, dot
from tests.penalties.oracles import supremum
from tests.perturbations.losses import Curved, Linear, gain, sought

SOLVERS: tuple[Perturbation, ...] = (
    OneStep(),
    Iterative(steps=3),
    Iterative(steps=3, step_size=0.5, start="zero", relative=True),
    Iterative(steps=2, keep="last"),
    Momentum(steps=3, decay=0.9),
    Free(replays=2),
    Noise(0.1),
)
MAXIMISERS = tuple(solver for solver in SOLVERS if solver.needs_penalty)
PASSES = {OneStep(): 1, Iterative(): 8, Iterative(steps=1): 1, Iterative(keep="last"): 7, Momentum(): 10}
"""How many forward and backward passes a solver takes."""

solvers = pytest.mark.parametrize("solver", SOLVERS, ids=repr)
maximisers = pytest.mark.parametrize("solver", MAXIMISERS, ids=repr)
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

SLOPE, X = map_of(1, 3, 0.5, 0.3, False), map_of(2, 3, 1.0, 0.0, False)


def test_every_public_solver_is_tested() -> None:
    assert {type(solver) for solver in SOLVERS} == set(PERTURBATIONS)


@maximisers
@every
def test_perturbations_are_worth_their_cost(solver: Perturbation, case: Case) -> None:
    loss, x, penalty = Linear(SLOPE[:2]), X[:2], case.batch(2)
    delta = sought(solver, loss, x, penalty)
    assert bool((gain(loss, penalty, x, delta) >= gain(loss, penalty, x, torch.zeros_like(x)) - 1e-9).all())


@every
@pytest.mark.parametrize("solver", [OneStep(), Iterative(steps=3), Momentum(3)], ids=repr)
def test_the_maximum_of_proposition_1_is_attained(solver: Perturbation, case: Case) -> None:
    loss, x, penalty = Linear(SLOPE[:2]), X[:2], case.batch(2)
    delta = sought(solver, loss, x, penalty)
    best = gain(loss, penalty, x, delta)
    close(best, loss(x)[0] + penalty.value(loss.slope), scale=dot(loss.slope.abs(), x.abs()))
    for seed in range(5):  # and nothing near or far does better
        for size in (1e-3, 0.1, 2.0):
            other = delta + size * map_of(seed, 2, 1.0, 0.0, False)
            assert bool((gain(loss, penalty, x, other) <= best + 1e-9).all())


@every
@pytest.mark.parametrize("solver", [Iterative(steps=4, keep="last"), Momentum(4)], ids=repr)
def test_on_a_linear_loss_many_steps_are_one_step(solver: Perturbation, case: Case) -> None:
    # The size of the gradient must not matter: a proximal step of another length would leave the maximum.
    for size in (1.0, 1e-2, 30.0):
        loss = Linear(case.within_reach(size * SLOPE[:2]))
        torch.testing.assert_close(
            sought(solver, loss, X[:2], case.batch(2)),
            sought(OneStep(), loss, X[:2], case.batch(2)),
            rtol=1e-6,
            atol=1e-7,
        )


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.numerical and "sigma=0" not in case.name], ids=lambda case: case.name
)
def test_one_step_attains_what_a_search_of_the_plane_finds(case: Case) -> None:
    penalty = case.flat()
    loss, x = Linear(torch.tensor([[[[0.8, -0.3]]]]).double()), torch.zeros(1, 1, 1, 2).double()

    def objective(points: Tensor) -> Tensor:
        return points @ loss.slope.flatten() - penalty.conjugate(points.view(-1, 1, 1, 2))

    found = gain(loss, penalty, x, sought(OneStep(), loss, x, penalty)).item()
    assert found == pytest.approx(supremum(objective, 2), abs=1e-7)


def test_one_step_asks_for_one_gradient_at_the_clean_batch() -> None:
    loss = Linear(SLOPE)
    delta = sought(OneStep(), loss, X, L1(0.1))
    assert len(loss.asked) == 1
    assert torch.equal(delta, 0.1 * loss.slope.sign())


def test_one_step_follows_the_indefinite_harmonization() -> None:
    attention = torch.rand(2, 1, *SHAPE[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss, x = Linear(map_of(1, 2, 0.5, 0.0, False)), map_of(2, 2, 1.0, 0.0, False)
    delta = sought(OneStep(), loss, x, Harmonization(0.5).given(attention))
    for n in range(2):
        weights = attention[n].max() / 2 - attention[n]
        torch.testing.assert_close(delta[n], 2 * 0.5 * weights * loss.slope[n] / loss.slope[n].norm())


@pytest.mark.parametrize("solver", [*PASSES, Free(3), Noise(0.1)], ids=repr)
def test_passes_are_counted(solver: Perturbation) -> None:
    loss = Curved(SLOPE)
    sought(solver, loss, X, ElasticNet(0.1, 0.3))
    assert len(loss.asked) == PASSES.get(solver, 0)


@solvers
def test_the_first_pass_is_at_the_clean_batch_itself(solver: Perturbation) -> None:
    # Not at a copy: what others have computed there can then be shared.
    loss, x = Curved(SLOPE), X.clone().requires_grad_()
    delta = sought(solver, loss, x, ElasticNet(0.1, 0.3))
    assert all(asked is x for asked in loss.asked[:1])
    assert not any(asked.requires_grad for asked in loss.asked[1:])
    assert not delta.requires_grad


@maximisers
def test_a_flat_loss_gets_no_perturbation(solver: Perturbation) -> None:
    for case in CASES:
        if case.zero:
            assert not sought(solver, Linear(torch.zeros_like(X[:2])), X[:2], case.batch(2)).any()


@solvers
@every
def test_samples_without_a_gradient_stay_finite(solver: Perturbation, case: Case) -> None:
    slope = SLOPE[:2].clone()
    slope[0] = 0
    delta = sought(solver, Linear(slope), X[:2], case.batch(2))
    assert bool(delta.isfinite().all())


@maximisers
@pytest.mark.parametrize("penalty", [SquaredL2(0.3), L1(0.1), GroupL21(0.2, patch=2)], ids=repr)
def test_batch_mates_do_not_matter(solver: Perturbation, penalty: SquaredL2 | L1 | GroupL21) -> None:
    scale = torch.tensor([1.0, 1e3, 1e-3], dtype=torch.float64).view(3, 1, 1, 1)
    slope = scale * SLOPE
    whole = sought(solver, Curved(slope), X, penalty)
    for i in range(3):
        torch.testing.assert_close(sought(solver, Curved(slope[i : i + 1]), X[i : i + 1], penalty), whole[i : i + 1])


@solvers
def test_the_clean_batch_is_never_changed(solver: Perturbation) -> None:
    x = X.clone()
    sought(solver, Curved(SLOPE), x, L1(0.1)).fill_(7)
    assert torch.equal(x, X)


@solvers
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 3])
def test_shape_dtype_and_layout_are_kept(solver: Perturbation, dtype: torch.dtype, n: int) -> None:
    slope, x = SLOPE[:n].to(dtype), X[:n].to(dtype).contiguous(memory_format=torch.channels_last)
    for penalty in (L1(0.1), SquaredL2(0.3), GroupL21(0.2, patch=2)):
        delta = sought(solver, Curved(slope.contiguous(memory_format=torch.channels_last)), x, penalty)
        assert (delta.shape, delta.dtype) == (x.shape, dtype)
        assert (x + delta).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("solver", [s for s in MAXIMISERS if not isinstance(s, Free)], ids=repr)
def test_what_is_not_a_number_is_not_hidden(solver: Perturbation) -> None:
    slope = SLOPE.clone()
    slope[1, 0, 2, 2] = torch.nan
    delta = sought(solver, Linear(slope), X, ElasticNet(0.1, 0.3))
    assert bool(delta[1].isnan().any())
    assert bool(delta[[0, 2]].isfinite().all())


@pytest.mark.parametrize("solver", [solver for solver in SOLVERS if not isinstance(solver, Free)], ids=repr)
def test_what_carries_nothing_hands_the_state_on(solver: Perturbation) -> None:
    assert solver.initial_state() == {}
    state = {"of another": X}
    assert solver.step(state, Curved(SLOPE), X, L1(0.1))[1] is state
    assert solver.learnt(state) is state


@solvers
def test_solvers_are_values(solver: Perturbation) -> None:
    for other in (copy.deepcopy(solver), pickle.loads(pickle.dumps(solver))):
        assert other == solver
        assert hash(other) == hash(solver)
        assert repr(other) == repr(solver)


@solvers
def test_the_command_line_can_name_them(solver: Perturbation) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--solver", type=Perturbation)
    public = {name: value for name, value in vars(solver).items() if name[0] != "_"}
    arguments = [f"--solver=gradsculpt.perturbations.{type(solver).__name__}"]
    config = parser.parse_args(arguments + [f"--solver.{name}={value}" for name, value in public.items()])
    assert parser.instantiate_classes(config).solver == solver
    again = parser.parse_string(parser.dump(config))
    assert parser.instantiate_classes(again).solver == solver
