"""Hessian norms, the bound of Theorem 6 and the error of Observation 1, against exact Hessians and closed forms."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from tests.metrics.smooth import images, perceptron, quadratic, quadratic_loss, symmetric
from torch import Tensor, nn
from torch.autograd import functional

from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model
from gradsculpt.metrics import Neighbourhood, hessian_norm, linearization_error, upper_bound
from gradsculpt.metrics.hessian import Probe
from gradsculpt.penalties import L1, GroupL21, Penalty

Direction = Penalty | Literal["gradient", "random"]
SHAPE = (2, 3, 4)
hessian: Any = functional.hessian  # its types are not declared


def convolutional() -> nn.Sequential:
    """Return a network through whose kernels second derivatives are taken."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layers = [nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)]
        return nn.Sequential(*layers).double()


def hessians(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the exact Hessian of every image's logit, [N, D, D]."""
    size = x[0].numel()
    pairs = zip(x, y.tolist(), strict=True)
    found = [hessian(lambda p, c=c: model(p[None])[0, c], image).reshape(size, size) for image, c in pairs]
    return torch.stack(found).detach()


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    point = x.clone().requires_grad_()
    model(point).gather(1, y[:, None]).sum().backward()
    assert point.grad is not None
    return point.grad.flatten(1)


def noise(shape: tuple[int, ...], draws: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return np.stack([2 * torch.rand(shape, generator=generator).numpy() - 1 for _ in range(draws)]).astype(float)


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
@pytest.mark.parametrize("model", [perceptron(SHAPE), convolutional()], ids=["perceptron", "convolutional"])
def test_hessian_norm_is_exact_in_the_mean(model: nn.Module, probe: Probe) -> None:
    x, y = images(3, SHAPE)
    exact = torch.linalg.matrix_norm(hessians(model, x, y))
    found = hessian_norm(model, x, y, probes=800, probe=probe)
    squared_error = 2 * found["hessian_norm"] * found["standard_error"]
    deviations = (found["squared_hessian_norm"] - exact**2) / squared_error
    assert bool((deviations.abs() < 4).all())
    assert bool((squared_error < 0.1 * exact**2).all())
    torch.testing.assert_close(found["hessian_norm"] ** 2, found["squared_hessian_norm"])


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_squared_norm_has_no_bias_and_its_error_is_honest(probe: Probe) -> None:
    x, y = images(1, (1, 2, 2))
    matrix = symmetric(4)
    model = quadratic(matrix, torch.zeros(4).double())
    runs = [hessian_norm(model, x, y, probes=4, probe=probe, seed=seed) for seed in range(400)]
    squares = torch.cat([run["squared_hessian_norm"] for run in runs])
    spread = squares.std() / 20
    assert abs(float(squares.mean() - matrix.square().sum())) < 4 * float(spread)
    errors = torch.cat([2 * run["hessian_norm"] * run["standard_error"] for run in runs])
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(squares.std()), rel=0.2)


def test_signs_are_exact_for_a_diagonal_hessian_and_normal_probes_are_not() -> None:
    x, y = images(2, (1, 2, 2))
    model = quadratic(torch.diag(torch.tensor([1.0, -2.0, 2.0, 4.0])).double(), torch.zeros(4).double())
    found = hessian_norm(model, x, 0 * y, probes=2)
    torch.testing.assert_close(found["hessian_norm"], torch.full((2,), 5.0, dtype=torch.float64))
    assert found["standard_error"].abs().max() < 1e-12
    assert hessian_norm(model, x, 0 * y, probes=2, probe="gaussian")["standard_error"].min() > 0.1


def test_networks_of_relus_and_constants_have_no_curvature() -> None:
    """A ReLU network's Hessian is 0 wherever it exists, and a frozen linear one's gradient has no graph at all."""
    x, y = images(2, SHAPE)
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(24, 3)).double().requires_grad_(False)
    constant: Model = lambda x: torch.zeros(len(x), 3, dtype=x.dtype)  # noqa: E731
    for model in (perceptron(SHAPE, activation=nn.ReLU()), frozen, constant):
        for values in hessian_norm(model, x, y).values():
            assert values.tolist() == [0, 0]
    found = upper_bound(constant, x, y, 0.1)
    assert {name: values.tolist() for name, values in found.items()} == {
        "cosine_criterion": [0, 0],
        "bound": [1, 1],
        "directional_bound": [1, 1],
    }


