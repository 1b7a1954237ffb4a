"""Figures that show themselves in a notebook, without pyplot and without magic."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradsculpt.lettering import lettered

_DOTS = 110


class Drawing(Figure):
    r"""A figure that a notebook shows as a picture when it is the last thing in a cell; `savefig` writes it to a file.

    A `matplotlib.figure.Figure` that pyplot did not make has no picture there. Nothing is drawn until it is wanted.

    Example:
        >>> figure = Drawing(figsize=(2, 1))
        >>> _ = figure.subplots().plot([0, 1])
        >>> figure._repr_png_()[:4]
        b'\x89PNG'
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save the figure as matplotlib does, with letters of any script."""
        svg = options.get("format", str(fname).rpartition(".")[2]) in ("svg", "svgz")
        with lettered(self, squares=not svg):
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=_DOTS)
        return stream.getvalue()
