"""The table of scores, for the page and for the terminal: what is best, and what differs beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.wording import counted, printable

Mark = Literal["better", "worse"]

_ARROWS = {"higher": "↑", "lower": "↓", None: ""}


@dataclass(frozen=True)
class Cell:
    """A score of one run, as text; `best` if no other has a better mean, `mark` beside the first run beyond chance."""

    mean: str
    interval: str
    best: bool
    mark: Mark | None


@dataclass(frozen=True)
class Row:
    """A score of every run: a cell each, or None.

    Args:
        unit: Of the score, where the numbers do not show it.
        images: Over how many images it is, where that is neither all of them nor said of the whole group.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    images: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class Group:
    """Scores under a heading, and over how many images all are, where that is not all: a number, or a span."""

    name: str
    images: str
    rows: list[Row]


def score_groups(cards: Sequence[Scorecard], only: Sequence[str] | None = None) -> list[Group]:
    """Return the rows of the table by group, in the order of the scorecards; `only` picks scores by name."""
    names: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for card in cards for name in only or card.entries):
        group = next((card.entries[name].group for card in cards if name in card.entries), None)
        if group is not None:
            names.setdefault(group, []).append(name)
    groups = []
    for group, members in names.items():
        spans = {name: _span(cards, name) for name in members}
        shared = spans[members[0]] if len(set(spans.values())) == 1 else None
        rows = [_row(cards, name, spans[name] if shared is None else "") for name in members]
        groups.append(Group(group, shared or "", rows))
    return groups


def table(cards: Sequence[Scorecard], only: Sequence[str] | None = None) -> Table:
    """Return scorecards side by side for the terminal, one column a network; `only` picks scores by name.

    The title begins with what has to be known before any score is believed.
    """
    settings = cards[0].settings
    count = counted(settings["images"], "images")
    title = f"{settings.get('data')} {settings.get('split', '')}, {count}; mean [95% interval]"
    warnings = [f"{card.name}: {card.warning}" for card in cards if card.warning]
    grid = Table(title=_text(" / ".join([*warnings, title]), "bold" if warnings else "italic"), title_justify="left")
    grid.add_column("")
    for card in cards:
        grid.add_column(_text(card.name), justify="right", overflow="fold")
    for group in score_groups(cards, only):
        grid.add_section()
        grid.add_row(_text(group.name, "bold") + _text(_counted(group.images)))
        for row in group.rows:
            values = (f"{cell.mean} {cell.interval}" if cell else "-" for cell in row.cells)
            grid.add_row(*map(_text, (f"  {row.name} {_ARROWS[row.better]}{_counted(row.images)}", *values)))
    return grid


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


def _row(cards: Sequence[Scorecard], name: str, images: str) -> Row:
    entries = [card.entries.get(name) for card in cards]
    score = next(entry.score for entry in entries if entry is not None)
    means = [entry.mean for entry in entries if entry is not None]
    best = {"higher": max, "lower": min, None: None}[score.better]
    best_mean = best(means) if best is not None and len(means) > 1 else None
    cells: list[Cell | None] = []
    for entry in entries:
        mean, _, interval = str(entry).partition(" ")
        compared = mark(entry, entries[0]) if entry and entries[0] else None
        cells.append(Cell(mean, interval, entry.mean == best_mean, compared) if entry else None)
    unit = "" if score.unit == "fraction" else score.unit
    return Row(name.replace("_", " "), unit, score.better, images, cells)


def _span(cards: Sequence[Scorecard], name: str) -> str:
    counts = {card.entries[name].images for card in cards if name in card.entries}
    if counts == {card.settings.get("images") for card in cards}:
        return ""
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)}))


def _counted(images: str) -> str:
    return f" ({images} {'image' if images == '1' else 'images'})" if images else ""


def _text(text: str, style: str = "") -> Text:
    """Return a text that is shown as it is: brackets in names are no markup."""
    return Text(printable(text), style)
