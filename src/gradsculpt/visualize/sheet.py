"""Contact sheets: pictures in labelled rows and columns."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from gradsculpt.visualize.render import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches of a cell: large where there are few, so that photographs can be recognised.
_SMALLEST_CELL, _LARGEST_CELL = 1.15, 2.1
_WIDTH, _HEIGHT = 16.0, 24.0
_DOTS = 110

_PALETTE_SIDE = 128

_TITLE, _LABEL, _CAPTION = 8, 7, 6.5
_POINTS = 72
_LETTER = 0.56  # width of a letter as a share of its size, on average


def contact_sheet(
    rows: Sequence[Sequence[Picture]],
    columns: Sequence[str],
    labels: Sequence[str],
    *,
    captions: Sequence[Sequence[str]] | None = None,
    note: str = "",
) -> bytes:
    """Return a PNG of pictures in a grid, with a heading a column and a label a row.

    Args:
        rows: Square pictures, or pictures of one shape, as many in a row as there are columns.
        columns: Headings; long ones are broken into lines.
        labels: One label a row.
        captions: A line under each picture, in the order of `rows`; an empty one for none.
        note: A line under the whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    cell = min(_LARGEST_CELL, max(_SMALLEST_CELL, min(_WIDTH / len(columns), _HEIGHT / len(rows))))
    headings = [_broken(heading, cell, _TITLE) for heading in columns]
    text = 0.16 * max(heading.count("\n") + 1 for heading in headings) + (0.2 if note else 0.0) + 0.2
    size = (cell * len(columns) + 0.9, (cell + (0.15 if captions else 0.0)) * len(rows) + text)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            axis = axes[i, j]
            # Enlarged in sharp pixels, made smaller without losing thin lines.
            axis.imshow(picture, interpolation="auto", interpolation_stage="rgba")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if i == 0:
                axis.set_title(headings[j], fontsize=_TITLE)
            if j == 0:
                axis.set_ylabel(_broken(labels[i], cell, _LABEL, lines=2), fontsize=_LABEL)
            if captions and captions[i][j]:
                axis.set_xlabel(_broken(captions[i][j], cell, _CAPTION, lines=1), fontsize=_CAPTION, labelpad=1.5)
    if note:
        figure.supxlabel(note, fontsize=_LABEL)
    return _small(figure, photographs=max(max(picture.shape[:2]) for row in rows for picture in row) > _PALETTE_SIDE)


def _small(figure: "Figure", photographs: bool) -> bytes:
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DOTS)
    image = Image.open(drawn).convert("RGB")
    if not photographs:
        # A palette makes the file less than half as large; it would show on a photograph as bands of colour.
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(small, "PNG", optimize=True)
    return small.getvalue()


def _broken(text: str, inches: float, points: float, lines: int = 4) -> str:
    """Break a text into lines that fit into a cell; what is left over ends in an ellipsis."""
    width = max(6, int(inches * _POINTS / (points * _LETTER)))
    paragraphs = (textwrap.wrap(part, width, break_long_words=True) or [""] for part in text.split("\n"))
    found = [line for paragraph in paragraphs for line in paragraph]
    if len(found) > lines:
        found = [*found[: lines - 1], found[lines - 1][: width - 1] + "…"]
    return "\n".join(found)
