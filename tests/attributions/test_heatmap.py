"""Heat maps against NumPy's percentile, and the limits: sparse, zero, huge and tiny maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradsculpt.attributions.heatmap import heatmap
from gradsculpt.errors import ArgumentError


def oracle(maps: np.ndarray, clip: float) -> np.ndarray:
    pictures = []
    for sample in maps:
        picture = np.zeros(sample.shape[1:])
        for channel in sample:
            picture = picture + np.abs(channel)
        level = np.percentile(picture, clip)
        if level == 0:
            level = picture.max()
        pictures.append(np.minimum(picture / level, 1.0) if level > 0 else picture)
    return np.stack(pictures)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 9)] * 2),
    clip=st.floats(0, 100),
)
def test_equals_numpy_percentile(seed: int, shape: tuple[int, ...], clip: float) -> None:
    maps = np.random.default_rng(seed).normal(size=shape)
    result = heatmap(torch.from_numpy(maps), clip)
    np.testing.assert_allclose(result.numpy(), oracle(maps, clip), atol=1e-9)


def test_hand_worked_default_cuts_one_per_cent() -> None:
    maps = torch.arange(101.0).view(1, 1, 1, 101)
    expected = torch.arange(101.0).clamp(max=99) / 99
    torch.testing.assert_close(heatmap(maps)[0, 0], expected)


def test_a_few_bright_pixels_stay_visible() -> None:
    maps = torch.zeros(1, 3, 20, 20)
    maps[0, 1, 4, 5] = -2.0
    maps[0, :2, 7, 7] = 2.0
    result = heatmap(maps)
    assert result[0, 7, 7] == 1
    assert result[0, 4, 5] == 0.5
    assert result.sum() == 1.5


def test_zero_map_gives_zeros_beside_others() -> None:
    maps = torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    maps[1] = 0
    result = heatmap(maps)
    assert result.shape == (3, 5, 7)
    assert not result[1].any()
    torch.testing.assert_close(result[2:], heatmap(maps[2:]))


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e37, 3e38])
def test_scale_changes_nothing(scale: float) -> None:
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(heatmap(maps * scale), heatmap(maps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtype_and_input(dtype: torch.dtype) -> None:
    maps = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2)).to(dtype)
    before = maps.clone()
    result = heatmap(maps)
    assert result.dtype == dtype
    assert torch.equal(maps, before)
    assert 0 <= result.min() <= result.max() <= 1


def test_one_pixel_is_full_and_an_empty_batch_stays_empty() -> None:
    assert heatmap(torch.tensor([[[-0.25]]])).item() == 1
    assert heatmap(torch.zeros(0, 3, 4, 5)).shape == (0, 4, 5)


def test_gradients_pass_through() -> None:
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(3), requires_grad=True)
    (gradient,) = torch.autograd.grad(heatmap(maps).sum(), maps)
    assert torch.isfinite(gradient).all()
    assert gradient.any()


@pytest.mark.parametrize(
    ("maps", "clip", "message"),
    [
        (torch.zeros(4, 4), 99, r"maps has shape \[4, 4\]"),
        (torch.zeros(1, 3, 0, 4), 99, r"maps has shape \[1, 3, 0, 4\]"),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), 99, "maps has dtype torch.uint8"),
        (torch.tensor([[[0.0]], [[float("nan")]]]), 99, r"maps holds NaN .*samples \[1\]"),
        (torch.tensor([[[float("inf")]]]), 99, "maps holds NaN or infinite"),
        (torch.zeros(1, 4, 4), 101, "clip=101"),
    ],
)
def test_bad_arguments_are_named(maps: torch.Tensor, clip: float, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        heatmap(maps, clip)
