"""Proximal gradient ascent against plain loops of projected and proximal gradient steps, and against brute force."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import input_gradient
from gradsculpt.penalties import L1, ElasticNet, FunctionPenalty, GroupL21, Harmonization, Penalty, SquaredL2
from gradsculpt.perturbations import Iterative, OneStep
from tests.penalties.cases import CASES, CLOSED, SHAPE, Case, map_of
from tests.perturbations.losses import Curved, Linear, gain, sought

SLOPE, X = map_of(1, 3, 0.5, 0.3, False), map_of(2, 3, 1.0, 0.0, False)
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
closed = pytest.mark.parametrize("case", CLOSED, ids=lambda case: case.name)
starts = pytest.mark.parametrize("start", ["dual", "zero"])
keeps = pytest.mark.parametrize("keep", ["best", "last"])


def curved(x: np.ndarray, slope: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of one sample and its gradient."""
    return float((slope * x + 0.5 * np.sin(2 * x)).sum()), slope + np.cos(2 * x)


def plain_pgd(
    x: np.ndarray, slope: np.ndarray, eps: float, rate: float, steps: int, start: str, keep: str
) -> np.ndarray:
    """Projected gradient descent of Madry et al. on one image: sign steps, clipped to the l-infinity ball."""
    loss, g = curved(x, slope)
    delta, seen = np.zeros_like(x), [(loss, np.zeros_like(x))]
    for number in range(steps):
        g = curved(x + delta, slope)[1]
        delta = eps * np.sign(g) if start == "dual" and number == 0 else np.clip(delta + rate * np.sign(g), -eps, eps)
        seen.append((curved(x + delta, slope)[0], delta))
    return np.asarray(delta if keep == "last" else max(seen, key=lambda pair: pair[0])[1])


@starts
@keeps
@pytest.mark.parametrize("relative", [False, True])
def test_for_l1_it_is_pgd(start: str, keep: str, relative: bool) -> None:
    eps, steps = 0.4, 5
    for rate in (0.05, 0.3):
        solver = Iterative(steps, rate, start, relative, keep)  # type: ignore[arg-type]
        found = sought(solver, Curved(SLOPE), X, L1(eps))
        for i in range(len(X)):
            size = rate * eps if relative else rate
            wanted = plain_pgd(X[i].numpy(), SLOPE[i].numpy(), eps, size, steps, start, keep)
            np.testing.assert_allclose(found[i].numpy(), wanted, rtol=1e-12, atol=1e-15)


def test_the_plain_pgd_has_samples_whose_best_iterate_is_not_the_last() -> None:
    best = sought(Iterative(5, 0.3, "dual"), Curved(SLOPE), X, L1(0.4))
    last = sought(Iterative(5, 0.3, "dual", keep="last"), Curved(SLOPE), X, L1(0.4))
    different = (best != last).flatten(1).any(dim=1)
    assert bool(different.any())


def elastic_step(delta: np.ndarray, g: np.ndarray, length: float) -> np.ndarray:
    """delta + t g, then argmin over d of PQ(d) + (d - v)^2 / (2 t), entry by entry; |t g| is the length."""
    t = length / np.sqrt((g**2).sum())
    v = delta + t * g
    result = np.zeros_like(v)
    for index in np.ndindex(v.shape):
        size = abs(v[index])
        if size > 0.1:  # the slope of (d - l1)^2 / (4 l2), plus (d - |v|) / t, is 0
            size = (0.1 / (2 * 0.3) + size / t) / (1 / (2 * 0.3) + 1 / t)
        result[index] = np.sign(v[index]) * size
    return np.asarray(result)


def elastic_price(delta: np.ndarray) -> float:
    return float((np.maximum(np.abs(delta) - 0.1, 0) ** 2).sum() / (4 * 0.3))


def group_step(delta: np.ndarray, g: np.ndarray, length: float) -> np.ndarray:
    """A step of unit-L2 gradient, then every 2 x 2 patch of a channel is projected on its L2 ball of radius 0.4."""
    v = delta + length * g / np.sqrt((g**2).sum())
    for c in range(v.shape[0]):
        for row in range(0, v.shape[1], 2):
            for column in range(0, v.shape[2], 2):
                patch = v[c, row : row + 2, column : column + 2]
                norm = np.sqrt((patch**2).sum())
                if norm > 0.4:
                    patch *= 0.4 / norm
    return np.asarray(v)


Step = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


@starts
@keeps
@pytest.mark.parametrize(
    ("penalty", "step", "price"),
    [
        (ElasticNet(0.1, 0.3), elastic_step, elastic_price),
        (GroupL21(0.4, patch=2), group_step, lambda delta: 0.0),
    ],
    ids=["elastic net", "group"],
)
@pytest.mark.parametrize("relative", [False, True])
def test_proximal_steps_one_by_one(
    penalty: Penalty, step: Step, price: Callable[[np.ndarray], float], start: str, keep: str, relative: bool
) -> None:
    solver = Iterative(4, 0.3, start, relative, keep)  # type: ignore[arg-type]
    found = sought(solver, Curved(SLOPE), X, penalty)
    for i in range(len(X)):
        x, slope = X[i].numpy(), SLOPE[i].numpy()
        loss, g = curved(x, slope)
        dual = penalty.dual(torch.from_numpy(g)[None])[0].numpy()
        length = 0.3 * (np.sqrt((dual**2).sum()) if relative else 1.0)
        delta, seen = np.zeros_like(x), [(loss, np.zeros_like(x))]
        for number in range(4):
            g = curved(x + delta, slope)[1]
            delta = dual if start == "dual" and number == 0 else step(delta, g, length)
            seen.append((curved(x + delta, slope)[0] - price(delta), delta))
        wanted = delta if keep == "last" else max(seen, key=lambda pair: pair[0])[1]
        np.testing.assert_allclose(found[i].numpy(), wanted, rtol=1e-9, atol=1e-12)


