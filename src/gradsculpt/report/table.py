"""The table of scores as the page shows it: what is best, and what differs from the first run beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gradsculpt.evaluation import Entry, Scorecard

Mark = Literal["better", "worse"]


@dataclass(frozen=True)
class Cell:
    """A score of one run.

    Args:
        mean: The mean, as text.
        interval: Its 95% interval, as text.
        best: Whether no other run has a better mean.
        mark: Whether it is better or worse than the first run, with intervals that do not overlap; None for neither.
    """

    mean: str
    interval: str
    best: bool
    mark: Mark | None


@dataclass(frozen=True)
class Row:
    """A score of every run.

    Args:
        name: Of the score.
        unit: Of the score, where the numbers do not show it.
        better: Which direction is better, if any.
        cells: One a run; None where a run does not have the score.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    cells: list[Cell | None]


@dataclass(frozen=True)
class Group:
    """Scores that belong together.

    Args:
        name: Heading.
        images: Over how many images the scores are, where that is not all of them: a number, or a span.
        rows: The scores.
    """

    name: str
    images: str
    rows: list[Row]


def score_groups(cards: Sequence[Scorecard]) -> list[Group]:
    """Return the rows of the table by group, in the order of the scorecards."""
    rows: dict[str, list[Row]] = {}
    counts: dict[str, set[int]] = {}
    for name in dict.fromkeys(name for card in cards for name in card.entries):
        entries = [card.entries.get(name) for card in cards]
        known = [entry for entry in entries if entry is not None]
        first, better = entries[0], known[0].score.better
        means = [entry.mean for entry in known]
        best = {"higher": max, "lower": min, None: None}[better]
        cells = [
            Cell(
                *_halves(entry),
                best is not None and len(means) > 1 and entry.mean == best(means),
                None if first is None else mark(entry, first),
            )
            if entry is not None
            else None
            for entry in entries
        ]
        unit = known[0].score.unit
        row = Row(name.replace("_", " "), "" if unit == "fraction" else unit, better, cells)
        rows.setdefault(known[0].group, []).append(row)
        counts.setdefault(known[0].group, set()).update(entry.images for entry in known)
    whole = {cards[0].settings.get("images")}
    return [Group(name, _span(counts[name] - whole), found) for name, found in rows.items()]


def mark(entry: Entry, first: Entry) -> Mark | None:
    """Return how an entry differs from that of the first run, if their 95% intervals do not overlap."""
    above, below = entry.low > first.high, entry.high < first.low
    if entry.score.better is None or not (above or below):
        return None
    return "better" if above == (entry.score.better == "higher") else "worse"


def summary(groups: Sequence[Group], run: int) -> tuple[int, int, int]:
    """Return in how many scores a run is better than the first one, worse, and neither, of those with a direction."""
    rows = [row for group in groups for row in group.rows if row.better and row.cells[0] and row.cells[run]]
    marks = [cell.mark for row in rows if (cell := row.cells[run]) is not None]
    return marks.count("better"), marks.count("worse"), marks.count(None)


def _span(counts: set[int]) -> str:
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else ""


def _halves(entry: Entry) -> tuple[str, str]:
    mean, _, interval = str(entry).partition(" ")
    return mean, interval
