"""The largest eigenvalue of the input Hessian against exact ones, and what is said where it is not certain."""

from typing import Any

import pytest
import torch
from tests.metrics.smooth import images, perceptron, quadratic, symmetric
from torch import Tensor, nn
from torch.autograd import functional

from gradsculpt.errors import ArgumentError, ConvergenceError
from gradsculpt.gradients import Model
from gradsculpt.metrics import hessian_norm, top_eigenvalue

SHAPE = (2, 3, 4)
hessian: Any = functional.hessian  # its types are not declared


def convolutional() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layers = [nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)]
        return nn.Sequential(*layers).double()


def largest(matrix: Tensor) -> float:
    values = torch.linalg.eigvalsh(matrix)
    return float(values[values.abs().argmax()])


def with_spectrum(values: Tensor, *, seed: int = 0) -> Tensor:
    """Return a symmetric matrix with these eigenvalues, in float64."""
    size = len(values)
    random = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    vectors = torch.linalg.qr(random).Q
    return vectors @ values.double().diag() @ vectors.T


SPECTRA: dict[str, Tensor] = {
    "random": torch.linalg.eigvalsh(symmetric(24)),
    "downwards": -torch.arange(1.0, 25.0),
    "two ends alike, the lower one larger": torch.cat([torch.linspace(-5.01, 4.99, 24)]),
    "one direction": torch.tensor([*[0.0] * 23, -3.0]),
    "all alike": torch.full((24,), 2.0),
    "flat": torch.zeros(24),
    "tiny": torch.arange(24.0) * 1e-25,
    "huge": -torch.arange(24.0) * 1e25,
}


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_it_is_exact_on_quadratics(spectrum: Tensor) -> None:
    x, y = images(3, SHAPE)
    model = quadratic(with_spectrum(spectrum), torch.zeros(24).double())
    expected = torch.full((3,), float(spectrum[spectrum.abs().argmax()]), dtype=torch.float64)
    for seed in range(3):
        found = top_eigenvalue(model, x, 0 * y, tolerance=1e-9, seed=seed)
        torch.testing.assert_close(found["top_eigenvalue"], expected, rtol=1e-8, atol=0)
        assert float(found["residual"].max()) <= 1e-9


@pytest.mark.parametrize("tolerance", [0.01, 1e-6])
@pytest.mark.parametrize("model", [perceptron(SHAPE), convolutional()], ids=["perceptron", "convolutional"])
def test_of_a_network_it_is_that_of_the_exact_hessian_within_the_residual(model: nn.Module, tolerance: float) -> None:
    x, y = images(4, SHAPE)
    pairs = zip(x, y.tolist(), strict=True)
    exact = torch.stack([hessian(lambda p, c=c: model(p[None])[0, c], image).reshape(24, 24) for image, c in pairs])
    found = top_eigenvalue(model, x, y, tolerance=tolerance)
    value, residual, magnitude = found.values()
    assert torch.equal(magnitude, value.abs())
    error = (value - torch.tensor([largest(h) for h in exact], dtype=torch.float64)).abs()
    assert bool((error <= (residual + 1e-9) * value.abs()).all())
    assert bool((residual <= tolerance).all())
    assert bool((value.abs() <= torch.linalg.matrix_norm(exact) * (1 + 1e-12)).all())


def test_the_magnitude_is_at_most_the_frobenius_norm_and_equal_for_one_curved_direction() -> None:
    x, y = images(3, SHAPE)
    line = torch.randn(24, 24, generator=torch.Generator().manual_seed(2)).double()[0]
    model = quadratic(-line[:, None] * line, torch.zeros(24).double())
    value = top_eigenvalue(model, x, 0 * y)["top_eigenvalue"]
    torch.testing.assert_close(value, torch.full((3,), -float(line.square().sum()), dtype=torch.float64))
    curved = perceptron(SHAPE)
    norms = hessian_norm(curved, x, y, probes=400)
    bound = norms["hessian_norm"] + 4 * norms["standard_error"]
    assert bool((top_eigenvalue(curved, x, y)["top_eigenvalue"].abs() <= bound).all())


def test_networks_of_relus_and_constants_have_no_curvature() -> None:
    x, y = images(2, SHAPE)
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(24, 3)).double().requires_grad_(False)
    constant: Model = lambda x: torch.zeros(len(x), 3, dtype=x.dtype)  # noqa: E731
    for model in (perceptron(SHAPE, activation=nn.ReLU()), frozen, constant):
        for values in top_eigenvalue(model, x, y).values():
            assert values.tolist() == [0, 0]


def test_it_grows_with_the_scale_of_the_network_and_turns_with_its_sign() -> None:
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    loud: Model = lambda x: -7 * model(x)  # noqa: E731
    expected = -7 * top_eigenvalue(model, x, y)["top_eigenvalue"]
    torch.testing.assert_close(top_eigenvalue(loud, x, y)["top_eigenvalue"], expected)


def test_what_is_not_certain_is_refused_or_told() -> None:
    x, y = images(2, (3, 8, 8))
    near = quadratic(with_spectrum(torch.linspace(-1.0, 1.0, 192)), torch.zeros(192).double())
    with pytest.raises(ConvergenceError, match=r"^after 4 products .* of image 0 is certain to [\d.]+ of itself only"):
        top_eigenvalue(near, x, 0 * y, steps=4)
    told = top_eigenvalue(near, x, 0 * y, steps=4, tolerance=None)
    assert bool((told["residual"] > 0.01).all())
    assert bool((told["top_eigenvalue"].abs() < 1).all())


@pytest.mark.parametrize("tolerance", [0.01, 1e-3])
def test_an_end_that_is_certain_does_not_hide_a_larger_one_that_is_not(tolerance: float) -> None:
    """A lone eigenvalue is found soon; the other end of a crowd, which is the larger one, only later."""
    values = torch.cat([torch.linspace(-1.0, 0.0, 191), torch.tensor([0.97])])
    x = images(4, (3, 8, 8))[0]
    model = quadratic(with_spectrum(values), torch.zeros(192).double())
    for seed in range(3):
        value, residual, _ = top_eigenvalue(model, x, None, tolerance=tolerance, seed=seed).values()
        assert bool(((value + 1).abs() <= residual * value.abs()).all())


def test_an_image_without_a_finite_output_has_none_and_spoils_no_other() -> None:
    model, (x, y) = perceptron(SHAPE), images(3, SHAPE)
    expected = top_eigenvalue(model, x, y)["top_eigenvalue"]
    x[1] = torch.nan
    for values in top_eigenvalue(model, x, y).values():
        assert values.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(top_eigenvalue(model, x, y)["top_eigenvalue"][::2], expected[::2])


def test_half_precision_scores_are_single() -> None:
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    expected = top_eigenvalue(model, x, y)["top_eigenvalue"].float()
    found = top_eigenvalue(model.to(torch.bfloat16), x.bfloat16(), y, tolerance=0.1)
    assert all(values.dtype == torch.float32 for values in found.values())
    torch.testing.assert_close(found["top_eigenvalue"], expected, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"tolerance": 0.0}, {"tolerance": float("nan")}, {"seed": -1}, {"steps": 2.5}], ids=repr
)
def test_bad_arguments_are_named(wrong: dict[str, Any]) -> None:
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    with pytest.raises(ArgumentError, match=f"^{next(iter(wrong))}="):
        top_eigenvalue(model, x, y, **wrong)
