"""What a paper says, tested: every sentence comes down to differences of a score between two rows, or to a number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch

from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.evaluation import Entry
from gradsculpt.evaluation.results import entry
from gradsculpt.studies.schema import check_claim, rows_of

Verdict = Literal["yes", "no", "open", "not run"]

_ROUNDING = 1e-9


class Scores(Protocol):
    """Scores by row: in full, and of every item, one a seed."""

    @property
    def rows(self) -> Sequence[str]:
        """The rows that were run."""

    def entries(self, row: str, score: str) -> list[Entry]:
        """Return a score of a row in full."""

    def values(self, row: str, score: str) -> list[dict[str, float]]:
        """Return a score of every item of a row."""


class Difference(NamedTuple):
    """How much better one row is than another, or than a number, with its 95% interval."""

    what: str
    mean: float
    low: float
    high: float
    least: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """Yes where all of the interval is above the least, no where all of it is below, and else open."""
        if self.low == self.high:  # a single value, or the same for all items
            return "yes" if self.mean > self.least else "no"
        return "yes" if self.low > self.least else "no" if self.high < self.least else "open"

    def __str__(self) -> str:
        return f"{self.what} {self.mean:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


@dataclass(frozen=True)
class Tested:
    """A claim, and what became of it.

    Args:
        says: The claim in words.
        verdict: yes if every difference that it makes is; no if one is not; open if the images do not tell; not run if
            a row is missing.
        differences: What was compared.
    """

    says: str
    verdict: Verdict
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        told = "; ".join(map(str, self.differences))
        return f"{self.verdict}: {self.says}" + (f" ({told})" if told else "")


def judged(claim: Mapping[str, Any], results: Scores, rows: Sequence[str]) -> Tested:
    """Test a claim of a study on what was measured.

    Differences are paired: of the same images (or other items) and the same seeds, by the bootstrap over images. With
    several seeds, they are of all images of all seeds. Better is what the score says is better.

    Args:
        claim: As the file of the study has it.
        results: What was measured.
        rows: All rows of the study.

    Raises:
        ArgumentError: If the claim is none, or names a row that the study does not have.
    """
    _check(claim, rows)
    score = str(claim["score"])
    candidates = [row for row in rows if row in results.rows]
    if (among := claim.get("among")) is not None and {claim["best"], among["of"]} <= {*candidates}:
        allowed = _allowed(among, results, candidates)
        if claim["best"] not in allowed:
            missed = _difference(results, among["score"], claim["best"], among["of"], -float(among["within"]), False)
            return Tested(str(claim["says"]), "no", (missed,))
        candidates = [row for row in candidates if row in allowed]
    pairs = list(_pairs(claim, candidates))
    wanted = {row for pair in pairs for row in pair[:2] if row is not None} | set(rows_of(claim))
    if not pairs or any(row not in results.rows or not results.entries(row, score) for row in wanted):
        return Tested(str(claim["says"]), "not run", ())
    differences = tuple(_difference(results, score, *pair) for pair in pairs)
    verdicts = {each.verdict for each in differences}
    verdict: Verdict = "no" if "no" in verdicts else "open" if "open" in verdicts else "yes"
    return Tested(str(claim["says"]), verdict, differences)


def _allowed(among: Mapping[str, Any], results: Scores, rows: Sequence[str]) -> set[str]:
    """Return the rows whose mean of a score is at most so much worse than that of one of them."""
    entries = {row: results.entries(row, among["score"]) for row in rows}
    means = {row: sum(each.mean for each in found) / len(found) for row, found in entries.items() if found}
    if among["of"] not in means:
        return set()
    sign = -1.0 if entries[among["of"]][0].score.better == "lower" else 1.0
    least = sign * means[among["of"]] - float(among["within"]) - _ROUNDING
    return {row for row, mean in means.items() if sign * mean >= least}


def _check(claim: Mapping[str, Any], rows: Sequence[str]) -> None:
    check_claim(claim)
    for row in rows_of(claim):
        if row not in rows:
            raise ArgumentError(f"claims: {claim['says']}: there is no row {row!r}.{did_you_mean(str(row), rows)}")


def _pairs(claim: Mapping[str, Any], rows: Sequence[str]) -> Iterator[tuple[str, str | None, float, bool]]:
    """Yield what has to be better than what, or than no row, by at least how much, and whether values count as such."""
    if "rising" in claim:
        for before, after in zip(claim["rising"], claim["rising"][1:], strict=False):
            yield after, before, 0.0, True
    elif "above" in claim or "below" in claim:
        base = claim.get("above", claim.get("below"))
        for row in claim.get("rows") or [row for row in rows if row != base]:
            yield (row, base, 0.0, True) if "above" in claim else (base, row, 0.0, True)
    elif "best" in claim:
        for row in claim.get("rows") or [row for row in rows if row != claim["best"]]:
            yield claim["best"], row, 0.0, False
    elif "within" in claim:
        for row in claim.get("rows") or [row for row in rows if row != claim["of"]]:
            yield row, claim["of"], -float(claim["within"]), False
    else:
        for row in claim.get("rows") or [claim["row"]]:
            yield row, None, float(claim["least"]), True


def _difference(results: Scores, score: str, row: str, base: str | None, least: float, plain: bool) -> Difference:
    """Return how much better a row is than another; `plain` numbers are compared as they are, whatever is better."""
    mine, first = results.values(row, score), results.entries(row, score)[0]
    sign = -1.0 if first.score.better == "lower" and not plain else 1.0
    if base is None:
        values = [value for each in mine for value in each.values()]
        return _summary(f"{row}:", values or [first.mean], least, first)
    theirs = results.values(base, score)
    pairs = [sign * (a[item] - b[item]) for a, b in zip(mine, theirs, strict=False) for item in a if item in b]
    if not pairs:  # a score of all images at once has no value of its own for each
        means = [sum(e.mean for e in results.entries(r, score)) / len(results.entries(r, score)) for r in (row, base)]
        pairs = [sign * (means[0] - means[1])]
    return _summary(f"{row} - {base}:" if sign > 0 else f"{base} - {row}:", pairs, least, first)


def _summary(what: str, values: Sequence[float], least: float, like: Entry) -> Difference:
    told = entry(like.group, like.score, torch.tensor(values), 0)
    return Difference(what, told.mean, told.low, told.high, least)
