"""The plots of the page, as SVG: scores against a setting, sparsity against accuracy, and the epochs of training."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gradsculpt.evaluation import Scorecard
from gradsculpt.evaluation.results import Curve, label, legend, lines, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# About as wide as the screen of a phone, so that the letters are not made smaller there; wider screens enlarge them.
_WIDTH, _HEIGHT = 3.7, 2.8
_LEGEND_LETTERS, _LEGEND_LINE = 52, 0.16

# The bands of many runs lie over each other, and hide the lines unless they are faint.
_FEW, _BAND, _FAINT_BAND = 3, 0.2, 0.07

# On a dark screen: letters and axes light, the paper see-through; the colours of the runs stay.
_DARK = (
    b'<style type="text/css">@media (prefers-color-scheme: dark) { text { fill: #e7e9ee !important } '
    b'[style*="fill: #ffffff"] { fill: #14161a !important } [style*="stroke: #000000"] { stroke: #a8aebb !important } '
    b'[style*="stroke: #b0b0b0"] { stroke: #565d69 !important } }</style>'
)

_LOSS = "train_loss"

_TRAINING = {
    _LOSS: ("Training: loss", "loss of the training", 1.0),
    "val_accuracy": ("Training: accuracy", "validation accuracy (%)", 100.0),
    "val_gini": ("Training: sparsity", "Gini index of the maps (0 to 1)", 1.0),
}

_READ = {
    _LOSS: "Over each epoch. Each network has the loss of its own training: how it falls matters, not which is lower."
}


@dataclass(frozen=True)
class Plot:
    """A plot: what it shows, in words, how to read it, and its SVG."""

    title: str
    caption: str
    svg: bytes


def plots(
    names: Sequence[str], cards: Sequence[Scorecard], epochs: Sequence[Sequence[Mapping[str, str]]]
) -> list[Plot]:
    """Return the plots for which there are data of runs: unique names, scorecards, and rows of metrics.csv."""
    curves = [
        _curve_plot(names, comparable, " Bands are 95% intervals.")
        for name in dict.fromkeys(name for card in cards for name in card.curves)
        for comparable in _comparable([card.curves.get(name) for card in cards])
    ]
    return [*curves, *_trade_off(names, cards), *training_plots(names, epochs, with_loss=False)]


def training_plots(
    names: Sequence[str], epochs: Sequence[Sequence[Mapping[str, str]]], *, with_loss: bool = True
) -> list[Plot]:
    """Return the plots of trainings, from rows of metrics.csv: loss, accuracy, and how concentrated the maps are.

    The losses of networks that are trained in different ways are no scores to compare them by.
    """
    columns = [column for column in _TRAINING if with_loss or column != _LOSS]
    training = [[_epochs(rows, column) for rows in epochs] for column in columns]
    return [_curve_plot(names, runs) for runs in training if any(runs)]


def check_epochs(epochs: Sequence[Mapping[str, str]]) -> None:
    """Raise `ValueError`, `TypeError` or `KeyError` unless what is drawn of rows of metrics.csv are numbers."""
    for column in _TRAINING:
        _epochs(epochs, column)


def _comparable(curves: Sequence[Curve | None]) -> list[list[Curve | None]]:
    """Split the curves of the runs into those that share an axis: stages of other networks are other places."""
    axes = list(dict.fromkeys(curve.x if isinstance(curve.x[0], str) else () for curve in curves if curve is not None))
    return [[curve if curve is not None and x in ((), curve.x) else None for curve in curves] for x in axes]


def _epochs(rows: Sequence[Mapping[str, str]], column: str) -> Curve | None:
    """Return a column of metrics.csv as a curve, if it has any value."""
    title, y_label, scale = _TRAINING[column]
    values = {int(row["epoch"]): scale * float(row[column]) for row in rows if row.get(column)}
    y, caption = tuple(values.values()), _READ.get(column, "On the validation part, after each epoch.")
    return Curve(title, "epoch", y_label, tuple(values), y, y, y, caption) if values else None


def _curve_plot(names: Sequence[str], curves: Sequence[Curve | None], more: str = "") -> Plot:
    first = next(curve for curve in curves if curve is not None)
    shown = [name for name, curve in zip(names, curves, strict=True) if curve is not None]
    draw = partial(lines, curves=curves, band=_BAND if len(shown) <= _FEW else _FAINT_BAND)
    more_height = 0.6 if isinstance(first.x[0], str) else 0.0
    return _plot(first.title, f"{first.caption}{more}".lstrip(), shown, draw, more_height)


def _trade_off(names: Sequence[str], cards: Sequence[Scorecard]) -> list[Plot]:
    shown = [i for i, card in enumerate(cards) if {"accuracy", "gini"} <= set(card.entries)]
    if len(shown) < 2:
        return []

    def draw(axis: "Axes") -> Sequence[Any]:
        bars = []
        for i in shown:
            x, y = cards[i]["gini"], cards[i]["accuracy"]
            left_right = [[x.mean - x.low], [x.high - x.mean]]
            below_above = [[100 * (y.mean - y.low)], [100 * (y.high - y.mean)]]
            style, colour = look(i)
            settings: dict[str, Any] = {"fmt": style[0], "color": colour, "markersize": 5, "linewidth": 1, "capsize": 2}
            bars.append(axis.errorbar([x.mean], [100 * y.mean], below_above, left_right, **settings))
        label(axis, "Gini index of the maps (0 even, 1 one pixel)", "accuracy (%)")
        return bars

    caption = "Up is more accurate, right is sparser: the top right corner is best. Bars are 95% intervals."
    return [_plot("Accuracy against the sparsity of the maps", caption, [names[i] for i in shown], draw)]


def _plot(
    title: str, caption: str, names: Sequence[str], draw: Callable[["Axes"], Sequence[Any]], more_height: float = 0.0
) -> Plot:
    """Return what `draw` draws, with a legend of its handles below the axis, where it hides no line."""
    import matplotlib
    from matplotlib.figure import Figure

    from gradsculpt.lettering import save

    columns = max(1, min(len(names), _LEGEND_LETTERS // (max(map(len, names)) + 8)))
    height = _HEIGHT + _LEGEND_LINE * math.ceil(len(names) / columns) + more_height
    figure, stream = Figure(figsize=(_WIDTH, height), layout="constrained"), io.BytesIO()
    handles = draw(figure.subplots())
    legend(figure, handles, names, loc="outside lower center", ncols=columns, fontsize=7)
    # Letters stay letters, which are sharp at any size, and the ids do not change from one writing to the next.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gradsculpt"}):
        save(figure, stream, format="svg", metadata={"Date": None})
    return Plot(title, caption, stream.getvalue().replace(b"<defs>", _DARK + b"<defs>", 1))
