"""Calibration error, Brier score and likelihood against loops, scikit-learn and torchmetrics."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import brier, calibration_error, negative_log_likelihood


def answers(seed: int, samples: int, classes: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (samples,), generator=generator)


def plain_gaps(logits: np.ndarray, y: np.ndarray, bins: int) -> list[float]:
    confidence, correct = [], []
    for row, label in zip(logits, y, strict=True):
        probabilities = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        confidence.append(probabilities.max())
        correct.append(float(probabilities.argmax() == label))
    place = [max(0, math.ceil(value * bins) - 1) for value in confidence]
    gaps = []
    for mine in place:
        members = [i for i, other in enumerate(place) if other == mine]
        gaps.append(abs(np.mean([confidence[i] for i in members]) - np.mean([correct[i] for i in members])))
    return gaps


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    samples=st.integers(1, 60),
    classes=st.integers(2, 5),
    bins=st.sampled_from([1, 2, 10, 15]),
    scale=st.sampled_from([0.1, 3.0, 100.0]),
)
def test_equal_plain_loops(seed: int, samples: int, classes: int, bins: int, scale: float) -> None:
    logits, y = answers(seed, samples, classes, scale)
    np.testing.assert_allclose(
        calibration_error(logits, y, bins), plain_gaps(logits.numpy(), y.numpy(), bins), atol=1e-12
    )
    squares, logarithms = brier(logits, y), negative_log_likelihood(logits, y)
    for i, row in enumerate(logits.tolist()):
        total = sum(math.exp(value - max(row)) for value in row)
        chances = [math.exp(value - max(row)) / total for value in row]
        expected = sum((chance - (place == int(y[i]))) ** 2 for place, chance in enumerate(chances))
        assert squares[i].item() == pytest.approx(expected, abs=1e-12)
        assert logarithms[i].item() == pytest.approx(max(row) + math.log(total) - row[y[i]], abs=1e-9)


@pytest.mark.parametrize("bins", [5, 15])
def test_the_mean_gap_is_the_expected_calibration_error_of_torchmetrics(bins: int) -> None:
    logits, y = answers(0, 500, 4)
    expected = multiclass_calibration_error(logits.softmax(1), y, num_classes=4, n_bins=bins, norm="l1")
    assert calibration_error(logits, y, bins).mean().item() == pytest.approx(expected.item(), abs=1e-6)


def test_likelihood_equals_scikit_learn() -> None:
    logits, y = answers(1, 50, 4)
    assert negative_log_likelihood(logits, y).mean().item() == pytest.approx(log_loss(y, logits.softmax(1)), abs=1e-9)


def test_a_distance_of_each_confidence_from_its_bins_accuracy_would_be_too_large() -> None:
    logits = torch.tensor([[0.62, 0.38], [0.78, 0.22]]).log()  # both in the bin (0.6, 0.8], one right: 0.7 against 0.5
    gaps = calibration_error(logits, torch.tensor([0, 1]), bins=5)
    torch.testing.assert_close(gaps, torch.tensor([0.2, 0.2]))


def test_an_edge_belongs_to_the_bin_below() -> None:
    logits = torch.tensor([[0.5, 0.5], [0.75, 0.25], [1.0, 1e-300]], dtype=torch.float64).log()
    gaps = calibration_error(logits, torch.zeros(3, dtype=torch.long), bins=2)
    torch.testing.assert_close(gaps, torch.tensor([0.5, 0.125, 0.125], dtype=torch.float64))


def test_certain_answers() -> None:
    logits = torch.tensor([[2000.0, 0.0], [2000.0, 0.0]])
    y = torch.tensor([0, 1])
    assert brier(logits, y).tolist() == [0, 2]
    assert negative_log_likelihood(logits, y).tolist() == [0, 2000]
    assert calibration_error(logits, y).tolist() == [0.5, 0.5]


def test_a_single_logit_is_that_of_the_second_of_two_classes() -> None:
    logits, y = torch.randn(9, generator=torch.Generator().manual_seed(0)).double(), torch.arange(9) % 2
    two = torch.stack([torch.zeros(9), logits], dim=1)
    for measure in (brier, negative_log_likelihood, calibration_error):
        expected = measure(two, y)
        torch.testing.assert_close(measure(logits, y), expected)
        torch.testing.assert_close(measure(logits[:, None], y.int()), expected)
    likelihood = F.binary_cross_entropy_with_logits(logits, y.double(), reduction="none")
    torch.testing.assert_close(negative_log_likelihood(logits, y), likelihood)


@pytest.mark.parametrize("measure", [brier, negative_log_likelihood, calibration_error])
def test_bad_arguments_are_named(measure: Callable[..., Tensor]) -> None:
    logits, y = answers(2, 4, 3)
    for wrong in (logits[None], logits.long(), logits[:, :0]):
        with pytest.raises(ArgumentError, match="logits has shape"):
            measure(wrong, y)
    with pytest.raises(ArgumentError, match="logits holds NaN"):
        measure(logits * math.nan, y)
    for labels in (y[:2], y + 3, y.double()):
        with pytest.raises(ArgumentError, match="class indices"):
            measure(logits, labels)


@pytest.mark.parametrize("bins", [0, -1, 2.5])
def test_bins_must_be_a_number(bins: int) -> None:
    with pytest.raises(ArgumentError, match="bins="):
        calibration_error(*answers(2, 4, 3), bins=bins)
