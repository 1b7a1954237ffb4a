"""Top-k sets against sorting by hand, with ties, zeros and shares that do not divide."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import Metric, topk_dice, topk_intersection, topk_mask


def chosen(entries: np.ndarray, k: float, nonzero: bool) -> set[int]:
    values = np.abs(entries).ravel().tolist()
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    if nonzero:
        order = [i for i in order if values[i] != 0]
    if not order:
        return set()
    count = sum(value != 0 for value in values) if nonzero else len(values)
    return set(order[: max(1, math.floor(k * count + 0.5))])


ARGUMENTS = {
    "seed": st.integers(0, 1000),
    "shape": st.tuples(*[st.integers(1, 4)] * 4),
    "k": st.sampled_from([0.01, 0.1, 0.25, 0.4, 0.5, 0.7, 1.0]),
    "nonzero": st.booleans(),
}


def pair(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)  # few levels: many ties and zeros, and zero maps
    a, b = random.integers(-2, 3, size=(2, *shape)).astype(float)
    return a * (random.random() < 0.9), b * (random.random() < 0.9)


@settings(deadline=None, max_examples=100)
@given(**ARGUMENTS)
def test_equals_sorting(seed: int, shape: tuple[int, ...], k: float, nonzero: bool) -> None:
    a, b = pair(seed, shape)
    first, second = torch.from_numpy(a), torch.from_numpy(b)
    marks = topk_mask(first, k, nonzero)
    kept = topk_intersection(first, second, k, nonzero)
    dice = topk_dice(first, second, k, nonzero)
    assert kept.dtype == dice.dtype == torch.float64
    for i in range(len(a)):
        one, two = chosen(a[i], k, nonzero), chosen(b[i], k, nonzero)
        assert set(marks[i].nonzero().flatten().tolist()) == one
        both = len(one & two)
        expected = both / len(one) if one else float(not two)
        assert kept[i].item() == pytest.approx(expected, abs=1e-12)
        assert dice[i].item() == pytest.approx(2 * both / (len(one) + len(two)) if one or two else 1, abs=1e-12)


def test_share_is_of_all_or_of_nonzero_entries() -> None:
    maps = torch.zeros(1, 1, 100)
    maps[0, 0, :10] = torch.arange(10.0, 0.0, -1.0)
    assert topk_mask(maps, 0.4).sum() == 40
    assert topk_mask(maps, 0.4, nonzero=True).sum() == 4


def test_ties_take_the_lower_index_first() -> None:
    assert topk_mask(torch.ones(1, 2, 3, 4), 0.5)[0].tolist() == [True] * 12 + [False] * 12


def test_large_ties_and_counts_are_exact() -> None:
    maps = torch.zeros(1, 3, 512, 512)
    maps[0, 2, -1, -1] = 1.0
    marks = topk_mask(maps, 0.4)[0]
    assert marks.sum() == math.floor(0.4 * 3 * 512 * 512 + 0.5)
    assert marks[-1]
    assert marks[: marks.sum() - 1].all()


def test_sign_does_not_matter() -> None:
    a = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert topk_intersection(a, -a).tolist() == [1, 1]


def test_disjoint_maps_share_nothing() -> None:
    a, b = torch.zeros(2, 1, 1, 10)
    a[..., :5], b[..., 5:] = 1.0, 1.0
    assert topk_intersection(a, b, 0.5).item() == topk_dice(a, b, 0.5).item() == 0


def test_intersection_is_relative_to_the_first_map() -> None:
    a, b = torch.tensor([[[3.0, 0.0, 0.0, 0.0]]]), torch.tensor([[[3.0, 2.0, 2.0, 2.0]]])
    assert topk_intersection(a, b, 1.0, nonzero=True).item() == 1
    assert topk_intersection(b, a, 1.0, nonzero=True).item() == 0.25


@pytest.mark.parametrize("measure", [topk_intersection, topk_dice])
def test_zero_maps(measure: Metric[..., Tensor]) -> None:
    a, b = torch.zeros(2, 1, 3, 3)
    some = torch.eye(3)[None]
    assert measure(a, b).item() == 1
    assert measure(a, b, nonzero=True).item() == 1
    assert measure(a, some, nonzero=True).item() == 0
    assert measure(some, a, nonzero=True).item() == 0


@pytest.mark.parametrize("k", [0.0, -0.1, 1.5, 40, float("nan")])
def test_k_must_be_a_share(k: float) -> None:
    maps = torch.ones(1, 2, 2)
    with pytest.raises(ArgumentError, match="is not a share"):
        topk_intersection(maps, maps, k=k)


def test_bad_maps_are_named() -> None:
    good, bad = torch.zeros(1, 4, 4), torch.full((1, 4, 4), float("nan"))
    with pytest.raises(ArgumentError, match="b holds NaN"):
        topk_dice(good, bad)
    with pytest.raises(ArgumentError, match="a has shape"):
        topk_dice(good, good[:, None])
