"""MoreauGrad against closed forms, a solver of SciPy's, unrolled steps, and the envelope's own properties."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from tests.networks import Recorder, batch, network
from torch import Tensor, nn

from gradsculpt.attributions import DualAveraging, Gradient, MoreauGrad, ProximalGradient, SmoothGrad, Solver
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import cosine
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Penalty

PENALTIES: list[Penalty | None] = [None, L1(0.05), GroupL21(0.1, patch=2, per_channel=False), ElasticNet(0.03, 0.2)]
penalties = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
SOLVERS: list[Solver] = [
    DualAveraging(),
    DualAveraging(power=1.0),
    ProximalGradient(0.2),
    ProximalGradient(0.05, average=40),
]


def curved(scale: float = 4.0, seed: int = 1) -> nn.Sequential:
    """A smooth network whose curvature is not small beside 1 / lambda."""
    model = network(norm=False, seed=seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def exact(penalty: Penalty | None, lambda_: float) -> MoreauGrad:
    return MoreauGrad(penalty, lambda_=lambda_, sigma=0.0, steps=3000, tolerance=1e-11)


def value(model: nn.Module, x: Tensor, y: Tensor, delta: Tensor, attribution: MoreauGrad) -> Tensor:
    """The objective without noise, written down from the paper."""
    cost = delta.square().flatten(1).sum(1) / (2 * attribution.lambda_)
    extra = 0.0 if attribution.penalty is None else attribution.penalty.value(delta)
    outputs: Tensor = model(x + delta)[range(len(x)), y]
    return outputs + cost + extra


@penalties
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_closed_form_of_a_linear_function(penalty: Penalty | None, sigma: float) -> None:
    x, y = batch()
    weights = torch.randn(3 * 36, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    g = weights.T[y].view_as(x)
    for dtype, rounding in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        attribution = MoreauGrad(penalty, lambda_=0.7, sigma=sigma, samples=5, steps=400, tolerance=1e-15)
        found, info = attribution(lambda t: t.flatten(1) @ weights.to(t), x.to(dtype), y, return_info=True)
        expected = g if penalty is None else penalty.prox(0.7 * g, 0.7) / 0.7
        torch.testing.assert_close(found, expected.to(dtype), rtol=rounding, atol=rounding * 10)
        if penalty is not None:
            assert bool((found[expected == 0] == 0).all())
        assert bool((info.objective.decrease_error < 1e-5).all())


def test_closed_form_of_a_quadratic_function() -> None:
    generator = torch.Generator().manual_seed(5)
    root = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    hessian, slope = root @ root.T, torch.randn(8, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 2, 2, 2, generator=generator, dtype=torch.float64)

    def function(t: Tensor) -> Tensor:
        rows = t.flatten(1)
        return ((rows @ hessian) * rows).sum(1, keepdim=True) / 2 + (rows @ slope)[:, None]

    delta = -torch.linalg.solve(hessian + 2 * torch.eye(8).double(), (x.flatten(1) @ hessian + slope).T).T
    found = exact(None, 0.5)(function, x, torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(found.flatten(1), -delta / 0.5, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("lambda_", [0.2, 1.0])
@pytest.mark.parametrize("weight", [0.0, 0.05])
def test_the_minimum_is_that_of_another_solver(lambda_: float, weight: float) -> None:
    model, (x, y) = curved(2.0), batch(2)
    attribution = exact(L1(weight) if weight else None, lambda_)
    maps = attribution(model, x, y)
    for i in range(2):

        def objective(halves: np.ndarray, i: int = i) -> tuple[float, np.ndarray]:
            # delta = up - down with both parts not negative makes |delta|_1 smooth
            up, down = torch.from_numpy(halves).view(2, 1, *x.shape[1:])
            delta = (up - down).requires_grad_()
            smooth = model(x[i : i + 1] + delta)[0, y[i]] + delta.square().sum() / (2 * lambda_)
            (slope,) = torch.autograd.grad(smooth, delta)
            total = smooth.detach() + weight * (up + down).sum()
            return float(total), torch.cat([slope + weight, weight - slope]).flatten().numpy()

        start, bounds = np.zeros(2 * x[0].numel()), [(0.0, None)] * (2 * x[0].numel())
        best = minimize(
            objective, start, jac=True, bounds=bounds, options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-9}
        )
        ours = value(model, x[i : i + 1], y[i : i + 1], -lambda_ * maps[i : i + 1], attribution)
        assert float(ours.detach()) <= best.fun + 1e-9
        up, down = torch.from_numpy(best.x).view(2, *x.shape[1:])
        torch.testing.assert_close(maps[i], (down - up) / lambda_, rtol=1e-3, atol=1e-4)


@penalties
def test_the_map_is_the_gradient_of_the_envelope_after_the_proximal_map(penalty: Penalty | None) -> None:
    model, (x, y) = curved(2.0), batch(1)
    attribution = exact(penalty, 0.3)
    maps = attribution(model, x, y)

    changes = 1e-5 * torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape[1:])
    near = torch.cat([x + changes, x - changes])
    labels = y.expand(len(near))
    up, down = value(model, near, labels, -0.3 * attribution(model, near, labels), attribution).detach().chunk(2)
    gradient = ((up - down) / 2e-5).view_as(x)
    expected = gradient if penalty is None else penalty.prox(0.3 * gradient, 0.3) / 0.3
    torch.testing.assert_close(maps, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("penalty", PENALTIES[:3:2], ids=repr)
def test_every_solver_finds_the_same_minimum(solver: Solver, penalty: Penalty | None) -> None:
    model, (x, y) = curved(2.0), batch(2)
    expected = exact(penalty, 0.3)(model, x, y)
    found = MoreauGrad(penalty, lambda_=0.3, sigma=0.0, steps=300, tolerance=0.0, solver=solver)(model, x, y)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@penalties
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_implicit_derivative_is_that_of_unrolled_steps(penalty: Penalty | None, scale: float) -> None:
    model, (x, y) = curved(scale), batch(2)
    attribution = exact(penalty, 0.3)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(8), dtype=x.dtype)
    x.requires_grad_()
    parameter = next(model.parameters())
    found = torch.autograd.grad((attribution(model, x, y, create_graph=True) * weights).sum(), [x, parameter])

    delta = torch.zeros_like(x)
    for _ in range(300):
        point = x + delta
        (gradient,) = torch.autograd.grad(model(point)[range(2), y].sum(), point, create_graph=True)
        delta = delta - 0.1 * (gradient + delta / 0.3)
        delta = delta if penalty is None else penalty.prox(delta, 0.1)
    expected = torch.autograd.grad((-delta / 0.3 * weights).sum(), [x, parameter])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7 * float(other.abs().max()))
    # Not the derivative of one step from the solution: the curvature matters.
    naive = Gradient()(model, x - 0.3 * attribution(model, x.detach(), y), y, create_graph=True)
    if penalty is None:
        (single,) = torch.autograd.grad((naive * weights).sum(), x)
        assert not torch.allclose(found[0], single, rtol=1e-2)


def test_the_surrogate_is_the_gradient_at_the_solution_where_that_is_not_zero() -> None:
    model, (x, y) = curved(2.0), batch(2)
    plain = exact(L1(0.05), 0.3)
    maps = plain(model, x, y)
    surrogate = replace(plain, surrogate=True)
    assert torch.equal(surrogate(model, x, y), maps)
    found = surrogate(model, x.requires_grad_(), y, create_graph=True)
    torch.testing.assert_close(found, Gradient()(model, x - 0.3 * maps, y) * (maps != 0))
    assert found.requires_grad


def test_limits() -> None:
    model, (x, y) = network().eval(), batch()
    small = exact(None, 1e-7)(model, x, y)
    torch.testing.assert_close(small, Gradient()(model, x, y), rtol=1e-5, atol=1e-7)
    one = MoreauGrad(sigma=0.2, samples=7, steps=1, seed=4, batch_size=5)(model, x, y)
    smooth = SmoothGrad(samples=7, sigma=0.2, seed=4)(model, x, y)
    torch.testing.assert_close(one, smooth, rtol=1e-12, atol=1e-14)
    sparse = MoreauGrad(L1(0.02), lambda_=0.5, sigma=0.2, samples=7, steps=1, seed=4)(model, x, y)
    torch.testing.assert_close(sparse, L1(0.02).prox(0.5 * smooth, 0.5) / 0.5, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lambda_", [0.1, 0.5])
def test_the_map_is_lipschitz_with_constant_one_over_lambda(lambda_: float) -> None:
    model, (x, y) = curved(2.0), batch(6)
    y = y[:1].expand(6)
    attribution, plain = exact(L1(0.01), lambda_), Gradient()
    generator = torch.Generator().manual_seed(2)
    steepest, roughest = 0.0, 0.0
    for length in (1e-3, 0.1, 1.0):
        near = x + length * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        distance = (near - x).flatten(1).norm(dim=1)
        for method in (attribution, plain):
            moved = (method(model, near, y) - method(model, x, y)).flatten(1).norm(dim=1)
            ratio = float((moved / distance).max())
            steepest, roughest = (
                (max(steepest, ratio), roughest) if method is attribution else (steepest, max(roughest, ratio))
            )
    assert steepest <= 1 / lambda_
    assert steepest < roughest


@penalties
def test_noise_is_averaged_and_the_decrease_is_reported_with_its_error(penalty: Penalty | None) -> None:
    model, (x, y) = curved(2.0), batch(3)
    attribution = MoreauGrad(penalty, lambda_=0.3, sigma=0.1, samples=16, steps=20)
    maps, info = attribution(model, x, y, return_info=True)
    found = info.objective
    assert bool((found.decrease > -3 * found.decrease_error).all())
    assert bool((found.decrease_error <= found.standard_error).all())
    many = attribution.objective(model, x, y, maps, samples=2000)
    assert bool(((many.decrease - found.decrease).abs() < 5 * found.decrease_error + 1e-12).all())

    level = 0.1 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
    generator = torch.Generator().manual_seed(9)
    values, befores = [], []
    for _ in range(50):
        noise = torch.randn(x.shape[1:], generator=generator) * level.view(-1, 1, 1, 1)
        values.append(value(model, x + noise, y, -0.3 * maps, attribution).detach())
        befores.append(model(x + noise)[range(3), y].detach())
    plain = attribution.objective(model, x, y, maps, samples=50, seed=9)
    here, before = torch.stack(values), torch.stack(befores)
    torch.testing.assert_close(plain.value, here.mean(0))
    torch.testing.assert_close(plain.standard_error, here.std(0) / 50**0.5)
    torch.testing.assert_close(plain.decrease, (before - here).mean(0))
    torch.testing.assert_close(plain.decrease_error, (before - here).std(0) / 50**0.5)


def test_each_image_stops_by_itself_and_costs_nothing_afterwards() -> None:
    model, (x, y) = curved(3.0), batch(3)
    x[1] *= 100.0
    attribution = MoreauGrad(lambda_=0.3, sigma=0.0, steps=60, tolerance=1e-6)
    recorder = Recorder(model)
    maps, info = attribution(recorder, x, y, return_info=True)
    taken = info.iterations.tolist()
    assert len(set(taken)) > 1
    assert bool(info.converged.all())
    assert bool((info.residual <= 1e-6).all())
    # And the objective there and at 0.
    assert sum(len(seen) for seen in recorder.seen) == sum(taken) + 2 * 3
    for i in range(3):
        alone, single = attribution(model, x[i : i + 1], y[i : i + 1], return_info=True)
        torch.testing.assert_close(alone[0], maps[i], rtol=1e-9, atol=1e-12)
        assert single.iterations.tolist() == [taken[i]]
    hasty, known = MoreauGrad(lambda_=0.3, sigma=0.0, steps=2, tolerance=1e-6)(model, x, y, return_info=True)
    assert known.iterations.tolist() == [2, 2, 2]
    assert not bool(known.converged.any())
    warm, again = attribution(model, x, y, start=maps, return_info=True)
    assert again.iterations.tolist() == [1, 1, 1]
    torch.testing.assert_close(warm, maps, rtol=1e-4, atol=1e-7)
    assert not torch.equal(hasty, maps)


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("penalty", PENALTIES[:2], ids=repr)
def test_the_error_is_the_distance_from_the_map_of_endless_noise(penalty: Penalty | None, power: float) -> None:
    model, (x, y) = curved(3.0), batch(4)
    plain = MoreauGrad(penalty, lambda_=0.3, sigma=0.3, tolerance=0.0, error=0.0, solver=DualAveraging(power))
    endless = replace(plain, samples=100, steps=30, seed=99)(model, x, y)
    for samples, steps in ((2, 9), (4, 14)):
        ratios = []
        for seed in range(4):
            maps, info = replace(plain, samples=samples, steps=steps, seed=seed)(model, x, y, return_info=True)
            distance = (maps - endless).flatten(1).norm(dim=1) / maps.flatten(1).norm(dim=1)
            assert info.stopped == ("steps",) * 4
            ratios.append(info.error / distance)
        assert 0.6 < float(torch.stack(ratios).median()) < 1.6


def test_a_noisy_image_stops_at_the_error_and_says_so() -> None:
    model, (x, y) = curved(3.0), batch(3)
    few = MoreauGrad(lambda_=0.3, sigma=0.4, samples=2, steps=200, tolerance=1e-3, error=0.15)
    maps, info = few(model, x, y, return_info=True)
    assert info.stopped == ("error",) * 3
    assert bool((info.error < 0.15).all())
    assert not bool(info.converged.any())
    assert len(set(info.iterations.tolist())) > 1
    finer, more = replace(few, error=0.08)(model, x, y, return_info=True)
    assert bool((more.iterations > info.iterations).all())
    assert bool((more.error < 0.08).all())
    exact, last = replace(few, error=0.0, samples=20, steps=100, tolerance=0.0)(model, x, y, return_info=True)
    assert last.stopped == ("steps",) * 3
    distances = [(found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1) for found in (maps, finer)]
    assert bool((distances[1] < distances[0]).all())
    loose = replace(few, error=100.0)(model, x, y, return_info=True)[1]
    assert loose.iterations.tolist() == [4, 4, 4]  # two gradients on each side at least, as two may agree by chance
    assert replace(few, tolerance=0.5)(model, x, y, return_info=True)[1].stopped == ("tolerance",) * 3
    for i in range(3):
        alone = few(model, x[i : i + 1], y[i : i + 1])
        torch.testing.assert_close(alone[0], maps[i], rtol=1e-9, atol=1e-12)


def test_an_image_without_noise_is_not_stopped_by_its_error() -> None:
    """An image of one value has no range, so no noise: the way to the minimum must not pass for noise."""
    model, (x, y) = curved(3.0), batch(2)
    x[1] = 0.3
    found, info = MoreauGrad(lambda_=0.3, sigma=0.3, error=100.0)(model, x, y, return_info=True)
    assert info.stopped[0] == "error"
    assert info.stopped[1] != "error"
    assert float(info.error[1]) == torch.inf
    alone = MoreauGrad(lambda_=0.3, sigma=0.0, solver=DualAveraging(), steps=80)(model, x[1:], y[1:])
    torch.testing.assert_close(found[1:], alone)


def test_the_defaults_take_a_fraction_of_the_passes() -> None:
    """Gradients that are mostly noise, as those of photos: many waves around one slope."""
    generator = torch.Generator().manual_seed(4)
    waves, slope = torch.randn(192, 400, generator=generator), torch.randn(192, 1, generator=generator)
    x = torch.randn(1, 3, 8, 8, generator=generator)

    def function(t: Tensor) -> Tensor:
        rows = t.flatten(1)
        return (rows @ waves).sin().sum(1, keepdim=True) + 16 * rows @ slope

    quick, exact = Recorder(function), Recorder(function)
    near = MoreauGrad()(quick, x, torch.tensor([0]))
    expected = MoreauGrad(error=0.0, tolerance=0.0)(exact, x, torch.tensor([0]))
    taken = [sum(len(seen) for seen in recorder.seen) for recorder in (quick, exact)]
    assert taken[1] == 80 * 8
    assert taken[0] <= 320
    assert float(cosine(near, expected)) > 0.9


def test_the_published_settings() -> None:
    made = MoreauGrad.published(L1(5e-3))
    assert made == MoreauGrad(
        L1(5e-3), 1.0, 0.1, 32, 300, 0.0, ProximalGradient(step_size=0.1, average=101), "logit", error=0.0
    )
    few = replace(made, samples=2, steps=3)  # fewer steps than are averaged: all are
    model, (x, y) = network().eval(), batch(1)
    expected = replace(few, solver=ProximalGradient(0.1, average=3))(model, x, y)
    torch.testing.assert_close(few(model, x, y), expected)


def test_memory_is_bounded_by_the_batch_size_and_the_noise_is_streamed() -> None:
    model, (x, y) = network().eval(), batch(2)
    expected = MoreauGrad(samples=6, steps=2, batch_size=1000)(model, x, y)
    for size, largest in ((5, 4), (1, 2)):
        recorder = Recorder(model)
        found = MoreauGrad(samples=6, steps=2, batch_size=size)(recorder.__call__, x, y)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        assert max(len(seen) for seen in recorder.seen) == largest
        assert sum(len(seen) for seen in recorder.seen) == 2 * 2 * 6
    assert not torch.equal(MoreauGrad(samples=6, steps=2, seed=1)(model, x, y), expected)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_the_dual_average_weights_gradients_by_a_power_of_their_number(power: float) -> None:
    """Three steps without a penalty, written out: delta = -lambda times the mean of the gradients, weighted t^power."""
    model, (x, y) = curved(2.0), batch(1)
    delta, gradients = torch.zeros_like(x), []
    for t in range(1, 4):
        gradients.append(Gradient()(model, x + delta, y))
        weights = [s**power for s in range(1, t + 1)]
        mean = sum(w * g for w, g in zip(weights, gradients, strict=True)) / sum(weights)
        delta = -0.3 * torch.as_tensor(mean)
    solver = DualAveraging(power)
    found = MoreauGrad(lambda_=0.3, sigma=0.0, steps=3, tolerance=0.0, solver=solver)(model, x, y)
    torch.testing.assert_close(found, -delta / 0.3)
    other = MoreauGrad(lambda_=0.3, sigma=0.0, steps=3, tolerance=0.0, solver=DualAveraging(power + 1))(model, x, y)
    assert not torch.allclose(found, other, rtol=1e-3)


def test_the_mean_of_the_last_iterates() -> None:
    model, (x, y) = curved(2.0), batch(1)

    def after(steps: int, average: int = 1) -> Tensor:
        solver = ProximalGradient(0.02, average=average)
        return MoreauGrad(lambda_=0.3, sigma=0.0, steps=steps, tolerance=0.0, solver=solver)(model, x, y)

    torch.testing.assert_close(after(5, average=3), (after(3) + after(4) + after(5)) / 3)


def test_a_zero_map_and_a_constant_function_are_solved_at_once() -> None:
    x, y = batch(2)
    maps, info = MoreauGrad(L1(100.0))(network().eval(), x, y, return_info=True)
    assert not bool(maps.any())
    assert info.iterations.tolist() == [1, 1]
    assert bool((info.objective.decrease == 0).all())
    assert not bool(MoreauGrad()(lambda t: t.new_ones(len(t), 3), x, y).any())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MoreauGrad(lambda_=0.0), r"lambda_=0.0 is out of range"),
        (lambda: MoreauGrad(sigma=-1.0), r"sigma=-1.0"),
        (lambda: MoreauGrad(samples=0), r"samples=0"),
        (lambda: MoreauGrad(steps=0), r"steps=0"),
        (lambda: MoreauGrad(tolerance=-1.0), r"tolerance=-1.0"),
        (lambda: MoreauGrad(error=-1.0), r"error=-1.0"),
        (lambda: MoreauGrad(output="odds"), r"output='odds'"),  # type: ignore[arg-type]
        (lambda: MoreauGrad(batch_size=0), r"batch_size=0"),
        (
            lambda: MoreauGrad(solver=ProximalGradient()),
            r"sigma=0.1 makes gradients means over fresh noise.*DualAveraging",
        ),
        (lambda: ProximalGradient(step_size=0.0), r"step_size=0.0"),
        (lambda: ProximalGradient(average=0), r"average=0"),
        (lambda: DualAveraging(power=-1.0), r"power=-1.0"),
    ],
)
def test_wrong_settings_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()


def test_wrong_starts_and_maps_are_refused() -> None:
    model, (x, y) = network().eval(), batch()
    with pytest.raises(ArgumentError, match="start has shape"):
        MoreauGrad()(model, x, y, start=x[:1])
    with pytest.raises(ArgumentError, match="maps has shape"):
        MoreauGrad().objective(model, x, y, x[:1])
