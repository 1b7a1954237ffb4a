"""Contact sheets: pictures in labelled rows and columns."""

import io
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from PIL import Image

from gradsculpt.visualize.render import Picture

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
    """Return a PNG of pictures in a grid, with a heading a column, a label a row, and a note under the whole.

    The pictures are square or of one shape, as many in a row as there are columns; the last row may be shorter.
    Captions stand under them, in the order of `rows`; an empty one for none.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    cell = min(_LARGEST_CELL, max(_SMALLEST_CELL, min(_WIDTH / len(columns), _HEIGHT / len(rows))))
    headings = [_broken(heading, cell, _TITLE) for heading in columns]
    text = 0.16 * max(heading.count("\n") + 1 for heading in headings) + (0.2 if note else 0.0) + 0.2
    size = (cell * len(columns) + 0.9, (cell + (0.15 if captions else 0.0)) * len(rows) + text)
    figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01))
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for line, pictures, texts in zip_longest(axes, rows, captions or (), fillvalue=()):
        for axis, picture, caption in zip_longest(line, pictures, texts):
            if picture is not None:  # enlarged in sharp pixels, made smaller without losing thin lines
                axis.imshow(picture, interpolation="auto", interpolation_stage="rgba")
            if caption:
                axis.set_xlabel(_broken(caption, cell, _CAPTION, lines=1), fontsize=_CAPTION, labelpad=1.5)
    for axis, heading in zip(axes[0], headings, strict=True):
        axis.set_title(heading, fontsize=_TITLE)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(_broken(label, cell, _LABEL, lines=2), fontsize=_LABEL)
    if note:
        figure.supxlabel(note, fontsize=_LABEL)
    drawn, stream = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DOTS)
    image = Image.open(drawn).convert("RGB")
    if max(max(picture.shape[:2]) for row in rows for picture in row) <= _PALETTE_SIDE:
        # A palette makes the file less than half as large; it would show on a photograph as bands of colour.
        image = image.quantize(256, dither=Image.Dither.NONE)
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _broken(text: str, inches: float, points: float, lines: int = 4) -> str:
    """Break a text into lines that fit into a cell; what is left over ends in an ellipsis."""
    width = max(6, int(inches * _POINTS / (points * _LETTER)))
    broken = [line for paragraph in text.split("\n") for line in textwrap.wrap(paragraph, width) or [""]]
    if len(broken) > lines:
        broken = [*broken[: lines - 1], broken[lines - 1][: width - 1] + "…"]
    return "\n".join(broken)
