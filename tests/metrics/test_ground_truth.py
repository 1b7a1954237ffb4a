"""Five-band and binary scores against a count pixel by pixel, and maps that cancel or are empty."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradsculpt.attributions.heatmap import heatmap
from gradsculpt.data.cells import draw
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import Metric, binary_scores, five_band_scores

Scorer = Metric[..., dict[str, Tensor]]
KEYS = ["pixel_accuracy", "recall", "precision", "false_positive_rate"]
LEVELS = np.array([0.0, 0.4, 0.9])


def band(value: float, inner: float = 0.3, outer: float = 0.7) -> int:
    if value <= -outer:
        return -2
    if value <= -inner:
        return -1
    if value <= inner:
        return 0
    return 1 if value <= outer else 2


def normalised(sample: np.ndarray) -> np.ndarray:
    total = np.zeros(sample.shape[1:])
    for channel in sample:
        total = total + channel
    top = np.abs(total).max()
    return total / top if top > 0 else total


def count(predicted: list[int], actual: list[int]) -> list[float]:
    tp = fp = tn = fn = equal = 0
    for p, a in zip(predicted, actual, strict=True):
        equal += p == a
        if p != 0 and p == a:
            tp += 1
        elif p != 0:
            fp += 1
        elif a == 0:
            tn += 1
        else:
            fn += 1
    ratios = [(equal, len(actual)), (tp, tp + fn), (tp, tp + fp), (fp, fp + tn)]
    return [part / whole if whole else 0.0 for part, whole in ratios]


def case(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = LEVELS[random.integers(0, 3, size=(shape[0], *shape[2:]))] * (random.random() < 0.9)
    return random.normal(size=shape) * (random.random() < 0.9), truth


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), shape=SHAPES, step=st.integers(0, 55))
def test_five_bands_equal_counting(seed: int, shape: tuple[int, ...], step: int) -> None:
    maps, truth = case(seed, shape)
    inner, outer = 0.3 - 0.005 * step, 0.7 - 0.005 * step
    scores = five_band_scores(torch.from_numpy(maps), torch.from_numpy(truth), thresholds=(inner, outer))
    assert list(scores) == KEYS
    for i in range(len(maps)):
        predicted = [band(v, inner, outer) for v in normalised(maps[i]).ravel()]
        expected = count(predicted, [band(v) for v in truth[i].ravel()])
        np.testing.assert_allclose([scores[key][i].item() for key in KEYS], expected, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), shape=SHAPES)
def test_binary_equals_counting(seed: int, shape: tuple[int, ...]) -> None:
    maps, truth = case(seed, shape)
    scores = binary_scores(torch.from_numpy(maps), torch.from_numpy(truth))
    assert list(scores) == KEYS
    for i in range(len(maps)):
        predicted = [int(band(v) == 2) for v in normalised(maps[i]).ravel()]
        expected = count(predicted, [int(v == 0.9) for v in truth[i].ravel()])
        np.testing.assert_allclose([scores[key][i].item() for key in KEYS], expected, atol=1e-12)


def test_hand_worked_five_bands() -> None:
    # bands of the map   2,  1, 0, -2,  0,  1, all of one image whose largest magnitude is 2
    maps = torch.tensor([[[2.0, 1.0, 0.2, -1.8, 0.0, 1.0]]])
    truth = torch.tensor([[[0.9, 0.9, 0.0, 0.0, 0.4, 0.4]]])
    scores = {key: value.item() for key, value in five_band_scores(maps, truth).items()}
    # true positives 1st and 6th, false positives 2nd (wrong band) and 4th, true negative 3rd, false negative 5th
    assert scores == pytest.approx(
        {"pixel_accuracy": 0.5, "recall": 2 / 3, "precision": 0.5, "false_positive_rate": 2 / 3}
    )


def test_a_value_on_a_threshold_belongs_to_the_lower_band() -> None:
    maps = torch.tensor([[[1.0, 0.75, 0.25, -0.25, -0.75]]], dtype=torch.float64)
    truth = torch.tensor([[[0.9, 0.4, 0.0, 0.0, 0.0]]])
    scores = five_band_scores(maps, truth, thresholds=(0.25, 0.75))
    assert scores["pixel_accuracy"].item() == pytest.approx(3 / 5)  # -0.25 and -0.75 fall below


@pytest.mark.parametrize("scorer", [five_band_scores, binary_scores])
def test_zero_and_cancelling_maps_are_scored(scorer: Scorer) -> None:
    truth = torch.tensor([[[0.9, 0.0, 0.0, 0.0]]])
    exact = torch.stack([torch.ones(1, 4), -torch.ones(1, 4)])[None]
    third = torch.tensor([0.1, 0.2, -0.3]).view(1, 3, 1, 1).expand(1, 3, 1, 4)  # cancels up to rounding
    for maps in (torch.zeros(1, 1, 4), exact, third):
        scores = {key: value.item() for key, value in scorer(maps, truth).items()}
        assert scores == {"pixel_accuracy": 0.75, "recall": 0, "precision": 0, "false_positive_rate": 0}


@pytest.mark.parametrize("scorer", [five_band_scores, binary_scores])
def test_blank_truth_scores_zero_recall_and_precision(scorer: Scorer) -> None:
    maps = torch.tensor([[[1.0, 0.0]]])
    scores = {key: value.item() for key, value in scorer(maps, torch.zeros(1, 1, 2)).items()}
    assert scores == {"pixel_accuracy": 0.5, "recall": 0, "precision": 0, "false_positive_rate": 0.5}


@pytest.mark.parametrize("scorer", [five_band_scores, binary_scores])
def test_truth_in_eight_bits_and_with_a_channel(scorer: Scorer) -> None:
    maps, truth = (torch.from_numpy(part) for part in case(5, (3, 3, 6, 4)))
    expected = scorer(maps, truth)
    bits = torch.tensor([0, 102, 229], dtype=torch.uint8)[(truth / 0.4).long()]
    for other in (truth[:, None], bits, bits[:, None], truth.float()):
        torch.testing.assert_close(scorer(maps, other), expected)


@pytest.mark.parametrize("scorer", [five_band_scores, binary_scores])
def test_the_truth_as_a_map_is_perfect(scorer: Scorer) -> None:
    _, levels = case(8, (2, 1, 9, 5))
    truth = torch.from_numpy(levels)
    scores = scorer(truth, truth)
    assert [scores[key].tolist() for key in KEYS] == [[1, 1], [1, 1], [1, 1], [0, 0]]


def test_five_bands_favour_weak_values_on_the_localisation() -> None:
    truth = torch.from_numpy(np.stack([draw(i, seed=5, size=64).truth for i in range(9)]))
    # Like gradients, most of them are far below the largest.
    maps = torch.empty(truth.shape).exponential_(generator=torch.Generator().manual_seed(0))
    evidence, localisation = (five_band_scores(maps * (truth == level), truth)["precision"] for level in (229, 102))
    assert evidence.mean() < 0.3
    assert localisation.mean() > 0.7
    assert (binary_scores(maps * (truth == 229), truth)["precision"] == 1).all()


def test_binary_merges_localisation_into_background() -> None:
    maps = torch.tensor([[[1.0, 0.5, 0.0, -1.0]]])
    truth = torch.tensor([[[0.9, 0.4, 0.4, 0.0]]])
    assert {key: value.item() for key, value in binary_scores(maps, truth).items()} == {
        "pixel_accuracy": 1,
        "recall": 1,
        "precision": 1,
        "false_positive_rate": 0,
    }
    assert binary_scores(heatmap(maps, clip=100), truth)["false_positive_rate"].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("scorer", [five_band_scores, binary_scores])
@pytest.mark.parametrize(
    ("maps", "truth", "message"),
    [
        (torch.full((1, 2, 2), float("nan")), torch.zeros(1, 2, 2), "maps holds NaN"),
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 3), r"truth has shape \[1, 2, 3\]"),
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, 2), r"truth has shape \[1, 2, 2, 2\]"),
        (torch.zeros(1, 2, 2), torch.full((1, 2, 2), 229.0), "truth .* not all within"),
        (torch.zeros(1, 2, 2), torch.full((1, 2, 2), float("nan")), "truth .* not all within"),
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long), "truth has dtype torch.int64"),
    ],
)
def test_bad_arguments_are_named(scorer: Scorer, maps: Tensor, truth: Tensor, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        scorer(maps, truth)


def test_thresholds_are_checked() -> None:
    maps = torch.zeros(1, 2, 2)
    with pytest.raises(ArgumentError, match="thresholds="):
        five_band_scores(maps, maps, thresholds=(0.7, 0.3))
    with pytest.raises(ArgumentError, match="threshold="):
        binary_scores(maps, maps, threshold=0.0)
