"""Maps of noisy neighbours: against plain loops, closed forms and Quantus, and where they are not defined."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from skimage import metrics as skimage_metrics
from tests.metrics.smooth import images, perceptron, quadratic, symmetric
from torch import Tensor, nn

from gradsculpt.attributions import Gradient, InputXGradient
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Metric, Neighbourhood, local_lipschitz, max_sensitivity, rps

structural_similarity: Any = skimage_metrics.structural_similarity  # its types are not declared
SHAPE = (2, 12, 13)
BOUNDS = (torch.full((1, 2, 1, 1), -1.0), torch.tensor([1.5, 2.0]).view(1, 2, 1, 1))
EPS = torch.tensor([0.2, 0.5]).view(1, 2, 1, 1)


def drawn(shape: tuple[int, ...], draws: int, seed: int = 0) -> np.ndarray:
    """Return the uniform noise in [-1, 1] of every draw, one after the other from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return np.stack([2 * torch.rand(shape, generator=generator).numpy() - 1 for _ in range(draws)]).astype(float)


def moved(x: Tensor, draws: int, *, bounded: bool = True) -> np.ndarray:
    noisy = x.numpy()[None] + drawn(tuple(x.shape[1:]), draws)[:, None] * EPS.numpy()
    return np.asarray(np.clip(noisy, BOUNDS[0].numpy(), BOUNDS[1].numpy()) if bounded else noisy)


def maps_of(model: nn.Module, x: np.ndarray, y: Tensor) -> np.ndarray:
    point = torch.from_numpy(x).requires_grad_()
    model(point).gather(1, y[:, None]).sum().backward()
    return np.asarray(point.grad)


def picture(maps: np.ndarray) -> np.ndarray:
    """Return |h| added up over the channels, over its largest value."""
    flat = np.abs(maps).sum(axis=0)
    return np.asarray(flat / flat.max())


@pytest.mark.parametrize("compare", ["raw", "heatmap"])
def test_rps_equals_a_plain_loop(compare: Literal["raw", "heatmap"]) -> None:
    model, (x, y) = perceptron(SHAPE), images(3, SHAPE)
    found = rps(model, Gradient(), x, y, EPS, Neighbourhood(4, BOUNDS), compare=compare)
    clean, expected = maps_of(model, x.numpy(), y), np.zeros((3, 3, 4))
    for s, noisy in enumerate(moved(x, 4)):
        for i, (a, b) in enumerate(zip(clean, maps_of(model, noisy, y), strict=True)):
            u, v = (picture(a), picture(b)) if compare == "heatmap" else (a, b)
            expected[0, i, s] = (u * v).sum() / np.linalg.norm(u.ravel()) / np.linalg.norm(v.ravel())
            expected[1, i, s] = pearsonr(u.ravel(), v.ravel()).statistic
            expected[2, i, s] = structural_similarity(
                picture(a), picture(b), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
            )
    for name, values in zip(("cosine", "pearson", "ssim"), expected.mean(axis=2), strict=True):
        np.testing.assert_allclose(found[name], values, atol=1e-6 if name == "ssim" else 1e-12)
        assert found[name].dtype == torch.float64
    assert float(found["cosine"].max()) < 0.999


def test_rps_of_a_linear_model_is_perfect_and_of_an_opposite_map_is_not() -> None:
    x, y = images(2, (1, 4, 4))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    for values in rps(linear, Gradient(), x, y, 1.0).values():
        torch.testing.assert_close(values, torch.ones(2, dtype=torch.float64))
    even: Model = lambda x: x.flatten(1).square()  # noqa: E731 - the gradient 2 x changes its sign with x
    x, y = torch.full((1, 1, 1, 1), 1e-9, dtype=torch.float64), torch.tensor([0])
    signs = np.sign(drawn((1, 1, 1), 50)).mean()
    found = rps(even, Gradient(), x, y, 1.0, Neighbourhood(50))
    assert found["cosine"].item() == pytest.approx(signs)
    assert rps(even, Gradient(), x, y, 1.0, Neighbourhood(50), compare="heatmap")["cosine"].item() == 1


def test_no_noise_changes_nothing() -> None:
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    for values in rps(model, InputXGradient(), x, y, 0.0).values():
        torch.testing.assert_close(values, torch.ones(2, dtype=torch.float64))
    assert local_lipschitz(model, Gradient(), x, y, 0.0).tolist() == [0, 0]
    assert max_sensitivity(model, Gradient(), x, y, 0.0).max() < 1e-15


