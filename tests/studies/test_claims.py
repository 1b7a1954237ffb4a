"""Claims: each form on values whose answer is known, and what cannot be tested."""

from collections.abc import Mapping, Sequence

import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Entry
from gradsculpt.evaluation.results import entry
from gradsculpt.metrics import Score
from gradsculpt.studies.claims import judged

ROWS = ("low", "middle", "high", "absent")


class Given:
    """Values of twenty images by row: noise that all rows share, which pairs cancel, and a level of its own."""

    def __init__(self, better: str, levels: Mapping[str, float], own_noise: float = 0.01) -> None:
        generator = torch.Generator().manual_seed(0)
        shared = torch.rand(20, generator=generator)
        self._score = Score("gini", 0.0, 1.0, better)  # type: ignore[arg-type]
        self._values = {
            row: shared + level + own_noise * torch.rand(20, generator=generator) for row, level in levels.items()
        }

    @property
    def rows(self) -> Sequence[str]:
        return list(self._values)

    def entries(self, row: str, score: str) -> list[Entry]:
        return [entry("g", self._score, self._values[row], 0)] if row in self._values else []

    def values(self, row: str, score: str) -> list[dict[str, float]]:
        return [{str(i): float(v) for i, v in enumerate(self._values[row])}]


LEVELS = {"low": 0.0, "middle": 0.1, "high": 0.3}


@pytest.mark.parametrize(
    ("better", "form", "verdict"),
    [
        ("higher", {"rising": ["low", "middle", "high"]}, "yes"),
        ("higher", {"rising": ["low", "high", "middle"]}, "no"),
        ("lower", {"rising": ["low", "middle", "high"]}, "yes"),  # of the numbers, whatever is better
        ("higher", {"above": "low"}, "yes"),
        ("higher", {"above": "middle"}, "no"),
        ("higher", {"above": "middle", "rows": ["high"]}, "yes"),
        ("lower", {"below": "middle", "rows": ["low"]}, "yes"),
        ("higher", {"best": "high"}, "yes"),
        ("lower", {"best": "high"}, "no"),
        ("lower", {"best": "low"}, "yes"),
        ("higher", {"within": 0.15, "of": "middle", "rows": ["low"]}, "yes"),
        ("higher", {"within": 0.05, "of": "middle", "rows": ["low"]}, "no"),
        ("lower", {"within": 0.05, "of": "middle", "rows": ["high"]}, "no"),
        ("lower", {"within": 0.05, "of": "middle", "rows": ["low"]}, "yes"),  # a better one is within as well
        ("higher", {"least": 0.0, "row": "low"}, "yes"),
        ("higher", {"least": 5.0, "row": "low"}, "no"),
        ("higher", {"rising": ["low", "absent"]}, "not run"),
        ("higher", {"best": "absent"}, "not run"),
    ],
)
def test_each_form_says_what_the_values_say(better: str, form: dict[str, object], verdict: str) -> None:
    """Pairs cancel the noise that rows share: unpaired, a step of a tenth would be lost in it."""
    told = judged({"says": "so", "score": "m.gini", **form}, Given(better, LEVELS), ROWS)
    assert told.verdict == verdict
    assert str(told).startswith(f"{verdict}: so")


def test_what_the_images_do_not_tell_stays_open() -> None:
    """A difference that is smaller than its interval."""
    given = Given("higher", {"low": 0.0, "high": 0.001}, own_noise=1.0)
    claim = {"says": "so", "score": "m.gini", "rising": ["low", "high"]}
    told = judged(claim, given, ROWS)
    assert told.verdict == "open"
    assert told.differences[0].low < 0 < told.differences[0].high


@pytest.mark.parametrize(
    "claim",
    [
        {"says": "so", "score": "m.gini"},
        {"score": "m.gini", "best": "low"},
        {"says": "so", "best": "low"},
        {"says": "so", "score": "m.gini", "best": "low", "above": "high"},
        {"says": "so", "score": "m.gini", "best": "lowe"},
        {"says": "so", "score": "m.gini", "bset": "low"},
    ],
)
def test_what_is_no_claim_is_refused(claim: dict[str, object]) -> None:
    """Rather than counted as one that holds."""
    with pytest.raises(ArgumentError):
        judged(claim, Given("higher", LEVELS), ROWS)


class TwoScores(Given):
    """Another score beside the first, the same for every image."""

    def __init__(self, levels: Mapping[str, float], accuracy: Mapping[str, float]) -> None:
        super().__init__("higher", levels)
        self._accuracy = accuracy

    def entries(self, row: str, score: str) -> list[Entry]:
        if score != "scores.accuracy":
            return super().entries(row, score)
        told = Score("accuracy", 0.0, 1.0, "higher")
        return [Entry("g", told, self._accuracy[row], self._accuracy[row], self._accuracy[row], 20)]

    def values(self, row: str, score: str) -> list[dict[str, float]]:
        return [{"0": self._accuracy[row]}] if score == "scores.accuracy" else super().values(row, score)


@pytest.mark.parametrize(
    ("best", "accuracy", "verdict"),
    [
        ("middle", {"low": 0.9, "middle": 0.89, "high": 0.8}, "yes"),  # high is better, and not allowed
        ("middle", {"low": 0.9, "middle": 0.89, "high": 0.89}, "no"),
        ("high", {"low": 0.9, "middle": 0.89, "high": 0.89}, "yes"),
        ("high", {"low": 0.9, "middle": 0.89, "high": 0.88}, "no"),  # not allowed itself
    ],
)
def test_the_best_of_those_that_are_allowed(best: str, accuracy: dict[str, float], verdict: str) -> None:
    """The choice by a rule: the best of one score among the rows that are near one of them in another."""
    among = {"score": "scores.accuracy", "within": 0.01, "of": "low"}
    claim = {"says": "chosen", "score": "scores.gini", "best": best, "among": among}
    assert judged(claim, TwoScores(LEVELS, accuracy), ROWS).verdict == verdict


@pytest.mark.parametrize("among", ["low", {}, {"score": "scores.accuracy", "of": "low"}])
def test_a_restriction_that_says_nothing_is_refused(among: object) -> None:
    claim = {"says": "chosen", "score": "scores.gini", "best": "high", "among": among}
    with pytest.raises(ArgumentError, match="among is"):
        judged(claim, Given("higher", LEVELS), ROWS)
    missing = {"score": "scores.accuracy", "within": 0.01, "of": "nobody"}
    with pytest.raises(ArgumentError, match="no row 'nobody'"):
        judged({**claim, "among": missing}, Given("higher", LEVELS), ROWS)