@every
def test_one_step_from_the_dual_is_one_step(case: Case) -> None:
    found = sought(Iterative(steps=1), Curved(SLOPE), X, case.batch(3))
    assert torch.equal(found, sought(OneStep(), Curved(SLOPE), X, case.batch(3)))


@closed
@starts
def test_more_steps_are_never_worse(case: Case, start: str) -> None:
    loss, penalty = Curved(SLOPE), case.batch(3)
    worth = [
        gain(loss, penalty, X, sought(Iterative(steps, 0.5, start), loss, X, penalty))  # type: ignore[arg-type]
        for steps in (2, 3, 4, 6, 9)
    ]
    worth = [gain(loss, penalty, X, torch.zeros_like(X)), *worth]
    for before, after in itertools.pairwise(worth):
        assert bool((after >= before - 1e-9).all())
    if start == "zero":  # a dual may be so large that nothing is left of the loss's slope there
        assert bool((worth[-1] > worth[0]).all()) == bool(penalty.dual(SLOPE).any())


class Plane(Linear):
    """A smooth loss of two pixels, which no entry has to itself; concave enough for one maximum."""

    def __init__(self) -> None:
        super().__init__(torch.zeros(1, 1, 1, 2).double())

    def value(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        return F.softplus(0.8 * rows[:, 0] - 0.5 * rows[:, 1] + 0.2) + 0.1 * rows[:, 1]

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return input_gradient(self.value, x)


def best_of_grids(function: Callable[[Tensor], Tensor], points: int) -> tuple[Tensor, float]:
    """Return the best point of a grid, then of ever finer grids around it, and the value there."""
    centre, width = torch.zeros(2).double(), 2.0
    for _ in range(12):
        axis = torch.linspace(-width, width, points, dtype=torch.float64)
        grid = torch.cat([centre + torch.cartesian_prod(axis, axis), centre[None]])
        values = function(grid.view(-1, 1, 1, 2))
        centre, best = grid[values.argmax()], float(values.max())
        width *= 0.3
    return centre, best


@pytest.mark.parametrize("case", [c for c in CASES if "sigma=0" not in c.name], ids=lambda case: case.name)
@starts
def test_in_the_plane_the_exact_maximiser_is_approached(case: Case, start: str) -> None:
    loss, penalty = Plane(), case.flat()
    x = torch.tensor([[[[0.1, -0.4]]]], dtype=torch.float64)
    if not case.zero:
        pytest.skip("the minimum of this penalty is not at 0, where the others' grids begin")

    def objective(delta: Tensor) -> Tensor:
        return loss.value(x + delta) - penalty.conjugate(delta)

    point, best = best_of_grids(objective, 9 if case.numerical else 41)
    steps = 60 if case.numerical else 300
    delta = sought(Iterative(steps, 0.5, start), loss, x, penalty)  # type: ignore[arg-type]
    found = float(objective(delta))
    assert found == pytest.approx(best, abs=1e-6)
    assert found > float(objective(torch.zeros_like(x))) or not bool(penalty.dual(torch.ones_like(x)).any())
    assert (delta.flatten() - point).norm() < 2e-3


class Unprojected(L1):
    """Its proximal map leads out of the domain of its conjugate."""

    def conjugate_prox(self, v: Tensor, step: float | Tensor) -> Tensor:
        return v


def test_an_iterate_outside_the_domain_never_wins() -> None:
    penalty = Unprojected(0.3)
    out = sought(Iterative(4, 1.0, keep="last"), Curved(SLOPE), X, penalty)
    assert bool(penalty.conjugate(out).isinf().all())
    kept = sought(Iterative(4, 1.0), Curved(SLOPE), X, penalty)
    assert not penalty.conjugate(kept).any()


def test_the_indefinite_harmonization_is_refused_with_a_remedy() -> None:
    attention = torch.rand(3, 1, *SHAPE[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ArgumentError, match=r"infinite.*positive=True.*OneStep"):
        sought(Iterative(), Curved(SLOPE), X, Harmonization(0.5).given(attention))
    indefinite = Harmonization(0.5).given(attention)
    delta = sought(Iterative(steps=1), Curved(SLOPE), X, indefinite)
    assert torch.equal(delta, sought(OneStep(), Curved(SLOPE), X, indefinite))
    convex = Harmonization(0.5, positive=True).given(attention)
    assert sought(Iterative(), Curved(SLOPE), X, convex).any()


@closed
def test_gradients_that_all_but_vanish_or_explode_do_no_harm(case: Case) -> None:
    for dtype, size in ((torch.float32, 1e-30), (torch.float32, 1e-42), (torch.float32, 1e15), (torch.float64, 1e-200)):
        for start in ("dual", "zero"):
            solver = Iterative(steps=3, start=start)
            delta = sought(solver, Linear((size * SLOPE).to(dtype)), X.to(dtype), case.batch(3))
            assert bool(delta.isfinite().all())


def test_a_function_follows_the_penalty_that_it_imitates() -> None:
    imitation = FunctionPenalty(lambda g: 0.3 * g.square().flatten(1).sum(dim=1))
    found = sought(Iterative(steps=3), Curved(SLOPE), X, imitation)
    torch.testing.assert_close(
        found, sought(Iterative(steps=3), Curved(SLOPE), X, SquaredL2(0.3)), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"step_size": 0.0}, "step_size=0"),
        ({"step_size": -1.0}, "step_size=-1"),
        ({"start": "random"}, "start='random'.*dual, zero"),
        ({"keep": "first"}, "keep='first'.*best, last"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Iterative(**options)  # type: ignore[arg-type]
