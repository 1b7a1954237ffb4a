"""Checks let good values pass, and name the bad one, its consequence and a way out."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

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


@dataclass(frozen=True)
class Everything:
    count: int = 1
    size: float = 0.5
    switch: bool = False
    kind: Literal["a", "b"] = "a"
    maybe: int | None = None
    several: tuple[float, ...] = (1.0,)
    pair: tuple[int, int] = (1, 2)
    nested: tuple[tuple[float, ...], ...] | Literal["none"] = "none"
    either: float | Tensor = 0.1
    made: Callable[[int], int] = abs
    anything: Any = None

    def __post_init__(self) -> None:
        checks.each_at_least(self, count=1, maybe=2)


GOOD: dict[str, tuple[Any, ...]] = {
    "count": (1, 2, np.int64(3)),
    "size": (1, 0.25, -2.0, np.float32(0.5)),
    "switch": (True,),
    "kind": ("b",),
    "maybe": (None, 2),
    "several": ((), (1, 2.5), [1.0, 2.0]),
    "pair": ((3, 4), [3, 4]),
    "nested": ("none", ((1.0,), (2, 3)), [[1.0], [2.0]]),
    "either": (1, torch.ones(2)),
    "made": (lambda value: value,),
    "anything": (None, "text", 1),
}
WRONG: dict[str, tuple[tuple[Any, str], ...]] = {
    "count": ((0, "at least 1"), (2.0, "whole"), (True, "whole"), ("2", "whole"), (None, "whole"), (2**63, "whole")),
    "size": ((math.nan, "finite"), (math.inf, "finite"), ("1", "finite"), (None, "finite"), (torch.ones(1), "finite")),
    "switch": ((1, "True or False"), ("true", "True or False"), (None, "True or False")),
    "kind": (("c", "is not known; choose from a, b"), (1, "one of 'a', 'b'"), ([], "one of 'a', 'b'")),
    "maybe": ((1, "at least 2"), (2.5, "whole")),
    "several": ((1.0, "several in brackets"), ((1.0, math.nan), "several=nan is out of range"), ("12", "several")),
    "pair": (((1,), "several"), ((1, 2, 3), "several"), ((1, 2.5), r"pair=2\.5 is out of range; pass a whole number")),
    "nested": (("all", "is not known"), (((1.0,), 2.0), "several in brackets")),
    "either": (("x", "a finite number or a tensor"), (None, "a finite number or a tensor")),
    "made": ((3, "a function"),),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_of_its_type_passes(name: str) -> None:
    for value in GOOD[name]:
        made = replace(Everything(), **{name: value})
        assert not isinstance(getattr(made, name), list | np.generic)
    assert replace(Everything(), nested=[[1.0], [2.0]]).nested == ((1.0,), (2.0,))  # type: ignore[arg-type]
    whole: Any = np.int64(3)
    assert type(replace(Everything(), count=whole).count) is int


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_of_its_type_is_named_with_what_would_be(name: str) -> None:
    for value, message in WRONG[name]:
        with pytest.raises(ArgumentError, match=f"^{name}=.*{message}" if "=" not in message else f"^{message}"):
            replace(Everything(), **{name: value})


def test_types_that_nobody_can_look_up_are_left_open() -> None:
    class Hidden:
        pass

    @dataclass(frozen=True)
    class Own(Everything):
        part: "Hidden | None" = None

    own = Own(part=Hidden())
    checks.declared(own)
    with pytest.raises(ArgumentError, match=r"^count="):
        replace(own, count=2.5)  # type: ignore[arg-type]


def test_a_value_is_told_in_one_short_line() -> None:
    for value in (
        "x" * 1000,
        np.ones((50, 50)),
        torch.ones(50, 50),
        [["a\nb"] * 99],
        torch.nn.Sequential(torch.nn.ReLU()),
    ):
        told = checks.told(value)
        assert "\n" not in told
        assert len(told) < 100


def test_bounds() -> None:
    for good in (None, (0, 1), (torch.zeros(1, 3, 1, 1), 1.0)):
        checks.bounds("bounds", good)
    for wrong in ((1, 0), (0.0, 0.0), (0.0, torch.tensor(math.nan)), (0.0,), 3, "ab", (math.nan, 1.0)):
        with pytest.raises(ArgumentError, match="bounds"):
            checks.bounds("bounds", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, math.nan, "0.5", None, True, torch.tensor(0.5)])
def test_shares_are_not_empty(value: Any) -> None:
    checks.share("k", 1)
    checks.share("k", np.float64(0.5))
    with pytest.raises(ArgumentError, match=r"^k=.*above 0 and up to 1"):
        checks.share("k", value)


@pytest.mark.parametrize("value", ["1", None, [], object()])
def test_what_is_no_number_is_out_of_every_range(value: Any) -> None:
    for check in (checks.positive, partial(checks.at_least, low=0), partial(checks.within, low=0, high=1)):
        with pytest.raises(ArgumentError, match=r"^size=.*is out of range"):
            check("size", value)
    with pytest.raises(ArgumentError, match="is not known"):
        checks.one_of("size", value, ("a", "b"))
