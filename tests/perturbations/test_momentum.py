"""Momentum steps against plain MI-FGSM."""

import numpy as np
import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.penalties import L1, ElasticNet, Harmonization, SquaredL2
from gradsculpt.perturbations import Momentum, OneStep
from tests.penalties.cases import CASES, CLOSED, SHAPE, Case, map_of
from tests.perturbations.losses import Curved, Linear, sought

SLOPE, X = map_of(1, 3, 0.5, 0.3, False), map_of(2, 3, 1.0, 0.0, False)


def gradient(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.asarray(slope + np.cos(2 * x))


def plain_mi_fgsm(x: np.ndarray, slope: np.ndarray, eps: float, steps: int, decay: float) -> np.ndarray:
    """Algorithm 1 of Dong et al. on one image, without a target and without the range of pixels."""
    g, x_adv = np.zeros_like(x), x
    for _ in range(steps):
        now = gradient(x_adv, slope)
        g = decay * g + now / np.abs(now).sum()
        x_adv = np.clip(x_adv + eps / steps * np.sign(g), x - eps, x + eps)
    return np.asarray(x_adv - x)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_for_l1_it_is_mi_fgsm(steps: int, decay: float) -> None:
    found = sought(Momentum(steps, decay), Curved(SLOPE), X, L1(2.0))
    for i in range(len(X)):
        wanted = plain_mi_fgsm(X[i].numpy(), SLOPE[i].numpy(), 2.0, steps, decay)
        np.testing.assert_allclose(found[i].numpy(), wanted, rtol=1e-12, atol=1e-15)


def test_momentum_changes_the_result_where_gradients_turn() -> None:
    results = [sought(Momentum(6, decay), Curved(SLOPE), X, L1(2.0)) for decay in (0.0, 0.5, 1.0)]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_step_is_one_step(case: Case) -> None:
    found = sought(Momentum(1), Curved(SLOPE), X, case.batch(3))
    torch.testing.assert_close(found, sought(OneStep(), Curved(SLOPE), X, case.batch(3)), rtol=1e-9, atol=1e-12)


def test_without_memory_each_step_is_the_dual_of_its_own_gradient() -> None:
    penalty, delta = ElasticNet(0.1, 0.3), torch.zeros_like(X)
    for _ in range(4):
        delta = delta + penalty.dual(torch.from_numpy(gradient((X + delta).numpy(), SLOPE.numpy()))) / 4
    torch.testing.assert_close(sought(Momentum(4, decay=0.0), Curved(SLOPE), X, penalty), delta)


def test_the_size_of_the_momentum_is_the_weighted_mean_of_the_gradients_sizes() -> None:
    found = sought(Momentum(2, decay=0.5), Curved(SLOPE), X, SquaredL2(0.3))
    for i in range(len(X)):
        x, slope = X[i].numpy(), SLOPE[i].numpy()
        first = gradient(x, slope)
        delta = 2 * 0.3 * first / 2
        second = gradient(x + delta, slope)
        sizes = np.abs(first).sum(), np.abs(second).sum()
        direction = (0.5 * first / sizes[0] + second / sizes[1]) / 1.5
        momentum = direction * (0.5 * sizes[0] + sizes[1]) / 1.5
        np.testing.assert_allclose(found[i].numpy(), delta + 2 * 0.3 * momentum / 2, rtol=1e-12)


@pytest.mark.parametrize("case", CLOSED, ids=lambda case: case.name)
@pytest.mark.parametrize("decay", [0.3, 1.0])
def test_delta_stays_inside_the_domain_of_the_conjugate(case: Case, decay: float) -> None:
    for steps in (2, 5, 9):
        penalty = case.batch(3)
        delta = sought(Momentum(steps, decay), Curved(SLOPE), X, penalty)
        assert bool(penalty.conjugate(delta * (1 - 1e-12)).isfinite().all())


class Steep(Linear):
    """Flat at the second step: every other gradient is 0."""

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, slope = super().__call__(x)
        return values, slope * (len(self.asked) % 2)


def test_a_gradient_of_zero_leaves_the_momentum() -> None:
    delta = sought(Momentum(2, decay=1.0), Steep(SLOPE), X, L1(0.4))
    torch.testing.assert_close(delta, 0.4 * SLOPE.sign())
    assert sought(Momentum(2, decay=0.0), Steep(SLOPE), X, L1(0.4)).abs().max() == 0.2


def test_no_proximal_map_is_needed() -> None:
    attention = torch.rand(3, 1, *SHAPE[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert sought(Momentum(3), Curved(SLOPE), X, Harmonization(0.5).given(attention)).any()


@pytest.mark.parametrize(("options", "message"), [({"steps": 0}, "steps=0"), ({"decay": -0.1}, "decay=-0.1")])
def test_wrong_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Momentum(**options)  # type: ignore[arg-type]
