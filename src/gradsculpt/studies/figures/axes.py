"""What figures of scores share: rows that were run, panels in a grid, and a legend of rows."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.evaluation.results import legend
from gradsculpt.studies.figures.compact import DOTS, Compact
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradsculpt.studies.figures.base import Results

TITLE, TEXT, SMALL = 9, 8, 7
_LINE, _LETTER = 0.16, 0.062  # inches of a line of a legend, and of a letter in it
_LETTERS = 44


def rows_of(results: "Results", wanted: Sequence[str]) -> list[str]:
    """Return the rows that are wanted and were run, in the order that is wanted; all that were run if none is named.

    Raises: ArgumentError if none was run.
    """
    rows = [row for row in wanted if row in results.rows] if wanted else list(results.rows)
    if not rows:
        asked = ", ".join(wanted) or "the study's"
        raise ArgumentError(
            f"none of the rows {asked} was run, so there is nothing to draw; run one of them, or name others."
            f"{did_you_mean(wanted[0], list(results.rows)) if wanted else ''}"
        )
    return rows


def panels(count: int, width: float, height: float, columns: int) -> "tuple[Compact, list[Axes]]":
    """Return a figure of so many axes of a size in inches, at most so many side by side."""
    columns = min(count, columns)
    lines = math.ceil(count / columns)
    figure = Compact(figsize=(width * columns, height * lines), dpi=DOTS, layout="constrained")
    axes: list[Axes] = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def named(figure: Compact, handles: Mapping[str, Any], *, beside: bool = False) -> None:
    """Name lines or points by a legend, which makes the figure higher, or wider where it is beside."""
    names = [shortened(name, _LETTERS) for name in handles]
    width, height = (float(inches) for inches in figure.get_size_inches())
    needed = _LETTER * max(map(len, names)) + 0.6
    columns = 1 if beside else max(1, min(len(names), int(width / needed)))
    if beside:
        figure.set_size_inches(width + needed, max(height, _LINE * len(names) + 0.3))
    else:
        figure.set_size_inches(width, height + _LINE * math.ceil(len(names) / columns) + 0.2)
    place = "outside right upper" if beside else "outside lower center"
    legend(figure, list(handles.values()), names, loc=place, ncols=columns, fontsize=SMALL)


def title(axis: "Axes", text: str, letters: int = 44) -> None:
    """Write above a panel."""
    axis.set_title(textwrap.fill(printable(text), letters), fontsize=TITLE, parse_math=False)


def shortened(text: str, letters: int) -> str:
    """Return a text in one line, of at most so many letters."""
    text = printable(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"
