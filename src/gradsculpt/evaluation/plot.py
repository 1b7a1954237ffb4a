"""Scorecards as figures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gradsculpt.evaluation.results import Curve, Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c6d1f")
"""After Okabe and Ito, which all kinds of colour vision tell apart."""

_STYLES = ("o-", "s--", "^-.", "d:", "v-", "x--", "+-.", "*:")
_NAMED, _LETTERS = 12, 18


class _Card(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def entries(self) -> Mapping[str, Entry]: ...
    @property
    def curves(self) -> Mapping[str, Curve]: ...


def plot(cards: Sequence[_Card]) -> "Figure":
    """Return scorecards as one figure: every score with its interval, then every curve; each card has its colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for card in cards for name in card.entries))
    curves = list(dict.fromkeys(name for card in cards for name in card.curves))
    rows = (len(curves) + 1) // 2
    heights = [max(2.0, 0.26 * len(names) + 0.8), 2.6 * rows]
    figure = Figure(figsize=(8.0 if curves else 6.0, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, height_ratios=heights) if curves else [figure]
    _scores(halves[0].subplots(), cards, names)
    axes = halves[1].subplots(rows, 2, squeeze=False).ravel() if curves else []
    for axis, name in zip(axes, curves, strict=False):
        shown = [card for card in cards if name in card.curves]
        handles = lines(axis, [card.curves.get(name) for card in cards])
        axis.set_title(shown[0].curves[name].title, fontsize=9)
        axis.legend(handles, [card.name for card in shown], fontsize=7)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    return figure


def _scores(axis: "Axes", cards: Sequence[_Card], names: Sequence[str]) -> None:
    """Draw scores, one a line, scaled so that 0 to 1 is the range that a score can have.

    Scores without an upper end are drawn by their share of the largest value shown.
    """
    labels = []
    for row, name in enumerate(names):
        entries = {i: card.entries[name] for i, card in enumerate(cards) if name in card.entries}
        score = next(iter(entries.values())).score
        labels.append(name.replace("_", " ") + {"higher": " ↑", "lower": " ↓", None: ""}[score.better])
        top = score.high if score.high < float("inf") else max(entry.high for entry in entries.values()) or 1.0
        low = score.low if score.low > float("-inf") else min(0.0, *(entry.low for entry in entries.values()))
        for i, entry in entries.items():
            mean, *ends = ((value - low) / ((top - low) or 1.0) for value in (entry.mean, entry.low, entry.high))
            place, (style, colour) = row + (i - (len(cards) - 1) / 2) * 0.6 / len(cards), look(i)
            axis.plot(ends, [place, place], color=colour, linewidth=2, alpha=0.5)
            label = cards[i].name if row == 0 else None
            axis.plot([mean], [place], style[0], color=colour, markersize=5, label=label)
    axis.set_yticks(range(len(names)), labels, fontsize=7)
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
    from matplotlib.ticker import MaxNLocator

    drawn, shown = [], {i: curve for i, curve in enumerate(curves) if curve is not None}
    for i, curve in shown.items():
        places = list(range(len(curve.x))) if isinstance(curve.x[0], str) else list(curve.x)
        style, colour = look(i)
        drawn += axis.plot(places, curve.mean, style, color=colour, markersize=3)
        if curve.low != curve.high:
            axis.fill_between(places, curve.low, curve.high, color=colour, alpha=band, linewidth=0)
    first = next(iter(shown.values()))
    label(axis, first.x_label, first.y_label)
    if isinstance(first.x[0], str):
        # A dozen at most are named, the first and the last among them; the others keep a small tick.
        count, last = min(_NAMED, len(first.x)), len(first.x) - 1
        named = sorted({round(i * last / max(1, count - 1)) for i in range(count)})
        short = [x if len(x) <= _LETTERS else "…" + x[1 - _LETTERS :] for x in (str(first.x[i]) for i in named)]
        axis.set_xticks(named, short, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_xticks(range(len(first.x)), minor=True)
        axis.tick_params(axis="x", labelsize=6)
    elif all(isinstance(x, int) for x in first.x):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def look(i: int) -> tuple[str, str]:
    """Return how the i-th of several is drawn, told apart by marker and dash as well as by colour: style, colour."""
    return _STYLES[i % len(_STYLES)], COLOURS[i % len(COLOURS)]


def label(axis: "Axes", x_label: str, y_label: str) -> None:
    """Write on the axes, with small letters and a faint grid."""
    axis.set_xlabel(x_label, fontsize=8)
    axis.set_ylabel(y_label, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
