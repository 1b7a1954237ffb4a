"""The share of the pixels that holds half of a map's weight, against a count pixel by pixel, and its limits."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradsculpt.metrics import half_weight


def oracle(pixels: np.ndarray) -> float:
    """Take the largest pixels one by one, in exact numbers, until they weigh as much as the rest."""
    weights = sorted((Fraction(float(value)) for value in np.abs(pixels).ravel()), reverse=True)
    if not any(weights):
        weights = [Fraction(1)] * len(weights)
    taken = Fraction(0)
    for count, weight in enumerate(weights, start=1):
        taken += weight
        if 2 * taken >= sum(weights):
            return count / len(weights)
    raise AssertionError


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), side=st.integers(1, 6), zeros=st.floats(0, 1))
def test_equals_a_count_pixel_by_pixel(seed: int, side: int, zeros: float) -> None:
    random = np.random.default_rng(seed)
    maps = random.integers(-9, 10, size=(3, side, side)) * (random.random((3, side, side)) >= zeros).astype(float)
    expected = [oracle(sample) for sample in maps]
    np.testing.assert_allclose(half_weight(torch.from_numpy(maps)).numpy(), expected, atol=1e-12)


def test_hand_worked() -> None:
    # Of 10, the largest two weigh 4 + 3 = 7 and the largest alone 4.
    assert half_weight(torch.tensor([[[2.0, -4.0], [3.0, -1.0]]])).item() == 0.5
    # The channels of a pixel are added up in magnitude: 2, 2, 2 and 6, of which one holds half.
    channels = torch.tensor([[[[1.0, 1.0], [1.0, 3.0]], [[-1.0, 1.0], [1.0, -3.0]]]])
    assert half_weight(channels).item() == 0.25


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_uniform_and_one_hot(size: int) -> None:
    one_hot = torch.zeros(1, size, 1)
    one_hot[0, size // 2] = 1e-3
    assert half_weight(torch.full((1, 1, size), -0.1)).item() == pytest.approx((size + 1) // 2 / size)
    assert half_weight(one_hot).item() == pytest.approx(1 / size)


def test_large_uniform_map_is_half_in_single_precision() -> None:
    assert half_weight(torch.full((1, 3, 512, 512), 0.1)).item() == 0.5


def test_normal_noise_of_one_channel() -> None:
    # E[|z|; |z| > t] is half of E[|z|] at exp(-t^2 / 2) = 1/2, beyond which 23.9% of the entries lie.
    noise = torch.randn(1, 400, 400, generator=torch.Generator().manual_seed(0))
    assert half_weight(noise).item() == pytest.approx(0.239, abs=0.004)


def test_zero_map_is_uniform() -> None:
    assert half_weight(torch.zeros(2, 3, 4, 5)).tolist() == [0.5, 0.5]
