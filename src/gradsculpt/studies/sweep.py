"""A recipe under many settings: which are tried, how each is judged, and which one a rule chooses."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.evaluation import Entry
from gradsculpt.studies.study import Study
from gradsculpt.wording import counted

BASELINE, MEASURE = "baseline", "scores"
"""The row that settings are compared with, and the measure that all are judged by."""

SOURCE = "Joo et al., AAAI 2023 (local gradient alignment), Experiments: the rule by which its weights were chosen"

Setting = Mapping[str, str]
"""What is otherwise in a training, by the names of its options."""


@dataclass(frozen=True)
class Rule:
    """What is wanted of a setting: the best of one score, as long as another one is good enough.

    Args:
        best: The score whose best value is wanted.
        of: The score that must not suffer.
        within: How much worse than the baseline's `of` may be, in its own units: 0.01 is a point of accuracy.
        least: What `of` has to reach, in the place of what the baseline has; None for the baseline.

    Raises:
        ArgumentError: If `within` is below 0, or a number is none.

    Source: Joo et al., AAAI 2023, Experiments ("highest RPS on the Grad attribution while allowing 1% of test accuracy
        drops").
    """

    best: str = "rps_cosine_16"
    of: str = "accuracy"
    within: float = 0.01
    least: float | None = None

    def __post_init__(self) -> None:
        if not self.within >= 0 or (self.least is not None and not math.isfinite(self.least)):
            raise ArgumentError(
                f"within={self.within} and least={self.least} allow nothing that can be told; pass a distance of at "
                "least 0, and a finite number or none."
            )

    def __str__(self) -> str:
        """Return it as a question."""
        bound = f"within {self.within:g} of the baseline" if self.least is None else f"at {self.least:g} or better"
        return f"Which setting has the best {_plain(self.best)}, with {_plain(self.of)} {bound}?"


class Scores(Protocol):
    """Scores by row, in full; those of rows that were not run are not there."""

    def entries(self, row: str, score: str) -> list[Entry]:
        """Return a score, named as `measure.score`, of a row: one a seed."""


class Judged(NamedTuple):
    """How a setting did: the score that is wanted, and by how much the other one is good enough; below 0 it is not."""

    value: float
    margin: float


@dataclass(frozen=True)
class Choice:
    """What a rule chooses of several settings.

    Args:
        row: The setting; None if the rule allows none.
        judged: How each did of which there are scores.
        told: The choice, in a sentence or two.
    """

    row: str | None
    judged: Mapping[str, Judged]
    told: str


def grid(values: Mapping[str, Sequence[str]]) -> list[Setting]:
    """Return every combination of values, the last name changing fastest.

    Example:
        >>> [" ".join(point.values()) for point in grid({"l2": [".01", ".1"], "cosine": ["0", "1"]})]
        ['.01 0', '.01 1', '.1 0', '.1 1']
    """
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def named(points: Iterable[Setting]) -> dict[str, Setting]:
    """Return settings by what tells them apart, each once: names without what stands before their last dot.

    Example:
        >>> list(named([{"objective.l2": ".01", "lr": "1e-3"}, {"objective.l2": ".1", "lr": "1e-3"}]))
        ['l2=.01 lr=1e-3', 'l2=.1 lr=1e-3']
    """
    listed = list(points)
    names = dict.fromkeys(name for point in listed for name in point)
    ends = [name.rpartition(".")[2] for name in names]
    short = {name: end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}
    return {" ".join(f"{short[name]}={value}" for name, value in point.items()): point for point in listed}


def sweep_study(
    train: Mapping[str, Any],
    rows: Mapping[str, Setting],
    baseline: Mapping[str, str | None],
    evaluate: Mapping[str, Any],
    rule: Rule,
    seeds: Sequence[int] = (0,),
    answer: str = "",
) -> Study:
    """Return the study that trains a recipe under each setting, and judges it.

    Args:
        train: What all trainings have in common.
        rows: What is otherwise in each, by the name of its row.
        baseline: What is otherwise in that with which settings are compared; None takes a setting away.
        evaluate: Settings of `gradsculpt evaluate`.
        rule: What is wanted.
        seeds: Seeds that each is trained with; the rule takes means over them.
        answer: What was chosen, for the page.
    """
    scores = dict.fromkeys((rule.of, rule.best))
    content = {
        "title": f"A sweep of {train.get('recipe') or 'a training'} on {train.get('data', 'cells')}",
        "source": SOURCE,
        "question": f"{rule}\n\n{answer}" if answer else str(rule),
        "train": dict(train),
        "networks": {BASELINE: dict(baseline), **{name: dict(row) for name, row in rows.items()}},
        "seeds": list(seeds),
        "measure": {MEASURE: {"evaluate": dict(evaluate)}},
        "table": {_plain(name): {"score": f"{MEASURE}.{name}"} for name in scores},
        "figures": {"pareto": {"scatter": {"x": f"{MEASURE}.{rule.of}", "y": f"{MEASURE}.{rule.best}", "front": True}}},
    }
    return Study("sweep", "", content)


def judge(results: Scores, rule: Rule, row: str) -> Judged | None:
    """Return how a setting did, or None where a score of it, or the baseline's, is not there.

    Raises:
        ArgumentError: If a score has no better direction.
    """
    value, of = _mean(results, row, rule.best), _mean(results, row, rule.of)
    bound = rule.least if rule.least is not None else _mean(results, BASELINE, rule.of)
    if value is None or of is None or bound is None:
        return None
    sign = 1.0 if better(results, row, rule.of) == "higher" else -1.0
    better(results, row, rule.best)
    allowed = rule.within if rule.least is None else 0.0
    return Judged(value, sign * (of - bound) + allowed)


def choose(results: Scores, rule: Rule, rows: Iterable[str]) -> Choice:
    """Return which of some settings a rule chooses; of equals, the first.

    Raises:
        ArgumentError: If a score has no better direction.
    """
    tried = list(rows)
    judged = {row: found for row in tried if (found := judge(results, rule, row)) is not None}
    if not judged:
        return Choice(None, judged, "No setting could be judged: none was trained and scored.")
    best, of = _plain(rule.best), _plain(rule.of)
    failed = [row for row in tried if row not in judged]
    without = f" Left out, as there are no scores of them: {', '.join(failed)}." if failed else ""
    allowed = {row: each for row, each in judged.items() if each.margin >= -_ROUNDING}
    if not allowed:
        nearest = max(judged, key=lambda row: judged[row].margin)
        return Choice(
            None,
            judged,
            f"None of {counted(len(judged), 'settings')} is allowed by {of}; the nearest is {nearest}, which misses it "
            f"by {-judged[nearest].margin:.3g}.{without}",
        )
    sign = 1.0 if better(results, next(iter(allowed)), rule.best) == "higher" else -1.0
    chosen = max(allowed, key=lambda row: sign * allowed[row].value)
    base = _mean(results, BASELINE, rule.best)
    beside = "" if base is None else f", where the baseline has {base:.4g}"
    told = f"{chosen}: {best} {allowed[chosen].value:.4g}{beside}, and {of} {_mean(results, chosen, rule.of):.4g}. "
    return Choice(
        chosen, judged, f"{told}Allowed by {of}: {len(allowed)} of {counted(len(judged), 'settings')}.{without}"
    )


def better(results: Scores, row: str, score: str) -> Literal["higher", "lower"]:
    """Return which values of a score are better; raise `ArgumentError` if it does not say."""
    found = results.entries(row, f"{MEASURE}.{score}")[0].score.better
    if found is None:
        raise ArgumentError(f"{score} is neither better when higher nor when lower, so none is best; take another.")
    return found


def check_scores(entries: Iterable[str], rule: Rule) -> None:
    """Raise `ArgumentError` if a rule names a score that is not measured."""
    known = list(entries)
    for name in (rule.best, rule.of):
        if name not in known:
            raise ArgumentError(
                f"{name} is not measured.{did_you_mean(name, known)} Measured are {', '.join(known)}; --groups tells "
                "others."
            )


_ROUNDING = 1e-9


def _mean(results: Scores, row: str, score: str) -> float | None:
    means = [entry.mean for entry in results.entries(row, f"{MEASURE}.{score}")]
    return sum(means) / len(means) if means else None


def _plain(name: str) -> str:
    return name.replace("_", " ")