def test_upper_bound_equals_its_formula() -> None:
    model, (x, y) = perceptron(SHAPE), images(3, SHAPE)
    eps = torch.tensor([0.05, 0.3]).view(1, 2, 1, 1)
    low, high = torch.tensor(-0.8), torch.tensor(0.9)
    found = upper_bound(model, x, y, eps, Neighbourhood(4, (low, high), batch_size=7), probes=2000)
    exact, clean = hessians(model, x, y).numpy(), gradients(model, x, y).numpy()
    expected = np.zeros((3, 4, 3))
    for s, u in enumerate(noise(SHAPE, 4)):
        points = np.clip(x.numpy() + u * eps.numpy(), -0.8, np.float32(0.9))
        near, d = gradients(model, torch.from_numpy(points), y).numpy(), (points - x.numpy()).reshape(3, -1)
        for i in range(3):
            steep = np.linalg.norm(near[i])
            expected[0, s, i] = (1 - near[i] @ clean[i] / steep / np.linalg.norm(clean[i])) / 2
            expected[1, s, i] = np.linalg.norm(d[i]) * np.linalg.norm(exact[i]) / steep
            expected[2, s, i] = np.linalg.norm(exact[i] @ d[i]) / steep
    criterion, bound, directional = expected.mean(axis=1)
    np.testing.assert_allclose(found["cosine_criterion"], criterion, rtol=1e-6)
    np.testing.assert_allclose(found["bound"], bound, rtol=0.05)
    np.testing.assert_allclose(found["directional_bound"], directional, rtol=1e-6)


def test_the_inequality_of_theorem_6_holds_as_eps_goes_to_0() -> None:
    """Beyond the bounds there are terms in eps^2: none is left over at small eps, and the criterion is one itself."""
    model, (x, y) = perceptron(SHAPE), images(4, SHAPE)
    with torch.no_grad():
        next(model.parameters()).mul_(4)
    for eps in (0.3, 0.1, 0.03, 0.01, 0.001):
        found = upper_bound(model, x, y, eps, probes=50)
        assert bool((found["cosine_criterion"] <= found["directional_bound"] + 10 * eps**2).all())
        assert bool((found["directional_bound"] <= found["bound"]).all())
    coarse, fine = (upper_bound(model, x, y, eps, probes=50) for eps in (0.002, 0.001))
    torch.testing.assert_close(coarse["bound"] / fine["bound"], torch.full((4,), 2.0).double(), rtol=0.02, atol=0)
    ratio = coarse["cosine_criterion"] / fine["cosine_criterion"]
    torch.testing.assert_close(ratio, torch.full((4,), 4.0).double(), rtol=0.02, atol=0)


def test_neither_criterion_nor_bound_depends_on_the_scale_of_the_network() -> None:
    """As Lemma 3 and Proposition 5 have it; the Hessian norm does."""
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    loud: Model = lambda x: 7 * model(x)  # noqa: E731
    for name, values in upper_bound(loud, x, y, 0.2).items():
        torch.testing.assert_close(values, upper_bound(model, x, y, 0.2)[name])
    torch.testing.assert_close(hessian_norm(loud, x, y)["hessian_norm"], 7 * hessian_norm(model, x, y)["hessian_norm"])


@pytest.mark.parametrize("direction", ["gradient", "random", L1(0.3)], ids=str)
@pytest.mark.parametrize("eps", [0.01, 0.2])
def test_observation_1_is_attained_on_an_isotropic_quadratic(direction: Direction, eps: float) -> None:
    curvature, slope = 1.5, torch.tensor([0.3, 0.5, 0.1, 0.2]).double()
    model = quadratic_loss(curvature * torch.eye(4).double(), slope)
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2
    found = linearization_error(model, x, torch.zeros(3, dtype=torch.long), eps, direction)
    bound = torch.full((3,), curvature * eps**2 / 2, dtype=torch.float64)
    torch.testing.assert_close(found["linearization_error"], bound, rtol=1e-6, atol=0)
    torch.testing.assert_close(found["smoothness"], torch.full_like(bound, curvature), rtol=1e-6, atol=0)


def test_observation_1_bounds_every_direction_on_a_quadratic() -> None:
    matrix = symmetric(4)
    model = quadratic_loss(matrix, torch.full((4,), 3.0).double())
    x = torch.full((1, 1, 2, 2), 1.0, dtype=torch.float64)
    largest = float(torch.linalg.matrix_norm(matrix, ord=2))
    found = linearization_error(model, x, torch.tensor([0]), 0.05, "random", Neighbourhood(300))["smoothness"].item()
    assert 0.9 * largest < found <= largest * (1 + 1e-9)
    few = linearization_error(model, x, torch.tensor([0]), 0.05, "random", Neighbourhood(3))["smoothness"].item()
    assert few <= found


