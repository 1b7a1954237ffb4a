"""Level curves of functions of two numbers, with points and arrows on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradsculpt import checks
from gradsculpt.drawing import Drawing
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.results import COLOURS
from gradsculpt.studies.figures.axes import SMALL, TEXT, panels, title
from gradsculpt.studies.figures.base import Figure, Results
from gradsculpt.studies.figures.compact import light

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE, _COLUMNS = 3.2, 4


class _Panel(NamedTuple):
    """One function: its name and caption, and where it stands in the arrays of an experiment."""

    name: str
    caption: str
    place: int
    arrays: "Mapping[str, np.ndarray]"
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Contours(Figure):
    """The level curves that an experiment kept, a panel a function; of one that was run for each row, a panel a row.

    Its arrays are `x` [W] and `y` [H], the places; `values` [P, H, W]; and if there are any `points` [N, 2] with their
    `classes` [N], and `arrows` [P, K, 4] as x, y and the length along each. Its notes are the names of `panels`, and
    `captions` under them and `x_label`, `y_label` if there are any.

    Args:
        measure: The experiment.
        levels: How many level curves.

    Raises: ArgumentError, when drawn, if it was not run or kept no such arrays.
    """

    measure: str
    levels: int = 12

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.each_at_least(self, levels=1)

    def draw(self, results: Results) -> Drawing:
        """Return the figure."""
        shown = [panel for row in self._rows(results) for panel in self._panels(results, row)]
        if not shown:
            raise ArgumentError(
                f"{self.measure} has no level curves, so there is nothing to draw; run it, or name another."
            )
        figure, axes = panels(len(shown), _SIDE, _SIDE + 0.3, _COLUMNS)
        for axis, panel in zip(axes, shown, strict=True):
            self._draw(axis, panel)
        return light(figure)

    def _rows(self, results: Results) -> "list[str | None]":
        """Return the rows of which it was run; None stands for the whole study."""
        if results.cards(None, self.measure):
            return [None]
        return [row for row in results.rows if results.cards(row, self.measure)]

    def _panels(self, results: Results, row: str | None) -> "list[_Panel]":
        arrays, notes = results.arrays(self.measure, row), results.notes(self.measure, row)
        if not {"x", "y", "values"} <= set(arrays):
            return []
        names = list(notes.get("panels", ()))
        captions = list(notes.get("captions") or [""] * len(names))
        titles = names if row is None else [row if len(names) == 1 else f"{row}: {name}" for name in names]
        return [_Panel(title, captions[i], i, arrays, notes) for i, title in enumerate(titles)]

    def _draw(self, axis: "Axes", panel: "_Panel") -> None:
        arrays, notes = panel.arrays, panel.notes
        values = np.asarray(arrays["values"][panel.place], dtype=np.float64)
        # Where values have both signs, white is 0.
        ends = {"vmin": -np.abs(values).max(), "vmax": np.abs(values).max()} if values.min() < 0 < values.max() else {}
        axis.contourf(arrays["x"], arrays["y"], values, self.levels, cmap="RdBu_r", alpha=0.35, **ends)
        axis.contour(arrays["x"], arrays["y"], values, self.levels, colors="black", linewidths=0.6)
        if "points" in arrays:
            _points(axis, arrays["points"], arrays.get("classes"))
        if "arrows" in arrays:
            x, y, right, up = np.asarray(arrays["arrows"][panel.place], dtype=np.float64).T
            axis.quiver(x, y, right, up, angles="xy", scale_units="xy", scale=1, color="black", width=0.009, zorder=3)
        axis.set_xlim(float(np.min(arrays["x"])), float(np.max(arrays["x"])))
        axis.set_ylim(float(np.min(arrays["y"])), float(np.max(arrays["y"])))
        axis.set_xlabel(
            "\n".join(filter(None, [notes.get("x_label", ""), panel.caption])), fontsize=TEXT, parse_math=False
        )
        axis.set_ylabel(notes.get("y_label", ""), fontsize=TEXT, parse_math=False)
        axis.tick_params(labelsize=SMALL)
        title(axis, panel.name, 34)


def _points(axis: "Axes", points: "np.ndarray", classes: "np.ndarray | None") -> None:
    labels = np.zeros(len(points)) if classes is None else classes
    for i, label in enumerate(np.unique(labels)):
        chosen = points[labels == label]
        axis.scatter(
            chosen[:, 0], chosen[:, 1], s=8, color=COLOURS[i % len(COLOURS)], marker="os^d"[i % 4], linewidths=0
        )
