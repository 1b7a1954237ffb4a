"""What a sweep tries, and what its rule chooses, against sets of numbers small enough to be chosen from by eye."""

import itertools
from collections.abc import Mapping, Sequence

import pytest

from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Entry
from gradsculpt.metrics import Score
from gradsculpt.studies.sweep import BASELINE, Rule, check_scores, choose, grid, judge, named, sweep_study

SCORES = {
    "accuracy": Score("accuracy", 0.0, 1.0, "higher", "fraction"),
    "rps_cosine_16": Score("rps_cosine_16", -1.0, 1.0, "higher"),
    "brier": Score("brier", 0.0, 2.0, "lower"),
    "confidence": Score("confidence", 0.0, 1.0, None),
}


class Measured:
    """Means of scores by row: a number, or one a seed."""

    def __init__(self, **rows: Mapping[str, float | Sequence[float]]) -> None:
        self._rows = rows

    def entries(self, row: str, score: str) -> list[Entry]:
        measure, _, name = score.partition(".")
        assert measure == "scores"
        found = self._rows.get(row, {}).get(name)
        means = [] if found is None else [found] if isinstance(found, int | float) else found
        return [Entry("any", SCORES[name], mean, mean, mean, 5) for mean in means]


def of(accuracy: float | Sequence[float], rps: float | Sequence[float]) -> dict[str, float | Sequence[float]]:
    return {"accuracy": accuracy, "rps_cosine_16": rps}


def test_a_grid_is_every_value_with_every_other() -> None:
    points = grid({"a": ["1", "2"], "b": ["x"], "c": ["3", "4", "5"]})
    assert [tuple(point.values()) for point in points] == list(itertools.product("12", "x", "345"))
    assert all(list(point) == ["a", "b", "c"] for point in points)


def test_rows_are_named_by_what_tells_them_apart() -> None:
    points = [{"objective.l2": ".1", "augment.crop": "0"}, {"objective.l2": ".2", "augment.crop": "0"}]
    assert list(named(points)) == ["l2=.1 crop=0", "l2=.2 crop=0"]
    alike = [{"objective.penalty.weight": "1", "objective.weight": "2"}]
    assert list(named(alike)) == ["objective.penalty.weight=1 objective.weight=2"]
    assert named([points[0], dict(points[0])]) == {"l2=.1 crop=0": points[0]}


def test_the_default_rule_is_the_papers() -> None:
    """The highest RPS within 1% of the accuracy of cross entropy alone."""
    results = Measured(
        **{BASELINE: of(0.868, 0.76)}, weak=of(0.867, 0.80), right=of(0.861, 0.895), strong=of(0.84, 0.95)
    )
    choice = choose(results, Rule(), ["weak", "right", "strong"])
    assert choice.row == "right"
    strong = judge(results, Rule(), "strong")
    assert strong is not None
    assert strong.value == 0.95
    assert strong.margin == pytest.approx(-0.018)
    assert "0.895" in choice.told
    assert "0.76" in choice.told
    assert "Allowed by accuracy: 2 of 3 settings." in choice.told


@pytest.mark.parametrize(("accuracy", "allowed"), [(0.85, True), (0.8499, False), (0.95, True)])
def test_the_edge_of_what_is_allowed_is_allowed(accuracy: float, allowed: bool) -> None:
    results = Measured(**{BASELINE: of(0.86, 0.5)}, only=of(accuracy, 0.9))
    assert (choose(results, Rule(), ["only"]).row == "only") == allowed


def test_none_is_chosen_where_none_is_allowed_and_the_nearest_is_told() -> None:
    results = Measured(**{BASELINE: of(0.9, 0.5)}, far=of(0.5, 0.99), near=of(0.8, 0.98))
    choice = choose(results, Rule(), ["far", "near"])
    assert choice.row is None
    assert "None of 2" in choice.told
    assert "near, which misses it by 0.09" in choice.told


def test_means_over_seeds_decide() -> None:
    results = Measured(**{BASELINE: of([0.9, 0.9], 0.5)}, lucky=of([0.9, 0.9], [0.9, 0.1]), good=of(0.9, [0.6, 0.6]))
    assert choose(results, Rule(), ["lucky", "good"]).row == "good"


