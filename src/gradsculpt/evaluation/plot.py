"""Scorecards as figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradsculpt.evaluation.results import Card, Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

STYLES = ("o-", "s--", "^-.", "d:", "v-", "x--", "+-.", "*:")
"""Told apart by marker and dash as well as by colour."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c6d1f")
"""After Okabe and Ito, which all kinds of colour vision tell apart."""


def plot(cards: Sequence[Card]) -> "Figure":
    """Return scorecards as one figure: every score with its interval, then every curve.

    Args:
        cards: The scorecards; each has its own colour and marker.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for card in cards for name in card.entries))
    curves = list(dict.fromkeys(name for card in cards for name in card.curves))
    height = max(2.0, 0.26 * len(names) + 0.8)
    figure = Figure(figsize=(8.0 if curves else 6.0, height + 2.6 * ((len(curves) + 1) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[height, 2.6 * ((len(curves) + 1) // 2)]) if curves else [figure]
    scores(parts[0].subplots(), cards, names)
    if curves:
        axes = parts[1].subplots((len(curves) + 1) // 2, 2, squeeze=False).ravel()
        for axis, name in zip(axes, curves, strict=False):
            shown = [card for card in cards if name in card.curves]
            handles = lines(axis, [card.curves.get(name) for card in cards])
            axis.set_title(shown[0].curves[name].title, fontsize=9)
            axis.legend(handles, [card.name for card in shown], fontsize=7)
        for axis in axes[len(curves) :]:
            axis.set_axis_off()
    return figure


def scores(axis: "Axes", cards: Sequence[Card], names: Sequence[str]) -> None:
    """Draw scores, one a line, scaled so that 0 to 1 is the range that a score can have.

    Scores without an upper end are drawn by their share of the largest value shown.
    """
    for i, card in enumerate(cards):
        for row, name in enumerate(names):
            if name not in card.entries:
                continue
            entry = card.entries[name]
            others = [other.entries[name] for other in cards if name in other.entries]
            top = entry.score.high if entry.score.high < float("inf") else max(other.high for other in others) or 1.0
            low = entry.score.low if entry.score.low > float("-inf") else min(0.0, *(other.low for other in others))
            mean, left, right = ((value - low) / ((top - low) or 1.0) for value in (entry.mean, entry.low, entry.high))
            place = row + (i - (len(cards) - 1) / 2) * 0.6 / max(1, len(cards))
            colour = COLOURS[i % len(COLOURS)]
            axis.plot([left, right], [place, place], color=colour, linewidth=2, alpha=0.5)
            label = card.name if row == 0 else None
            axis.plot([mean], [place], STYLES[i % len(STYLES)][0], color=colour, markersize=5, label=label)
    axis.set_yticks(range(len(names)), [_named(cards, name) for name in names], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("share of the range that each score can have; bars are 95% intervals", fontsize=8)
    axis.grid(axis="x", alpha=0.3)
    axis.legend(fontsize=7)


def lines(axis: "Axes", curves: Sequence[Curve | None], band: float = 0.2) -> "list[Line2D]":
    """Draw one score of several classifiers against its setting, with bands for the intervals, and return the lines.

    Args:
        axis: Where.
        curves: A curve a classifier; one without it takes its turn, so that each has one colour and marker everywhere.
        band: Opacity of the bands.
    """
    drawn = []
    for i, curve in enumerate(curves):
        if curve is not None:
            places = list(range(len(curve.x))) if isinstance(curve.x[0], str) else list(curve.x)
            colour = COLOURS[i % len(COLOURS)]
            drawn += axis.plot(places, curve.mean, STYLES[i % len(STYLES)], color=colour, markersize=3)
            axis.fill_between(places, curve.low, curve.high, color=colour, alpha=band, linewidth=0)
    first = next(curve for curve in curves if curve is not None)
    if isinstance(first.x[0], str):
        axis.set_xticks(range(len(first.x)), [str(x) for x in first.x], rotation=60, ha="right", fontsize=6)
    label(axis, first.x_label, first.y_label)
    return drawn


def label(axis: "Axes", x_label: str, y_label: str) -> None:
    """Write on the axes, with small letters and a faint grid."""
    axis.set_xlabel(x_label, fontsize=8)
    axis.set_ylabel(y_label, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)


def _named(cards: Sequence[Card], name: str) -> str:
    arrows = {"higher": " ↑", "lower": " ↓", None: ""}
    entry = next(card.entries[name] for card in cards if name in card.entries)
    return name.replace("_", " ") + arrows[entry.score.better]
