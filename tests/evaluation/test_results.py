"""Numbers as text: digits that a score deserves, in one place for table, page and console."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.errors import RunError
from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.evaluation.results import Curve, figures
from gradsculpt.metrics import Score

FRACTION = Score("share", 0.0, 1.0, "higher", "fraction")
BETWEEN = Score("r", -1.0, 1.0, "higher")
COUNT = Score("components", 0.0, math.inf, "lower")


@pytest.mark.parametrize(
    ("score", "values", "told"),
    [
        (FRACTION, (0.856, 0.838, 0.874), "85.6% [83.8, 87.4]"),
        (BETWEEN, (0.615, 0.608, 0.622), "0.615 [0.608, 0.622]"),
        (BETWEEN, (-0.0001, -0.0004, 0.0001), "0.000 [0.000, 0.000]"),
        (FRACTION, (-0.0, -0.0, 0.0), "0.0% [0.0, 0.0]"),
        (COUNT, (127.969, 120.4, 133.25), "128 [120, 133]"),
        (COUNT, (36.516, 30.42, 42.846), "36.5 [30.4, 42.8]"),
        (COUNT, (2.6, 2.2, 3.0), "2.60 [2.20, 3.00]"),
        (COUNT, (0.364, 0.334, 0.393), "0.364 [0.334, 0.393]"),
        (COUNT, (0.0, 0.0, 0.0), "0.000 [0.000, 0.000]"),
        (COUNT, (1.5e-5, 1.2e-5, 1.8e-5), "1.5e-05 [1.2e-05, 1.8e-05]"),
        (COUNT, (3.21e9, 3.1e9, 3.3e9), "3.21e+09 [3.1e+09, 3.3e+09]"),
        (COUNT, (math.inf, 1.0, math.inf), "inf [1, inf]"),
    ],
)
def test_an_entry_has_the_digits_that_its_score_deserves(
    score: Score, values: tuple[float, float, float], told: str
) -> None:
    assert str(Entry("g", score, *values, 8)) == told


def test_no_zero_has_a_sign_and_all_values_have_the_digits_of_the_first() -> None:
    for score in (FRACTION, BETWEEN, COUNT, Score("any", -math.inf, math.inf, None)):
        for value in (-0.0, -1e-9, -1e-300):
            assert not any(text.startswith("-0.0") or text == "-0" for text in figures(score, (1.0, value)))
    assert figures(COUNT, (123.4, 9.87)) == ["123", "10"]


LINE = asdict(Entry("sparsity", FRACTION, 0.5, 0.4, 0.6, 8, random_map=0.3))
CURVE = asdict(Curve("t", "x", "y", (1, 2), (0.1, 0.2), (0.0, 0.1), (0.2, 0.3)))
NO_TEXT: tuple[Any, ...] = (None, 3, ["a"], {"a": 1})
NO_NUMBER: tuple[Any, ...] = ("0.5", True, [0.5], {})
NOTHING: tuple[Any, ...] = ([], "text", 3, None)
NO_PLACES: tuple[Any, ...] = ([], [1], None, "12", ["a", 2], [{}, 1])


def damaged() -> Iterator[tuple[str, Any, Any]]:
    """Yield what may be wrong in a file that a stranger wrote: where, and what stands there."""
    yield from ((part, (), value) for part in ("scores", "settings") for value in NOTHING)
    yield from (("name", (), value) for value in NO_TEXT)
    yield from (("line", (name,), value) for name in ("mean", "low", "high", "random_map") for value in NO_NUMBER)
    yield from (("line", ("images",), value) for value in (0, -1, 2.5, None, "8", True))
    yield from (("line", ("score", name), value) for name in ("name", "unit") for value in NO_TEXT)
    yield from (("line", ("score", "better"), value) for value in NOTHING[:-1])
    yield from (("line", ("score", "low"), value) for value in NO_NUMBER)
    yield from (("line", (name,), value) for name in ("group", "score") for value in NO_TEXT)
    yield "line", ("unknown",), 1
    yield from (("curve", (name,), value) for name in ("title", "x_label") for value in NO_TEXT)
    yield from (("curve", (name,), v) for name in ("x", "mean") for v in NO_PLACES)


@pytest.mark.parametrize(("part", "place", "value"), damaged(), ids=str)
def test_what_is_damaged_in_a_file_of_scores_is_one_line(
    tmp_path: Path, part: str, place: tuple[str, ...], value: Any
) -> None:
    content: dict[str, Any] = {"name": "n", "settings": {}, "scores": {"share": LINE}, "curves": {"c": CURVE}}
    content = json.loads(json.dumps(content))
    (tmp_path / "scorecard.json").write_text(json.dumps(content))
    assert Scorecard.load(tmp_path).curves["c"].x == (1, 2)
    inner: Any = {"line": content["scores"]["share"], "curve": content["curves"]["c"]}.get(part, content)
    *way, last = place or (part,)
    for name in way:
        inner = inner[name]
    inner[last] = value
    (tmp_path / "scorecard.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="is no scorecard") as caught:
        Scorecard.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "[" * 100_000, "\x00", '{"scores": {}}', "nul"], ids=len)
def test_what_is_no_file_of_scores_at_all_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "scorecard.json").write_text(text)
    with pytest.raises(RunError, match="is no scorecard") as caught:
        Scorecard.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "scorecard.json").open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(RunError, match="more than 64 MiB"):
        Scorecard.load(tmp_path)


def test_numbers_that_are_not_finite_survive_being_saved(tmp_path: Path) -> None:
    nan = math.nan
    card = Scorecard("n", {}, {"s": Entry("g", COUNT, nan, nan, nan, 3)}, {})
    card.save(tmp_path / "scorecard.json")
    assert math.isnan(Scorecard.load(tmp_path)["s"].mean)
