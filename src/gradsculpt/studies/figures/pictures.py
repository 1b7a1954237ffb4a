"""Named pictures in a grid, as experiments keep them."""

from dataclasses import dataclass
from typing import Any

from gradsculpt import checks
from gradsculpt.drawing import Drawing
from gradsculpt.errors import ArgumentError
from gradsculpt.models.imagenet import in_words
from gradsculpt.studies.figures.axes import rows_of
from gradsculpt.studies.figures.base import Figure, Results
from gradsculpt.studies.figures.sheet import Cell, sheet


@dataclass(frozen=True)
class Pictures(Figure):
    """The pictures of an experiment in rows and columns: features of classes, cascades, reconstructions.

    The i-th row is its array `pictures i`, [columns, S, S, 3] in 8 bits, or [columns, S, S] of maps up to scale; its
    notes are the names of `rows` and `columns`, and `captions` of the pictures if there are any, a list a row. Of an
    experiment on one network, rows of the study follow each other, with their names before those of its own rows.

    Args:
        measure: The experiment.
        rows: Rows of the study to be shown, of an experiment on one network; none for all.
        note: A sentence at the foot; none for the `note` of the experiment.

    Raises: ArgumentError, when drawn, if it was not run, or rows have different columns.
    """

    measure: str
    rows: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        checks.declared(self)

    def draw(self, results: Results) -> Drawing:
        """Return the figure."""
        sources: list[str | None] = [None]
        if not results.arrays(self.measure):
            sources = [row for row in rows_of(results, self.rows) if results.arrays(self.measure, row)]
        cells, labels, headings = list[list[Cell | None]](), list[str](), list[str]()
        maps, note = False, self.note
        for source in sources:
            notes, arrays = results.notes(self.measure, source), results.arrays(self.measure, source)
            columns = list(notes.get("columns", ()))
            headings, note = headings or columns, note or str(notes.get("note", ""))
            if columns != headings:
                raise ArgumentError(
                    f"the pictures of {source} are {', '.join(columns)}, and those before {', '.join(headings)}, so "
                    "they have no columns together; draw them in figures of their own with rows."
                )
            for i, label in enumerate(notes.get("rows", ())):
                row: list[Cell | None] = [
                    self._cell(picture, notes, i, j) for j, picture in enumerate(arrays[f"pictures {i}"])
                ]
                maps = maps or any(cell is not None and cell.content.ndim == 2 for cell in row)
                cells.append(row)
                labels.append("\n".join(in_words(part) for part in (source or "", *str(label).split("\n")) if part))
        if not cells:
            raise ArgumentError(
                f"{self.measure} has no pictures, so there is nothing to draw; run it, or name another."
            )
        return sheet(cells, [in_words(heading) for heading in headings], labels, note, bar=False if maps else None)

    def _cell(self, picture: Any, notes: Any, row: int, column: int) -> Cell:
        captions = notes.get("captions") or []
        caption = str(captions[row][column]) if captions else ""
        return Cell(picture, caption=caption)