def losses(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    point = x.clone().requires_grad_()
    values = nn.functional.cross_entropy(model(point), y, reduction="none")
    (gradient,) = torch.autograd.grad(values.sum(), point)
    return values.detach(), gradient


@pytest.mark.parametrize("direction", ["gradient", "random", L1(1.0), GroupL21(1.0, patch=2)], ids=str)
def test_linearization_error_equals_a_plain_loop(direction: Direction) -> None:
    model, (x, y) = perceptron((2, 4, 4)), images(3, (2, 4, 4))
    start, gradient = losses(model, x, y)
    generator = torch.Generator().manual_seed(0)
    random = [torch.randn(2, 4, 4, generator=generator).double().expand_as(x) for _ in range(5)]
    ways = {"gradient": [gradient], "random": random}
    ways |= {repr(L1(1.0)): [gradient.sign()]}
    blocks = gradient.view(3, 2, 2, 2, 2, 2)  # each channel's own 2 x 2 patches
    ways |= {repr(GroupL21(1.0, patch=2)): [(blocks / blocks.norm(dim=(3, 5), keepdim=True)).view_as(x)]}
    worst = torch.zeros(2, 3, dtype=torch.float64)
    for way in ways[direction if isinstance(direction, str) else repr(direction)]:
        delta = 0.4 * way / way.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        slope = (gradient * delta).flatten(1).sum(dim=1)
        error = (losses(model, x + delta, y)[0] - start - slope).abs()
        worst = torch.maximum(worst, torch.stack([error, error / (error + slope.abs())]))
    found = linearization_error(model, x, y, 0.4, direction, Neighbourhood(5, batch_size=6))
    torch.testing.assert_close(found["linearization_error"], worst[0], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(found["relative_error"], worst[1], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(found["smoothness"], worst[0] * 2 / 0.16, rtol=1e-6, atol=1e-12)


def test_a_flat_loss_has_no_error() -> None:
    x, y = images(2, SHAPE)
    constant: Model = lambda x: torch.zeros(len(x), 3, dtype=x.dtype)  # noqa: E731
    directions: list[Direction] = ["gradient", "random"]
    for direction in directions:
        for values in linearization_error(constant, x, y, 0.1, direction).values():
            assert values.tolist() == [0, 0]


def test_half_precision_scores_are_single() -> None:
    model, (x, y) = perceptron(SHAPE).to(torch.bfloat16), images(2, SHAPE)
    for found in (hessian_norm(model, x.bfloat16(), y), linearization_error(model, x.bfloat16(), y, 0.5)):
        assert all(values.dtype == torch.float32 and bool(values.isfinite().all()) for values in found.values())


def with_eps(wrong: dict[str, Any]) -> dict[str, Any]:
    return {"eps": 0.1, **wrong}


def test_bad_arguments_are_named() -> None:
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    wrong: dict[str, Any]
    for wrong in ({"eps": -1.0}, {"probes": 0}, {"probe": "sign"}):
        with pytest.raises(ArgumentError, match=f"^{next(iter(wrong))}="):
            upper_bound(model, x, y, **with_eps(wrong))
    for wrong in ({"probes": 1}, {"seed": -1}, {"probe": "sign"}):
        with pytest.raises(ArgumentError, match=f"^{next(iter(wrong))}="):
            hessian_norm(model, x, y, **wrong)
    for wrong in ({"eps": 0.0}, {"direction": "down"}):
        with pytest.raises(ArgumentError, match=f"^{next(iter(wrong))}="):
            linearization_error(model, x, y, **with_eps(wrong))


def test_a_step_that_would_leave_the_bounds_is_cut_off() -> None:
    """The error of the step that is left, and the curvature by its own length, written out for two entries."""
    matrix, slope = torch.diag(torch.tensor([1.0, 2.0])).double(), torch.tensor([3.0, 4.0]).double()
    x = torch.tensor([0.5, 0.5]).double().view(1, 1, 1, 2)
    found = linearization_error(
        quadratic_loss(matrix, slope), x, torch.tensor([0]), 0.5, "gradient", Neighbourhood(bounds=(0, 0.6))
    )
    # The gradient (3.5, 5) leads to (0.787, 0.910), of which the bounds leave a step of 0.1 in both entries.
    error = (1.0 + 2.0) * 0.1**2 / 2
    assert found["linearization_error"].item() == pytest.approx(error)
    assert found["relative_error"].item() == pytest.approx(error / (error + 0.1 * (3.5 + 5.0)))
    assert found["smoothness"].item() == pytest.approx(2 * error / (2 * 0.1**2))