@pytest.mark.parametrize("relative", [False, True])
def test_lipschitz_and_sensitivity_equal_a_plain_loop(relative: bool) -> None:
    model, (x, y) = perceptron(SHAPE), images(3, SHAPE)
    clean, ratios, changes = maps_of(model, x.numpy(), y), np.zeros((5, 3)), np.zeros((5, 3))
    for s, noisy in enumerate(moved(x, 5)):
        near = maps_of(model, noisy, y)
        for i in range(3):
            whole = np.linalg.norm(clean[i].ravel()) if relative else 1.0
            changes[s, i] = np.linalg.norm((near[i] - clean[i]).ravel()) / whole
            ratios[s, i] = changes[s, i] / np.linalg.norm((noisy[i] - x.numpy()[i]).ravel())
    for measure, expected in ((local_lipschitz, ratios), (max_sensitivity, changes)):
        found = measure(model, Gradient(), x, y, EPS, Neighbourhood(5, BOUNDS), relative=relative)
        np.testing.assert_allclose(found, expected.max(axis=0), rtol=1e-10)


def test_lipschitz_is_at_most_the_spectral_norm_and_finds_an_isotropic_one() -> None:
    x, y = images(2, (1, 2, 3))
    matrix = symmetric(6)
    largest = torch.linalg.matrix_norm(matrix, ord=2)
    model, many = quadratic(matrix, torch.zeros(6).double()), Neighbourhood(200)
    found = local_lipschitz(model, Gradient(), x, torch.zeros_like(y), 0.5, many)
    assert bool((found <= largest * (1 + 1e-9)).all())
    assert bool((found > 0.7 * largest).all())
    even = quadratic(3 * torch.eye(6).double(), torch.ones(6).double())
    torch.testing.assert_close(
        local_lipschitz(even, Gradient(), x, torch.zeros_like(y), 0.5), torch.full((2,), 3.0, dtype=torch.float64)
    )


def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
    return maps_of(model, np.asarray(inputs, dtype=float), torch.as_tensor(targets))


