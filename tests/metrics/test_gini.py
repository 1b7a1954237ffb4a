"""Gini index against its definition as a mean absolute difference, and its limits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradsculpt.metrics import gini


def oracle(entries: np.ndarray) -> float:
    """Half the relative mean absolute difference, over all pairs."""
    values = np.abs(entries).ravel()
    if values.sum() == 0:
        return 0.0
    differences = sum(abs(x - y) for x in values for y in values)
    return float(differences / (2 * len(values) * values.sum()))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), shape=st.tuples(*[st.integers(1, 4)] * 4), zeros=st.floats(0, 1))
def test_equals_all_pairs(seed: int, shape: tuple[int, ...], zeros: float) -> None:
    random = np.random.default_rng(seed)
    maps = random.normal(size=shape) * (random.random(shape) >= zeros)
    expected = [oracle(sample) for sample in maps]
    np.testing.assert_allclose(gini(torch.from_numpy(maps)).numpy(), expected, atol=1e-12)


def test_hand_worked() -> None:
    # Sorted 1, 2, 3, 4: sum of (2 i - 5) x_i = -3 - 2 + 3 + 12 = 10, over 4 * 10.
    assert gini(torch.tensor([[[2.0, -4.0], [3.0, -1.0]]])).item() == pytest.approx(0.25)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_uniform_and_one_hot(size: int) -> None:
    uniform = torch.full((1, 1, size), -0.1)
    one_hot = torch.zeros(1, size, 1)
    one_hot[0, size // 2] = 1e-3
    assert gini(uniform).item() == pytest.approx(0, abs=1e-7)
    assert gini(one_hot).item() == pytest.approx((size - 1) / size)


def test_large_uniform_map_is_zero_in_single_precision() -> None:
    assert gini(torch.full((1, 3, 512, 512), 0.1)).item() == pytest.approx(0, abs=1e-6)


def test_zero_map_is_zero() -> None:
    assert gini(torch.zeros(2, 3, 4, 5)).tolist() == [0, 0]


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e30, 3e38])
def test_scale_changes_nothing(scale: float) -> None:
    maps = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gini(maps * scale), gini(maps), rtol=1e-4, atol=1e-5)


def test_adding_zeros_raises_and_cloning_keeps_it() -> None:
    maps = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert gini(torch.cat([maps, torch.zeros_like(maps)], dim=1)) > gini(maps)
    torch.testing.assert_close(gini(torch.cat([maps, maps], dim=1)), gini(maps))
