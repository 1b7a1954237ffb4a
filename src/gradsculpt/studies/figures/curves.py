"""Scores against a setting: of each row, or as an experiment kept them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gradsculpt import checks
from gradsculpt.drawing import Drawing
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.evaluation import Curve, Scorecard
from gradsculpt.evaluation.results import lines
from gradsculpt.studies.figures.axes import SMALL, named, panels, rows_of, title
from gradsculpt.studies.figures.base import Figure, Results
from gradsculpt.studies.figures.compact import light

_WIDTH, _HEIGHT, _COLUMNS = 4.4, 3.2, 2
_BAND, _FAINT, _FEW = 0.15, 0.05, 6  # opacity of intervals: of many lines they lie on each other

Scale = Literal["linear", "x", "y", "both"]


@dataclass(frozen=True)
class Curves(Figure):
    """The curves of a measure, a panel a curve and a line a row, with bands for their intervals.

    Of several seeds, the line is their mean and the band reaches from the lowest to the highest.

    Args:
        measure: A measure whose scorecards have curves.
        curves: Names of the curves; none for all.
        rows: Rows to be shown; none for all.
        log: Which axes are logarithmic: linear for neither, x, y or both.

    Raises: ArgumentError, when drawn, if no row has any of the curves.
    """

    measure: str
    curves: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    log: Scale = "linear"

    def __post_init__(self) -> None:
        checks.declared(self)

    def draw(self, results: Results) -> Drawing:
        """Return the figure."""
        rows = rows_of(results, self.rows)
        cards = {row: results.cards(row, self.measure) for row in rows}
        there = list(dict.fromkeys(name for each in cards.values() for card in each for name in card.curves))
        shown = [name for name in self.curves or there if name in there]
        if not shown:
            asked = f"has no curve {', '.join(self.curves)}" if self.curves else "has no curves"
            hint = did_you_mean(self.curves[0], there) if self.curves else ""
            raise ArgumentError(
                f"{self.measure} {asked} of any row that was run, so there is nothing to draw; those it has are "
                f"{', '.join(there) or 'none'}.{hint}"
            )
        return _drawn([{row: pooled(cards[row], name) for row in rows} for name in shown], self.log)


@dataclass(frozen=True)
class Lines(Figure):
    """The curves that an experiment on the whole study kept, those of one title and unit in one panel.

    A line goes by the name of its curve, less its title in brackets at the end: `standard (insertion)` is the line
    `standard` of the panel `Insertion`.

    Args:
        measure: The experiment.
        log: Which axes are logarithmic: linear for neither, x, y or both.

    Raises: ArgumentError, when drawn, if it was not run or kept no curves.
    """

    measure: str
    log: Scale = "linear"

    def __post_init__(self) -> None:
        checks.declared(self)

    def draw(self, results: Results) -> Drawing:
        """Return the figure."""
        there = {name: curve for card in results.cards(None, self.measure)[:1] for name, curve in card.curves.items()}
        if not there:
            raise ArgumentError(f"{self.measure} has no curves, so there is nothing to draw; run it, or name another.")
        groups: dict[tuple[str, str], dict[str, Curve | None]] = {}
        names = list(dict.fromkeys(_line(name, curve) for name, curve in there.items()))
        for name, curve in there.items():
            group = groups.setdefault((curve.title, curve.y_label), dict.fromkeys(names))
            group[_line(name, curve)] = curve
        return _drawn(list(groups.values()), self.log)


def pooled(cards: Sequence[Scorecard], name: str) -> Curve | None:
    """Return a curve over seeds: that of the only one, or means with the range that seeds span; None if none has it.

    Raises: ArgumentError if they are not over the same settings.
    """
    curves = [card.curves[name] for card in cards if name in card.curves]
    if len(curves) < 2:
        return curves[0] if curves else None
    if any(curve.x != curves[0].x for curve in curves):
        raise ArgumentError(f"the curves {name} of several seeds are over different settings; draw seeds one by one.")
    points = list(zip(*(curve.mean for curve in curves), strict=True))
    mean = tuple(sum(point) / len(point) for point in points)
    return replace(curves[0], mean=mean, low=tuple(map(min, points)), high=tuple(map(max, points)))


def _line(name: str, curve: Curve) -> str:
    end = f" ({curve.title})"
    return name[: -len(end)] if name.lower().endswith(end.lower()) and len(name) > len(end) else name


def _drawn(groups: Sequence[Mapping[str, Curve | None]], log: Scale) -> Drawing:
    """Draw a panel for each group of curves by line; a line has its colour in every panel, and one legend names all."""
    figure, axes = panels(len(groups), _WIDTH, _HEIGHT, _COLUMNS)
    handles = dict[str, Any]()
    for axis, group in zip(axes, groups, strict=True):
        drawn = lines(axis, list(group.values()), band=_BAND if len(group) <= _FEW else _FAINT)
        there = [name for name, curve in group.items() if curve is not None]
        handles = dict(zip(there, drawn, strict=True)) | handles
        curves = [curve for curve in group.values() if curve is not None]
        if log in ("x", "both") and not isinstance(curves[0].x[0], str):
            settings = sorted({float(x) for curve in curves for x in curve.x})
            _logarithmic(axis.set_xscale, settings)
            if len(settings) <= _FEW:  # powers of ten alone would name few of them, or none
                axis.set_xticks(settings, [f"{x:g}" for x in settings])
                axis.set_xticks([], minor=True)
        if log in ("y", "both"):
            _logarithmic(axis.set_yscale, [y for curve in curves for y in curve.mean])
            axis.tick_params(axis="y", which="both", labelsize=SMALL)
        title(axis, curves[0].title)
    order = list(dict.fromkeys(name for group in groups for name in group))
    named(figure, {name: handles[name] for name in order if name in handles})
    return light(figure)


def _logarithmic(scale: Callable[..., Any], values: Sequence[float]) -> None:
    """Make an axis logarithmic; where values are 0 or below, it is linear up to the smallest of the others."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    if min(values, default=1.0) > 0:
        scale("log")
    elif sizes:
        scale("symlog", linthresh=min(sizes))
