"""Scores of rows side by side."""

import math
from dataclasses import dataclass

from gradsculpt import checks
from gradsculpt.drawing import Drawing
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.results import COLOURS
from gradsculpt.studies.figures.axes import SMALL, panels, rows_of, shortened, title
from gradsculpt.studies.figures.base import Figure, Results
from gradsculpt.studies.figures.compact import light

_ROW, _FRAME, _WIDTH, _COLUMNS = 0.24, 0.7, 3.6, 3
_LETTERS = 30
_ROOM = 0.24  # of the axis, for the number beside a bar


@dataclass(frozen=True)
class Bars(Figure):
    """Scores of all rows as bars with their intervals and values, a panel a score.

    Bars begin at 0. A row without a score keeps its place, so that all panels have the same rows.

    Args:
        scores: Scores as measure.score.
        rows: Rows to be shown, in this order; none for all.

    Raises: ArgumentError, when made, if no score is named; when drawn, if none was measured of any row.
    """

    scores: tuple[str, ...]
    rows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.declared(self)
        if not self.scores:
            raise ArgumentError("scores names none, so there is nothing to draw; name one, as measure.score.")

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures of its scores."""
        return tuple(score.partition(".")[0] for score in self.scores)

    def draw(self, results: Results) -> Drawing:
        """Return the figure."""
        rows = rows_of(results, self.rows)
        table = {score: [results.measured(row, score) for row in rows] for score in self.scores}
        shown = [score for score, values in table.items() if any(value is not None for value in values)]
        if not shown:
            raise ArgumentError(
                f"none of the scores {', '.join(self.scores)} was measured, so there is nothing to draw; run the "
                "measure, or name other scores."
            )
        headings = [results.heading(score) for score in shown]
        if len({*headings}) < len(headings):  # the same score of several measures
            headings = [f"{score.partition('.')[0]}: {told}" for score, told in zip(shown, headings, strict=True)]
        figure, axes = panels(len(shown), _WIDTH, _ROW * len(rows) + _FRAME, _COLUMNS)
        for i, (axis, score) in enumerate(zip(axes, shown, strict=True)):
            ends = [0.0]
            for place, value in enumerate(table[score]):
                if value is None or not math.isfinite(value.mean):
                    continue
                axis.barh(place, value.mean, height=0.7, color=COLOURS[0], alpha=0.55)
                axis.plot([value.low, value.high], [place, place], color="black", linewidth=1.2)
                end = max(value.mean, value.high, 0.0)
                axis.annotate(
                    f"{value.mean:.3g}", (end, place), (3, 0), textcoords="offset points", va="center", fontsize=SMALL
                )
                ends += [value.low, value.high, value.mean]
            low, high = min(ends), max(ends)
            axis.set_xlim(low, high + _ROOM * ((high - low) or 1.0))
            first = i % min(len(shown), _COLUMNS) == 0
            labels = [shortened(row, _LETTERS) if first else "" for row in rows]
            axis.set_yticks(range(len(rows)), labels, fontsize=SMALL, parse_math=False)
            axis.set_ylim(len(rows) - 0.4, -0.6)
            axis.tick_params(axis="x", labelsize=SMALL)
            axis.xaxis.get_offset_text().set_fontsize(SMALL)  # a power of ten, where numbers are tiny
            axis.axvline(0, color="grey", linewidth=0.8)
            axis.grid(axis="x", alpha=0.3)
            title(axis, headings[i])
        return light(figure)
