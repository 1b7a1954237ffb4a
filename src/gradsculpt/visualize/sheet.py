"""Contact sheets: pictures in labelled rows and columns."""

import io
from collections.abc import Sequence

from PIL import Image

from gradsculpt.visualize.render import Picture

_CELL_INCHES = 1.15


def contact_sheet(rows: Sequence[Sequence[Picture]], columns: Sequence[str], labels: Sequence[str]) -> bytes:
    """Return a PNG of pictures in a grid, with a heading a column and a label a row.

    Args:
        rows: Pictures of one shape, as many in a row as there are columns.
        columns: Headings.
        labels: One label a row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    size = (_CELL_INCHES * len(columns) + 0.9, _CELL_INCHES * len(rows) + 0.35)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            axis = axes[i, j]
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if i == 0:
                axis.set_title(columns[j], fontsize=8)
            if j == 0:
                axis.set_ylabel(labels[i], fontsize=7)
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    # A palette makes the file less than half as large, and the colours of the maps are few anyway.
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()
