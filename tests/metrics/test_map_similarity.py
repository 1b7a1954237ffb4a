"""Cosine, Pearson, Spearman and SSIM against plain NumPy, SciPy and scikit-image, and where they are not defined."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import Metric, cosine, pearson, spearman, ssim

SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(2, 6))


def pair(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=shape), random.normal(size=shape)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), shape=SHAPES, signed=st.booleans())
def test_cosine_equals_numpy(seed: int, shape: tuple[int, ...], signed: bool) -> None:
    a, b = pair(seed, shape)
    u, v = (a, b) if signed else (np.abs(a), np.abs(b))
    expected = [np.vdot(x, y) / np.sqrt(np.vdot(x, x) * np.vdot(y, y)) for x, y in zip(u, v, strict=True)]
    np.testing.assert_allclose(cosine(torch.from_numpy(a), torch.from_numpy(b), signed), expected, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), shape=SHAPES, signed=st.booleans())
def test_pearson_equals_scipy(seed: int, shape: tuple[int, ...], signed: bool) -> None:
    a, b = pair(seed, shape)
    u, v = (a, b) if signed else (np.abs(a), np.abs(b))
    expected = [pearsonr(x.ravel(), y.ravel()).statistic for x, y in zip(u, v, strict=True)]
    np.testing.assert_allclose(pearson(torch.from_numpy(a), torch.from_numpy(b), signed), expected, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), shape=SHAPES, signed=st.booleans(), levels=st.sampled_from([2, 3, 1000]))
def test_spearman_equals_scipy(seed: int, shape: tuple[int, ...], signed: bool, levels: int) -> None:
    a, b = (np.round(m * levels / 2) for m in pair(seed, shape))  # few levels make many ties
    a.reshape(len(a), -1)[:, 0] = 7.0  # no map is constant
    b.reshape(len(b), -1)[:, -1] = -9.0
    u, v = (a, b) if signed else (np.abs(a), np.abs(b))
    expected = [
        spearmanr(x.ravel(), y.ravel()).statistic if x.size > 1 and np.ptp(x) and np.ptp(y) else None
        for x, y in zip(u, v, strict=True)
    ]
    found = spearman(torch.from_numpy(a), torch.from_numpy(b), signed).tolist()
    for value, truth in zip(found, expected, strict=True):
        assert truth is None or value == pytest.approx(truth, abs=1e-9)


def test_spearman_of_large_single_precision_maps_equals_scipy() -> None:
    a, b = (torch.from_numpy(m).float() for m in pair(1, (2, 3, 90, 110)))
    b = a + b
    expected = [spearmanr(x.abs().flatten(), y.abs().flatten()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(spearman(a, b), expected, atol=1e-6)


def test_spearman_sees_nothing_but_the_order() -> None:
    maps = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(spearman(maps, maps.exp() ** 9), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(spearman(maps, 1 / (0.1 + maps)), -torch.ones(2, dtype=torch.float64))


def test_spearman_of_constant_maps() -> None:
    constant, varying = torch.full((1, 5, 7), 0.1), torch.arange(35.0).view(1, 5, 7)
    assert spearman(constant, varying).item() == 0
    assert spearman(varying, constant).item() == 0
    assert spearman(constant, 3 * constant).item() == 1


@pytest.mark.parametrize("measure", [cosine, pearson, spearman])
def test_zero_maps(measure: Metric[..., Tensor]) -> None:
    maps = torch.tensor([[[1.0, 2.0, 4.0]], [[0.0, 0.0, 0.0]]])
    assert measure(maps, torch.zeros_like(maps)).tolist() == [0, 1]


def test_pearson_of_constant_maps() -> None:
    constant = torch.full((1, 5, 7), 0.1)
    varying = torch.arange(35.0).view(1, 5, 7)
    assert pearson(constant, varying).item() == 0
    assert pearson(varying, constant).item() == 0
    assert pearson(constant, 3 * constant).item() == 1


def test_pearson_of_a_tiny_variation_on_a_large_offset() -> None:
    random = np.random.default_rng(0)
    steps = random.integers(0, 4, size=(2, 1, 20, 20))
    a, b = (1 + 2.0**-23 * steps + 2.0**-23 * steps[0]).astype(np.float32)
    expected = pearsonr(steps[0].ravel(), (steps[0] + steps[1]).ravel()).statistic
    assert pearson(torch.from_numpy(a), torch.from_numpy(b)).item() == pytest.approx(expected, abs=1e-5)


def test_pearson_of_equal_maps_is_one_whatever_their_size() -> None:
    for size in (2, 8, 300):
        maps = torch.rand(1, 1, size, generator=torch.Generator().manual_seed(size)) + 5
        assert pearson(maps, maps).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("measure", [cosine, pearson])
@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e25, 1e38])
def test_scale_changes_nothing(measure: Metric[..., Tensor], scale: float) -> None:
    a, b = (torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    scaled = measure(a * scale, b)
    torch.testing.assert_close(scaled, measure(a, b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 11, 11), (2, 3, 16, 24), (1, 40, 12), (2, 1, 32, 32)])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_ssim_equals_scikit_image(shape: tuple[int, ...], scale: float) -> None:
    a, b = pair(0, shape)
    b = a + 0.3 * b
    expected = []
    for x, y in zip(a, b, strict=True):
        u, v = (np.abs(m) if m.ndim == 2 else np.abs(m).sum(axis=0) for m in (x, y))
        top = max(u.max(), v.max())
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected.append(structural_similarity(u, v, data_range=top, **options))  # type: ignore[no-untyped-call]
    result = ssim(torch.from_numpy(a * scale), torch.from_numpy(b * scale))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-9)
    single = ssim(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-4)


def small_window_oracle(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM by the formula, window by window, for one picture smaller than 11 pixels in some direction."""
    kernels, radii = [], []
    for side in x.shape:
        radius = min(5, (side - 1) // 2)
        offsets = np.arange(-radius, radius + 1)
        weights = np.exp(-(offsets**2) / (2 * (0.3 * radius) ** 2)) if radius else np.ones(1)
        kernels.append(weights / weights.sum())
        radii.append(radius)
    window = np.outer(*kernels)
    top = max(x.max(), y.max())
    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    values = []
    for i in range(radii[0], x.shape[0] - radii[0]):
        for j in range(radii[1], x.shape[1] - radii[1]):
            cut = np.s_[i - radii[0] : i + radii[0] + 1, j - radii[1] : j + radii[1] + 1]
            mx, my = (window * x[cut]).sum(), (window * y[cut]).sum()
            vx, vy = (window * (x[cut] - mx) ** 2).sum(), (window * (y[cut] - my) ** 2).sum()
            cov = (window * (x[cut] - mx) * (y[cut] - my)).sum()
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (2, 2), (3, 5), (4, 12), (10, 10), (20, 7), (11, 1)])
def test_ssim_of_small_maps_shrinks_the_window(shape: tuple[int, int]) -> None:
    a, b = (np.abs(m) for m in pair(3, shape))
    result = ssim(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    assert result.item() == pytest.approx(small_window_oracle(a, b), abs=1e-9)


def test_ssim_of_constants_and_zeros() -> None:
    zero, one = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    assert ssim(zero, zero).item() == 1
    assert ssim(one, one).item() == pytest.approx(1, abs=1e-5)
    nudged = one * (1 + 2e-7)  # equal but for rounding: no jump
    assert ssim(one, nudged).item() == pytest.approx(1, abs=1e-3)
    assert ssim(one, 0.5 * one).item() == pytest.approx((2 * 0.5 + 1e-4) / (1.25 + 1e-4), abs=1e-4)
    assert ssim(zero, one).item() == pytest.approx(1e-4 / (1 + 1e-4), abs=1e-6)


def test_ssim_range_is_each_pairs_own() -> None:
    a, b = (torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    loud = torch.tensor([1.0, 1e6]).view(2, 1, 1)
    torch.testing.assert_close(ssim(a * loud, b * loud), ssim(a, b), atol=1e-4, rtol=0)


@pytest.mark.parametrize("measure", [cosine, pearson, spearman, ssim])
def test_bad_arguments_are_named(measure: Metric[..., Tensor]) -> None:
    good, bad = torch.zeros(1, 4, 4), torch.full((1, 4, 4), float("nan"))
    with pytest.raises(ArgumentError, match="b holds NaN"):
        measure(good, bad)
    with pytest.raises(ArgumentError, match=r"a has shape \[1, 4, 4\] but b has \[1, 1, 4, 4\]"):
        measure(good, good[:, None])
