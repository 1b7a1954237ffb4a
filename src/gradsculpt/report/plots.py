"""The plots of the page, as SVG: scores against a setting, sparsity against accuracy, and the epochs of training."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradsculpt.evaluation import Scorecard
from gradsculpt.evaluation.plot import label, lines, look
from gradsculpt.evaluation.results import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Epochs = Sequence[Mapping[str, str]]
"""Rows of metrics.csv, by column."""

# About as wide as the screen of a phone, so that the letters are not made smaller there; wider screens enlarge them.
_WIDTH, _HEIGHT = 3.7, 2.8
_LEGEND_LETTERS, _LEGEND_LINE = 52, 0.16
_TICKS, _LETTERS = 12, 18

# The bands of many runs lie over each other, and hide the lines unless they are faint.
_FEW, _BAND, _FAINT_BAND = 3, 0.2, 0.07

_TRAINING = {
    "val_accuracy": ("Training: accuracy", "validation accuracy (%)", 100.0),
    "val_gini": ("Training: sparsity", "Gini index of the maps (0 to 1)", 1.0),
}


@dataclass(frozen=True)
class Plot:
    """A plot: what it shows, in words, how to read it, and its SVG."""

    title: str
    caption: str
    svg: bytes


def plots(names: Sequence[str], cards: Sequence[Scorecard], epochs: Sequence[Epochs]) -> list[Plot]:
    """Return the plots for which there are data, of runs with unique names, in the order of their legends."""
    curves = [
        _curve_plot(names, comparable, " Bands are 95% intervals.")
        for name in dict.fromkeys(name for card in cards for name in card.curves)
        for comparable in _comparable([card.curves.get(name) for card in cards])
    ]
    training = [[_epochs(rows, column) for rows in epochs] for column in _TRAINING]
    drawn = [_curve_plot(names, runs) for runs in training if any(runs)]
    return [*curves, *_trade_off(names, cards), *drawn]


def _comparable(curves: Sequence[Curve | None]) -> list[list[Curve | None]]:
    """Split the curves of the runs into those that share an axis: stages of other networks are other places."""
    axes = list(dict.fromkeys(curve.x if isinstance(curve.x[0], str) else () for curve in curves if curve is not None))
    if axes == [()]:
        return [list(curves)]
    return [[curve if curve is not None and curve.x == x else None for curve in curves] for x in axes]


def _epochs(rows: Epochs, column: str) -> Curve | None:
    """Return a column of metrics.csv as a curve, if it has any value."""
    title, y_label, scale = _TRAINING[column]
    values = {int(row["epoch"]): scale * float(row[column]) for row in rows if row.get(column)}
    y, caption = tuple(values.values()), "On the validation part, after each epoch."
    return Curve(title, "epoch", y_label, tuple(values), y, y, y, caption) if values else None


def _curve_plot(names: Sequence[str], curves: Sequence[Curve | None], more: str = "") -> Plot:
    from matplotlib.ticker import MaxNLocator

    first = next(curve for curve in curves if curve is not None)
    shown = [name for name, curve in zip(names, curves, strict=True) if curve is not None]
    stages = [x for x in first.x if isinstance(x, str)]
    figure, axis = _figure(shown, taller=bool(stages))
    handles = lines(axis, curves, _BAND if len(shown) <= _FEW else _FAINT_BAND)
    if stages:
        _thin(axis, stages)
    elif first.x_label == "epoch":
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return Plot(first.title, f"{first.caption}{more}".lstrip(), _svg(figure, handles, shown))


def _thin(axis: "Axes", stages: Sequence[str]) -> None:
    """Name a dozen stages at most, the first and the last among them; the others keep a small tick."""
    count = min(_TICKS, len(stages))
    places = sorted({round(i * (len(stages) - 1) / max(1, count - 1)) for i in range(count)})
    short = [name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :] for name in (stages[i] for i in places)]
    axis.set_xticks(places, short, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_xticks(range(len(stages)), minor=True)
    axis.tick_params(axis="x", labelsize=6)


def _trade_off(names: Sequence[str], cards: Sequence[Scorecard]) -> list[Plot]:
    shown = [i for i, card in enumerate(cards) if {"accuracy", "gini"} <= set(card.entries)]
    if len(shown) < 2:
        return []
    figure, axis = _figure([names[i] for i in shown])
    handles = []
    for i in shown:
        x, y = cards[i]["gini"], cards[i]["accuracy"]
        style, colour = look(i)
        bars = axis.errorbar(
            [x.mean],
            [100 * y.mean],
            xerr=[[x.mean - x.low], [x.high - x.mean]],
            yerr=[[100 * (y.mean - y.low)], [100 * (y.high - y.mean)]],
            fmt=style[0],
            color=colour,
            markersize=5,
            linewidth=1,
            capsize=2,
        )
        handles.append(bars)
    label(axis, "Gini index of the maps (0 even, 1 one pixel)", "accuracy (%)")
    caption = "Up is more accurate, right is sparser: the top right corner is best. Bars are 95% intervals."
    svg = _svg(figure, handles, [names[i] for i in shown])
    return [Plot("Accuracy against the sparsity of the maps", caption, svg)]


def _figure(names: Sequence[str], *, taller: bool = False) -> "tuple[Figure, Axes]":
    """Return a figure with room below for the legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(len(names) / _columns(names))
    height = _HEIGHT + _LEGEND_LINE * rows + (0.6 if taller else 0.0)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _columns(names: Sequence[str]) -> int:
    return max(1, min(len(names), _LEGEND_LETTERS // (max(map(len, names)) + 8)))


def _svg(figure: "Figure", handles: Sequence[Any], names: Sequence[str]) -> bytes:
    """Return the figure with a legend below the axis, where it hides no line."""
    import matplotlib

    # A dollar sign would begin a formula.
    labels = [name.replace("$", r"\$") for name in names]
    figure.legend(handles, labels, loc="outside lower center", ncols=_columns(names), fontsize=7)
    stream = io.BytesIO()
    # Letters stay letters, which are sharp at any size, and the ids do not change from one writing to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gradsculpt"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()
