"""A folder that a command fills: pictures and arrays, index.csv with a row an image, and sheet.png of the first."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from gradsculpt.cli.process import make_folder
from gradsculpt.visualize import contact_sheet, png
from gradsculpt.visualize.render import Picture

PICTURE_SIDE = 224
"""Maps and small images are enlarged to this side at least."""


class ResultFolder:
    """What a command writes, as it comes.

    Args:
        path: The folder; made if need be.

    Raises:
        RunError: If it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path)
        self.path = path
        self._started = False

    def add_rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write rows of the index, at least one and all with the same columns."""
        with (self.path / "index.csv").open("a" if self._started else "w", newline="", encoding="utf-8") as file:
            index = csv.DictWriter(file, list(rows[0]))
            if not self._started:
                index.writeheader()
            index.writerows(rows)
        self._started = True

    def add_map(self, name: str, values: Tensor, picture: Picture, side: int | None = PICTURE_SIDE) -> None:
        """Write a map or an image, [C, S, S], as an array and as a picture that is enlarged to a side at least."""
        np.save(self.path / f"{name}.npy", values.detach().float().cpu().numpy())
        self.add_picture(name, picture, side)

    def add_picture(self, name: str, picture: Picture, side: int | None = PICTURE_SIDE) -> None:
        """Write a picture by its name without .png, enlarged to a side at least."""
        (self.path / f"{name}.png").write_bytes(png(picture, side))


class Sheet:
    """A contact sheet of the first images, gathered column by column as they come.

    Args:
        headings: The columns, in their order.
        rows: How many images it has at most.
    """

    def __init__(self, headings: Sequence[str], rows: int) -> None:
        self._rows = rows
        self._pictures: dict[str, list[Picture]] = {heading: [] for heading in headings}
        self._captions: dict[str, list[str]] = {heading: [] for heading in headings}
        self._labels: list[str] = []

    def add(self, heading: str, pictures: Sequence[Picture], captions: Sequence[str] = ()) -> None:
        """Add pictures of further images to a column, with the lines under them."""
        free = self._rows - len(self._pictures[heading])
        self._pictures[heading] += pictures[:free]
        self._captions[heading] += list(captions or [""] * len(pictures))[:free]

    def label(self, labels: Sequence[str]) -> None:
        """Add what further images go by."""
        self._labels += labels[: self._rows - len(self._labels)]

    def write(self, folder: ResultFolder, note: str = "") -> None:
        """Draw it into a folder, with a line under the whole."""
        captions = list(zip(*self._captions.values(), strict=True))
        (folder.path / "sheet.png").write_bytes(
            contact_sheet(
                list(zip(*self._pictures.values(), strict=True)),
                list(self._pictures),
                self._labels,
                captions=captions if any(map(any, captions)) else None,
                note=note,
            )
        )
