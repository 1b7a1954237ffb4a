"""Scores on axes that show their values: those from 0 to 1 together, those of any other unit apart."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gradsculpt.evaluation.results import Entry, look
from gradsculpt.metrics import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BOUNDED = "value; bars are 95% intervals"
_ROOM = 1.06  # for the marker of the largest value


class Scores(Protocol):
    """Scores of one classifier by name."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The scores."""


def heading(name: str, entry: Entry) -> str:
    """Return the name of a score in words, with an arrow that says what is better."""
    return name.replace("_", " ") + {"higher": " ↑", "lower": " ↓", None: ""}[entry.score.better]


def panels_of(cards: Sequence[Scores]) -> dict[str, list[str]]:
    """Return the names of scores that share an axis, by the label of the axis; the first is of those from 0 to 1."""
    entries = {name: entry for card in cards for name, entry in card.entries.items()}
    panels: dict[str, list[str]] = {_BOUNDED: []} if any(_is_bounded(e.score) for e in entries.values()) else {}
    for name, entry in entries.items():
        label = _BOUNDED if _is_bounded(entry.score) else entry.score.unit or name.replace("_", " ")
        panels.setdefault(label, []).append(name)
    return panels


def draw_scores(axis: "Axes", cards: Sequence[Scores], names: Sequence[str], label: str) -> dict[int, Any]:
    """Draw scores, one a line, where they are on the axis, and return a handle a card that has any.

    The axis reaches from 0, or from the lowest where that is below, to 1, or to the largest where scores go further.
    """
    handles, shown = dict[int, Any](), list[Entry]()
    for row, name in enumerate(names):
        for i, card in enumerate(cards):
            if (entry := card.entries.get(name)) is None:
                continue
            shown.append(entry)
            place, (style, colour) = row + (i - (len(cards) - 1) / 2) * 0.6 / len(cards), look(i)
            axis.plot([entry.low, entry.high], [place, place], color=colour, linewidth=2, alpha=0.5)
            (handles[i],) = axis.plot([entry.mean], [place], style[0], color=colour, markersize=5, clip_on=False)
    first = {name: next(card.entries[name] for card in cards if name in card.entries) for name in names}
    axis.set_yticks(range(len(names)), [heading(name, entry) for name, entry in first.items()], fontsize=7)
    axis.set_ylim(len(names) - 0.4, -0.6)
    low, high = min(0.0, *(entry.low for entry in shown)), max(0.0, *(entry.high for entry in shown))
    axis.set_xlim(low, max(1.0, high) if all(_is_bounded(entry.score) for entry in shown) else high * _ROOM or 1.0)
    axis.set_xlabel(label, fontsize=8, parse_math=False)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="x", alpha=0.3)
    if len(cards) == 1:  # of several, the numbers would stand on each other
        numbers = axis.secondary_yaxis("right")
        numbers.set_yticks(range(len(names)), [str(first[name]) for name in names], fontsize=7)
        numbers.tick_params(length=0)
    return handles


def _is_bounded(score: Score) -> bool:
    return math.isfinite(score.low) and score.low >= -1 and score.high <= 1
