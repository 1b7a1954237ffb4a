"""The table of scores, for the page and for the terminal: what is best, and what differs beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from gradsculpt.evaluation import SCORE_GROUPS, Entry, Scorecard
from gradsculpt.evaluation.results import figures
from gradsculpt.report.meaning import of_entry
from gradsculpt.report.strips import Strip, strip
from gradsculpt.wording import counted, printable

Mark = Literal["better", "worse"]

FEW = 30
"""Below so many images an interval is wide, and a bootstrap makes it narrower than it is."""

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
        name: Of the score, and of those that say exactly the same.
        unit: Of the score, where the numbers do not show it.
        images: Over how many images it is, where that is neither all of them nor said of the whole group.
        meaning: What it says, in a sentence; empty in scorecards that have none.
        span: The range that it can have, in words.
        yardsticks: What it is held against: a name and the mean of the runs, as many as are known.
        strip: Where everything lies on the range.
        said: What the score of each run says, in a sentence; "" where it has none.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    images: str
    cells: list[Cell | None]
    meaning: str
    span: str
    yardsticks: list[tuple[str, str]]
    strip: Strip
    said: list[str]


@dataclass(frozen=True)
class Group:
    """Scores under a heading.

    Args:
        name: The group's own name, as the scorecard has it.
        label: What it is about, in plain words, and `question` what its scores answer, or "".
        variant: What sets these scores apart from others of the group, which they say again in another way.
        images: Over how many images all are, where that is not all: a number, or a span; `few` if they are too few.
    """

    name: str
    label: str
    question: str
    variant: str
    images: str
    few: bool
    rows: list[Row]


def score_groups(cards: Sequence[Scorecard], only: Sequence[str] | None = None) -> list[Group]:
    """Return the rows of the table by group, in the order of the scorecards; `only` picks scores by name."""
    names: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for card in cards for name in only or card.entries):
        group = next((card.entries[name].group for card in cards if name in card.entries), None)
        if group is not None:
            names.setdefault(group, []).append(name)
    told = {cls.short_name(): [cls.label, cls.question] for cls in SCORE_GROUPS}  # of cards from before they told it
    told |= {name: texts for card in cards for name, texts in card.settings.get("told", {}).items()}
    groups = []
    for group, members in names.items():
        own, _, variant = group.partition(", ")
        label, question = told.get(own, (own, ""))
        spans = {name: _span(cards, name) for name in members}
        shared = spans[members[0]] if len(set(spans.values())) == 1 else None
        rows = [_row(cards, alike, "" if shared is not None else spans[alike[0]]) for alike in _alike(cards, members)]
        counts = [card.entries[name].images for card in cards for name in members if name in card.entries]
        groups.append(Group(own, label, question, variant, shared or "", max(counts) < FEW, rows))
    return groups


def table(cards: Sequence[Scorecard], only: Sequence[str] | None = None) -> Table:
    """Return scorecards side by side for the terminal, one column a network; `only` picks scores by name.

    The title begins with what has to be known before any score is believed.
    """
    settings = cards[0].settings
    images = counted(settings["images"], "images")
    few = f" (too few to tell networks apart: pass {FEW} or more)" if settings["images"] < FEW else ""
    source = " ".join(filter(None, (str(settings.get("data")), settings.get("split"))))
    title = f"{source}, {images}{few}; mean [95% interval]"
    warnings = [f"{card.name}: {card.warning}" for card in cards if card.warning]
    grid = Table(title=_text(" / ".join([*warnings, title]), "bold" if warnings else "italic"), title_justify="left")
    grid.add_column("")
    for card in cards:
        grid.add_column(_text(card.name), justify="right", overflow="fold")
    for group in score_groups(cards, only):
        grid.add_section()
        heading = f"{group.name}, {group.variant}" if group.variant else group.name
        grid.add_row(_text(heading, "bold") + _text(_counted(group.images)))
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


def _alike(cards: Sequence[Scorecard], names: Sequence[str]) -> list[list[str]]:
    """Put together the names of scores that are the same, but for rounding, in every scorecard."""
    together: dict[object, list[str]] = {}
    for name in names:
        entries = [card.entries.get(name) for card in cards]
        numbers = tuple(
            each and (*(f"{value:.6g}" for value in (each.mean, each.low, each.high)), each.images, each.score.better)
            for each in entries
        )
        # What has no spread, such as a likeness of 1 without noise, is the same by chance.
        spread = any(entry and entry.low < entry.high for entry in entries)
        together.setdefault(numbers if spread else name, []).append(name)
    return list(together.values())


def _together(names: Sequence[str]) -> str:
    """Return names of scores as one: of the further ones, what they do not have in common with the first at the start.

    Example:
        >>> _together(["attacked_topk_intersection", "attacked_topk_dice"])
        'attacked topk intersection, dice'
    """
    first, *others = (name.split("_") for name in names)
    shared = [next((i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), 0) for other in others]
    return ", ".join(map(" ".join, [first, *(other[start:] for other, start in zip(others, shared, strict=True))]))


def _row(cards: Sequence[Scorecard], names: Sequence[str], images: str) -> Row:
    entries = [card.entries.get(names[0]) for card in cards]
    there = [entry for entry in entries if entry is not None]
    score = there[0].score
    best = {"higher": max, "lower": min, None: None}[score.better]
    best_mean = best(entry.mean for entry in there) if best is not None and len(there) > 1 else None
    cells: list[Cell | None] = []
    for entry in entries:
        mean, _, interval = str(entry).partition(" ")
        compared = mark(entry, entries[0]) if entry and entries[0] else None
        cells.append(Cell(mean, interval, entry.mean == best_mean, compared) if entry else None)
    unit = "" if score.unit == "fraction" else score.unit
    yardsticks = [
        (name, figures(score, (sum(values) / len(values),))[0])
        for name, key in (("random map", "random_map"), ("chance", "chance"))
        if (values := [value for entry in there if (value := getattr(entry, key)) is not None])
    ]
    return Row(
        name=_together(names),
        unit=unit,
        better=score.better,
        images=images,
        cells=cells,
        meaning=score.meaning,
        span=score.span,
        yardsticks=yardsticks,
        strip=strip(entries),
        said=[of_entry(entry, brief=True) if entry else "" for entry in entries],
    )


def _span(cards: Sequence[Scorecard], name: str) -> str:
    counts = {card.entries[name].images for card in cards if name in card.entries}
    if counts == {card.settings.get("images") for card in cards}:
        return ""
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)}))


def _counted(images: str) -> str:
    return f" ({counted(images, 'images')})" if images else ""


def _text(text: str, style: str = "") -> Text:
    """Return a text that is shown as it is: brackets in names are no markup."""
    return Text(printable(text), style)