def noise_of(x: Tensor, draws: int) -> Callable[..., np.ndarray]:
    """Return a perturbation for Quantus that hands out our own neighbours, so that both read the same ones."""
    waiting = list(moved(x, draws, bounded=False))

    def perturb(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        return np.asarray(waiting.pop(0).reshape(arr.shape))

    return perturb


@pytest.mark.parametrize(("name", "measure"), [("MaxSensitivity", max_sensitivity), ("LocalLipschitzEstimate", None)])
def test_equals_quantus(name: str, measure: Metric[..., Tensor] | None) -> None:
    quantus = pytest.importorskip("quantus")
    model, (x, y) = perceptron(SHAPE), images(3, SHAPE)
    theirs = getattr(quantus, name)(
        nr_samples=4, abs=False, normalise=False, perturb_func=noise_of(x, 4), disable_warnings=True
    )
    arguments = {"x_batch": x.numpy(), "y_batch": y.numpy(), "a_batch": maps_of(model, x.numpy(), y)}
    expected = theirs(model=model, **arguments, explain_func=explain, channel_first=True)
    if measure is None:
        found = local_lipschitz(model, Gradient(), x, y, EPS, Neighbourhood(4))
    else:  # Quantus divides by the norm of the clean map
        found = measure(model, Gradient(), x, y, EPS, Neighbourhood(4), relative=True)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_zero_map_that_changes_where_quantus_divides_by_zero() -> None:
    """Quantus' MaxSensitivity divides by the norm of the clean map without a guard, and returns inf or NaN."""
    model: Model = lambda x: x.flatten(1).relu().square()  # noqa: E731
    x, y = torch.tensor([0.0, -9.0, 2.0]).view(3, 1, 1, 1), torch.zeros(3, dtype=torch.long)
    found = max_sensitivity(model, Gradient(), x, y, 1.0, relative=True)
    assert found[:2].tolist() == [1, 0]  # 0 that becomes something, and 0 that stays
    assert 0 < found[2] <= 0.5
    assert local_lipschitz(model, Gradient(), x, y, 1.0, relative=True).isfinite().all()
    for values in rps(model, Gradient(), x, y, 1.0).values():
        assert values.isfinite().all()
        assert values[1] == 1


def test_scale_of_the_network() -> None:
    """The l2 criterion grows with the scale of a network and the cosine criterion does not (Lemma 3, Proposition 5)."""
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    loud: Model = lambda x: 5 * model(x)  # noqa: E731
    for measure in (local_lipschitz, max_sensitivity):
        torch.testing.assert_close(measure(loud, Gradient(), x, y, 0.3), 5 * measure(model, Gradient(), x, y, 0.3))
        torch.testing.assert_close(
            measure(loud, Gradient(), x, y, 0.3, relative=True), measure(model, Gradient(), x, y, 0.3, relative=True)
        )
    for name, values in rps(loud, Gradient(), x, y, 0.3).items():
        torch.testing.assert_close(values, rps(model, Gradient(), x, y, 0.3)[name])


def test_tiny_maps_do_not_underflow() -> None:
    model, (x, y) = perceptron(SHAPE).float(), images(2, SHAPE)
    faint: Model = lambda x: 1e-25 * model(x)  # noqa: E731
    x = x.float()
    torch.testing.assert_close(
        max_sensitivity(faint, Gradient(), x, y, 0.3, relative=True),
        max_sensitivity(model, Gradient(), x, y, 0.3, relative=True),
    )


def test_more_draws_never_lower_the_maximum_and_more_noise_lowers_similarity() -> None:
    model, (x, y) = perceptron(SHAPE), images(3, SHAPE)
    for measure in (local_lipschitz, max_sensitivity):
        few, many = (measure(model, Gradient(), x, y, 0.3, Neighbourhood(draws)) for draws in (2, 20))
        assert bool((few <= many).all())
        assert bool((few < many).any())
    levels = [rps(model, Gradient(), x, y, eps)["cosine"].mean() for eps in (0.1, 0.4, 1.6)]
    assert levels[0] > levels[1] > levels[2]


def test_pixel_units_go_through_the_input_space() -> None:
    space = InputSpace(mean=(0.5, 0.4), std=(0.25, 0.2))
    x, y = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    model = perceptron(SHAPE).float()
    seen: list[Tensor] = []

    def watched(inputs: Tensor) -> Tensor:
        seen.append(space.denormalize(inputs.detach()))
        return torch.as_tensor(model(inputs))

    near = Neighbourhood(bounds=space.bounds, batch_size=4)
    rps(watched, Gradient(), space.normalize(x), y, space.pixels(16 / 255), near)
    assert [len(inputs) for inputs in seen] == [2] + [4] * 5  # the clean map once, then two draws at a time
    noise = torch.cat([inputs.view(2, *x.shape) for inputs in seen[1:]]) - x
    assert 15.9 / 255 < noise.abs().max() <= 16 / 255 + 1e-6
    everything = torch.cat(seen)
    assert -1e-6 < everything.min() < 1e-3 < 1 - 1e-3 < everything.max() < 1 + 1e-6


def test_the_class_is_that_of_the_clean_image() -> None:
    model, (x, _) = perceptron(SHAPE), images(6, SHAPE)
    predicted = model(x).argmax(dim=1)
    for name, values in rps(model, Gradient(), x, None, 3.0).items():
        assert torch.equal(values, rps(model, Gradient(), x, predicted, 3.0)[name])


@pytest.mark.parametrize("measure", [rps, local_lipschitz, max_sensitivity])
def test_bad_arguments_are_named(measure: Metric[..., Tensor]) -> None:
    model, (x, y) = perceptron(SHAPE), images(2, SHAPE)
    with pytest.raises(ArgumentError, match=r"^eps="):
        measure(model, Gradient(), x, y, -1.0)
    with pytest.raises(ArgumentError, match=r"^the clean map holds NaN"):
        measure(lambda x: model(x) * float("nan"), Gradient(), x, y, 0.1)
    steep: Model = lambda x: (x.flatten(1) - 9).abs().sqrt()  # noqa: E731 - whose gradient at 9 is infinite
    beyond = Neighbourhood(bounds=(torch.tensor(9.0), torch.tensor(10.0)))
    with pytest.raises(ArgumentError, match=r"^the map of a noisy image holds NaN"):
        measure(steep, Gradient(), torch.full((1, 1, 1, 1), 8.0), 0 * y[:1], 0.0, beyond)
    with pytest.raises(ArgumentError, match=r"^compare="):
        rps(model, Gradient(), x, y, 0.1, compare="sum")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"seed": -1}, {"batch_size": 0}])
def test_a_wrong_neighbourhood_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"^{next(iter(wrong))}="):
        Neighbourhood(**wrong)