def test_lower_is_better_where_the_score_says_so() -> None:
    rows = {"a": {"brier": 0.3, "accuracy": 0.9}, "b": {"brier": 0.2, "accuracy": 0.8}}
    results = Measured(**{BASELINE: {"brier": 0.25, "accuracy": 0.7}}, **rows)
    assert choose(results, Rule(best="brier", within=1.0), rows).row == "b"
    assert choose(results, Rule(best="accuracy", of="brier", within=0.01), rows).row == "b"
    assert choose(results, Rule(best="accuracy", of="brier", within=0.06), rows).row == "a"
    assert choose(results, Rule(best="accuracy", of="brier", least=0.2), rows).row == "b"
    assert choose(results, Rule(best="accuracy", of="brier", least=0.3), rows).row == "a"


def test_a_least_value_takes_the_place_of_the_baseline() -> None:
    results = Measured(**{BASELINE: of(0.9, 0.5)}, low=of(0.7, 0.9), high=of(0.8, 0.8))
    assert choose(results, Rule(least=0.75), ["low", "high"]).row == "high"
    assert choose(results, Rule(least=0.7), ["low", "high"]).row == "low"
    assert choose(results, Rule(least=0.8, within=0.5), ["low", "high"]).row == "high"


def test_settings_that_failed_are_left_out() -> None:
    results = Measured(**{BASELINE: of(0.9, 0.5)}, done=of(0.9, 0.6))
    choice = choose(results, Rule(), ["failed", "done"])
    assert (choice.row, list(choice.judged)) == ("done", ["done"])
    assert choice.told.endswith("no scores of them: failed.")
    assert choose(results, Rule(), ["failed"]).row is None


def test_of_equals_the_first_is_taken() -> None:
    results = Measured(**{BASELINE: of(0.9, 0.5)}, a=of(0.9, 0.6), b=of(0.95, 0.6))
    assert choose(results, Rule(), ["a", "b"]).row == "a"
    assert choose(results, Rule(), ["b", "a"]).row == "b"


def test_a_score_without_a_better_side_has_no_best() -> None:
    results = Measured(**{BASELINE: {"confidence": 0.5, "accuracy": 0.9}}, a={"confidence": 0.5, "accuracy": 0.9})
    with pytest.raises(ArgumentError, match="confidence is neither better"):
        choose(results, Rule(best="confidence"), ["a"])
    with pytest.raises(ArgumentError, match="confidence is neither better"):
        choose(results, Rule(best="accuracy", of="confidence"), ["a"])


def test_scores_that_are_not_measured_are_named_with_those_that_are() -> None:
    check_scores(["accuracy", "rps_cosine_16"], Rule())
    with pytest.raises(ArgumentError, match=r"rps_cosine_8 is not measured.*mean rps_cosine_16"):
        check_scores(["accuracy", "rps_cosine_16"], Rule(best="rps_cosine_8"))


@pytest.mark.parametrize("wrong", [{"within": -0.1}, {"within": float("nan")}, {"least": float("nan")}])
def test_rules_that_allow_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="at least 0"):
        Rule(**wrong)  # type: ignore[arg-type]


def test_a_sweep_is_a_study_whose_baseline_drops_what_it_has_otherwise() -> None:
    study = sweep_study(
        {"recipe": "aga-l2", "objective.l2": "3", "lr": "1e-2"},
        {"cosine=1": {"objective.cosine": "1"}},
        {"objective": "CrossEntropy", "objective.l2": None},
        {"split": "val", "groups": ["accuracy"]},
        Rule(),
        (0, 1),
    )
    assert study.networks[BASELINE] == {"recipe": "aga-l2", "lr": "1e-2", "objective": "CrossEntropy"}
    assert study.networks["cosine=1"] == {
        "recipe": "aga-l2", "objective.l2": "3", "lr": "1e-2", "objective.cosine": "1"
    }  # fmt: skip
    assert study.seeds == (0, 1)
    assert study.measures["scores"].settings["split"] == "val"
    assert [column.path for column in study.columns.values()] == ["scores.accuracy", "scores.rps_cosine_16"]
