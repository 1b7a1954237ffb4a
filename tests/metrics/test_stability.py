"""Likeness of two runs against plain NumPy, and where maps are zero."""

from typing import Any

import numpy as np
import pytest
import torch
from skimage import metrics as skimage_metrics

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import stability

structural_similarity: Any = skimage_metrics.structural_similarity  # its types are not declared


def heat(maps: np.ndarray) -> np.ndarray:
    summed = np.abs(maps).sum(axis=0)
    return np.asarray(summed / summed.max())


def top(picture: np.ndarray, k: float) -> set[int]:
    values = picture.ravel()
    order = sorted(np.flatnonzero(values), key=lambda i: (-values[i], i))
    return {int(place) for place in order[: max(1, int(k * len(order) + 0.5))]}


@pytest.mark.parametrize("k", [0.4, 0.1])
def test_equals_plain_numpy(k: float) -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 4, 3, 14, 17))
    a[:, :, :, 5:9] = 0  # pixels without attribution, in one run only
    b = 100 * (b + 0.7 * a)
    found = stability(torch.from_numpy(a), torch.from_numpy(b), k)
    assert list(found) == ["ssim", "topk_dice"]
    for i in range(4):
        u, v = heat(a[i]), heat(b[i])
        peak = max(u.max(), v.max())
        likeness = structural_similarity(
            u, v, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=peak
        )
        one, two = top(u, k), top(v, k)
        assert found["ssim"][i].item() == pytest.approx(likeness, abs=1e-6)
        assert found["topk_dice"][i].item() == pytest.approx(2 * len(one & two) / (len(one) + len(two)))


def test_the_scale_of_a_run_does_not_matter() -> None:
    a, b = torch.randn(2, 2, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name, values in stability(a, b).items():
        torch.testing.assert_close(stability(-50 * a, b)[name], values, atol=1e-9, rtol=0)


def test_zero_maps() -> None:
    zero, some = torch.zeros(1, 12, 12), torch.eye(12)[None]
    assert {name: values.item() for name, values in stability(zero, zero).items()} == {"ssim": 1, "topk_dice": 1}
    for found in (stability(zero, some), stability(some, zero)):
        assert found["topk_dice"].item() == 0
        assert found["ssim"].item() < 0.9


def test_bad_arguments_are_named() -> None:
    maps = torch.ones(1, 4, 4)
    with pytest.raises(ArgumentError, match="a has shape"):
        stability(maps, maps[:, :2])
    with pytest.raises(ArgumentError, match="b holds NaN"):
        stability(maps, maps * float("nan"))
    with pytest.raises(ArgumentError, match="k=0"):
        stability(maps, maps, k=0)
