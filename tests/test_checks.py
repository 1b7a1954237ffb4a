"""Checks let good values pass, and name the bad one, its consequence and a way out."""

import math

import numpy as np
import pytest
import torch

from gradsculpt import checks
from gradsculpt.errors import (
    ArgumentError,
    ConvergenceError,
    DataError,
    GradsculptError,
    ModelError,
    RunError,
)


def test_every_error_is_a_gradsculpt_error() -> None:
    for error in (ArgumentError, ConvergenceError, DataError, ModelError, RunError):
        assert issubclass(error, GradsculptError)
    assert issubclass(ArgumentError, ValueError)


@pytest.mark.parametrize("value", [0.4, -1, math.nan, math.inf])
def test_at_least_lets_pass_what_is_no_less_and_refuses_the_rest(value: float) -> None:
    for good in (0.5, 0.6, 2, torch.tensor([0.5, 3.0])):
        checks.at_least("size", good, 0.5)
    with pytest.raises(ArgumentError, match=rf"size={value}.*at least 0\.5"):
        checks.at_least("size", value, 0.5)


@pytest.mark.parametrize("entries", [[1.0, 0.4], [1.0, math.nan], []])
def test_at_least_refuses_tensors(entries: list[float]) -> None:
    with pytest.raises(ArgumentError, match=rf"size=tensor of shape \[{len(entries)}\]"):
        checks.at_least("size", torch.tensor(entries), 0.5)


@pytest.mark.parametrize("value", [0, 0.0, -2.0, math.nan, math.inf])
def test_positive_lets_pass_what_is_more_than_0_and_refuses_the_rest(value: float) -> None:
    for good in (1e-300, 3, torch.tensor([0.5, 3.0])):
        checks.positive("step", good)
    with pytest.raises(ArgumentError, match=rf"step={value}.*greater than 0"):
        checks.positive("step", value)


def test_within() -> None:
    for value in (0.0, 0.5, 1.0):
        checks.within("share", value, 0, 1)
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ArgumentError, match=rf"share={value}.*from 0 to 1"):
            checks.within("share", value, 0, 1)


def test_one_of() -> None:
    checks.one_of("kind", "a", ("a", "b"))
    with pytest.raises(ArgumentError, match="kind='c' is not known; choose from a, b"):
        checks.one_of("kind", "c", ("a", "b"))


def test_images() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        checks.images("x", torch.zeros(2, 3, 4, 5, dtype=dtype))
    checks.images("x", torch.zeros(0, 3, 4, 5), some=False)
    with pytest.raises(ArgumentError, match="x is empty"):
        checks.images("x", torch.zeros(0, 3, 4, 5))
    with pytest.raises(ArgumentError, match=r"x has shape \[3, 4, 5\].*x\[None\]"):
        checks.images("x", torch.zeros(3, 4, 5))
    with pytest.raises(ArgumentError, match=r"x has dtype torch\.uint8.*/ 255"):
        checks.images("x", torch.zeros(1, 3, 4, 5, dtype=torch.uint8))


def test_same_shape() -> None:
    checks.same_shape("a", torch.zeros(2, 3), "b", torch.ones(2, 3))
    with pytest.raises(ArgumentError, match=r"a has shape \[2, 3\] but b has \[3, 2\]"):
        checks.same_shape("a", torch.zeros(2, 3), "b", torch.ones(3, 2))


def test_labels() -> None:
    checks.labels(torch.tensor([0, 2]), 2, 3)
    checks.labels(torch.tensor([0, 7]), 2)
    with pytest.raises(ArgumentError, match="the batch is empty"):
        checks.labels(torch.zeros(0, dtype=torch.int64), 0, 3)
    for same in ([2, 1], (2, 1), np.array([2, 1], np.uint8), torch.tensor([2, 1], dtype=torch.int32)):
        assert torch.equal(checks.labels(same, 2, 3), torch.tensor([2, 1]))
    assert torch.equal(checks.labels(2, 3), torch.tensor([2, 2, 2]))
    assert torch.equal(checks.labels(torch.tensor([True, False]), 2), torch.tensor([1, 0]))
    for none in (None, "cat", ["cat", "dog"], [[0], [1, 2]], object()):
        with pytest.raises(ArgumentError, match=r"are no numbers|have shape"):
            checks.labels(none, 2)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"shape \[2, 1\].*shape \[2\]"):
        checks.labels(torch.zeros(2, 1, dtype=torch.int64), 2)
    with pytest.raises(ArgumentError, match=r"shape \[3\].*shape \[2\]"):
        checks.labels(torch.zeros(3, dtype=torch.int64), 2)
    with pytest.raises(ArgumentError, match=r"dtype torch\.float32"):
        checks.labels(torch.zeros(2), 2)
    for wrong in ([0, 3], [-1, 0]):
        with pytest.raises(ArgumentError, match=rf"from {wrong[0]} to {wrong[1]} but the model has 3 outputs.*0 to 2"):
            checks.labels(torch.tensor(wrong), 2, 3)
