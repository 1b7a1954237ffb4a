"""Level curves of functions of two numbers, with points and arrows on them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Contours(Figure):
    """The level curves that an experiment on the whole study kept, a panel a function.

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
        arrays, notes = results.arrays(self.measure), results.notes(self.measure)
        if not {"x", "y", "values"} <= set(arrays):
            raise ArgumentError(
                f"{self.measure} has no level curves, so there is nothing to draw; run it, or name another."
            )
        names = list(notes.get("panels", ()))
        captions = list(notes.get("captions") or [""] * len(names))
        figure, axes = panels(len(names), _SIDE, _SIDE + 0.3, _COLUMNS)
        for i, (axis, name) in enumerate(zip(axes, names, strict=True)):
            values = np.asarray(arrays["values"][i], dtype=np.float64)
            axis.contourf(arrays["x"], arrays["y"], values, self.levels, cmap="RdBu_r", alpha=0.35)
            axis.contour(arrays["x"], arrays["y"], values, self.levels, colors="black", linewidths=0.6)
            if "points" in arrays:
                _points(axis, arrays["points"], arrays.get("classes"))
            if "arrows" in arrays:
                x, y, right, up = np.asarray(arrays["arrows"][i], dtype=np.float64).T
                axis.quiver(
                    x, y, right, up, angles="xy", scale_units="xy", scale=1, color="black", width=0.009, zorder=3
                )
            axis.set_xlim(float(np.min(arrays["x"])), float(np.max(arrays["x"])))
            axis.set_ylim(float(np.min(arrays["y"])), float(np.max(arrays["y"])))
            axis.set_xlabel(
                "\n".join(filter(None, [notes.get("x_label", ""), captions[i]])), fontsize=TEXT, parse_math=False
            )
            axis.set_ylabel(notes.get("y_label", ""), fontsize=TEXT, parse_math=False)
            axis.tick_params(labelsize=SMALL)
            title(axis, name, 34)
        return light(figure)


def _points(axis: "Axes", points: "np.ndarray", classes: "np.ndarray | None") -> None:
    labels = np.zeros(len(points)) if classes is None else classes
    for i, label in enumerate(np.unique(labels)):
        chosen = points[labels == label]
        axis.scatter(
            chosen[:, 0], chosen[:, 1], s=8, color=COLOURS[i % len(COLOURS)], marker="os^d"[i % 4], linewidths=0
        )
