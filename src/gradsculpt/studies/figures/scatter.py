"""Rows as points between scores, and which of them no other beats."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from gradsculpt import checks
from gradsculpt.drawing import Drawing
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.results import look
from gradsculpt.studies.figures.axes import SMALL, TEXT, named, panels, rows_of
from gradsculpt.studies.figures.base import Figure, Measured, Results
from gradsculpt.studies.figures.compact import light
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE, _COLUMNS = 4.2, 3


@dataclass(frozen=True)
class Scatter(Figure):
    """Rows as points between two scores, with intervals both ways; between three, a panel for each two of them.

    Args:
        x: A score as measure.score.
        y: Another.
        z: A third one, or none.
        front: Draw the Pareto front: the rows that no other one is at least as good as in all scores, and better in
            one. Between two scores a line joins them; of three, they have a ring.
        rows: Rows to be shown; none for all.

    Raises: ArgumentError, when drawn, if no row has all scores, or a front is wanted and nothing says whether more or
        less of a score is better.
    """

    x: str
    y: str
    z: str | None = None
    front: bool = False
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.declared(self)

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures of its scores."""
        return tuple(score.partition(".")[0] for score in (self.x, self.y, self.z) if score is not None)

    def draw(self, results: Results) -> Drawing:
        """Return the figure."""
        scores = [score for score in (self.x, self.y, self.z) if score is not None]
        points: dict[str, list[Measured]] = {}
        for row in rows_of(results, self.rows):
            values = [results.measured(row, score) for score in scores]
            if all(value is not None and math.isfinite(value.mean) for value in values):
                points[row] = [value for value in values if value is not None]
        if not points:
            raise ArgumentError(f"no row has {' and '.join(scores)}, so there is no point to draw; run their measures.")
        signs = [self._sign(results, score, list(points)) for score in scores] if self.front else []
        best = unbeaten({row: [value.mean for value in values] for row, values in points.items()}, signs)
        pairs = list(combinations(range(len(scores)), 2))
        figure, axes = panels(len(pairs), _SIDE, _SIDE, _COLUMNS)
        handles = dict[str, Any]()
        for axis, (first, second) in zip(axes, pairs, strict=True):
            handles = _points(axis, {row: (v[first], v[second]) for row, v in points.items()})
            for label, score in ((axis.set_xlabel, scores[first]), (axis.set_ylabel, scores[second])):
                label(printable(results.heading(score)), fontsize=TEXT, parse_math=False)
            if self.front and len(scores) == 2:
                ends = sorted((points[row][0].mean, points[row][1].mean) for row in best)
                axis.plot(*zip(*ends, strict=True), color="grey", linewidth=1.0, linestyle="--", zorder=0)
            elif self.front:
                places = [(points[row][first].mean, points[row][second].mean) for row in best]
                x, y = zip(*places, strict=True)
                axis.scatter(x, y, s=130, facecolors="none", edgecolors="black", linewidths=0.9)
        named(figure, handles, beside=len(pairs) == 1)
        if self.front:
            mark = "joined" if len(scores) == 2 else "ringed"
            axes[0].set_title(f"{mark}: no other row is as good in all", fontsize=SMALL)
        return light(figure)

    def _sign(self, results: Results, score: str, rows: Sequence[str]) -> int:
        """Return 1 if more of a score is better, and -1 if less is."""
        measure, _, name = score.partition(".")
        cards = [card for row in rows for card in results.cards(row, measure)[:1] if name in card.entries]
        better = cards[0].entries[name].score.better if cards else None
        if better is None:
            raise ArgumentError(
                f"nothing says whether more or less of {score} is better, so it has no front; leave front away, or "
                "take another score."
            )
        return 1 if better == "higher" else -1


def unbeaten(values: Mapping[str, Sequence[float]], signs: Sequence[int]) -> list[str]:
    """Return the rows of the Pareto front.

    Args:
        values: Numbers by row.
        signs: Of each number, 1 if more is better, -1 if less is.

    Example:
        >>> unbeaten({"a": (1, 5), "b": (2, 4), "c": (1, 4), "d": (2, 4)}, (1, 1))
        ['a', 'b', 'd']
    """
    signed = {row: [sign * v for sign, v in zip(signs, value, strict=False)] for row, value in values.items()}

    def beats(one: Sequence[float], other: Sequence[float]) -> bool:
        pairs = list(zip(one, other, strict=True))
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    return [row for row, own in signed.items() if not any(beats(other, own) for other in signed.values())]


def _points(axis: "Axes", points: Mapping[str, tuple[Measured, Measured]]) -> dict[str, Any]:
    """Draw points with their intervals, and return a handle for each."""
    handles = dict[str, Any]()
    for i, (row, (x, y)) in enumerate(points.items()):
        style, colour = look(i)
        axis.plot([x.low, x.high], [y.mean, y.mean], color=colour, linewidth=1.2, alpha=0.5)
        axis.plot([x.mean, x.mean], [y.low, y.high], color=colour, linewidth=1.2, alpha=0.5)
        (handles[row],) = axis.plot([x.mean], [y.mean], style[0], color=colour, markersize=6, clip_on=False)
    axis.tick_params(labelsize=SMALL)
    axis.grid(alpha=0.3)
    axis.margins(0.08)
    return handles
