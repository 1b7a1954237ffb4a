"""A folder that a command fills: pictures and arrays, index.csv with a row an image, and sheet.png of the first."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradsculpt.files import drafts, whole
from gradsculpt.wording import counted

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from gradsculpt.visualize.render import Picture

_SHEET = "sheet.png"
WRITTEN = ("index.csv", _SHEET)
"""The files of a folder of results that are there whatever its images are called."""

_SIDE = 224  # small pictures are enlarged
_LONGEST = 64  # bytes of a part of a file's name: three parts, their numbers and a suffix make 255 at most
_DIGEST = 8
_OF_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def file_name(text: str) -> str:
    """Return a text as one part of the name of a file on any system, without the suffix of an image.

    A text that is too long is cut, and ends in a digest of the whole.

    Example:
        >>> file_name("test/my cat.png"), file_name("nul"), len(file_name("x" * 240))
        ('test_my_cat', '_nul', 64)
    """
    from gradsculpt.data.listing import SUFFIXES

    path = Path(text)
    name = re.sub(r"[^\w.=-]+", "_", str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else text))
    name = f"_{name}" if name.startswith("-") or _OF_WINDOWS.match(name) else name or "_"
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST]
    return f"{name.encode()[: _LONGEST - _DIGEST - 1].decode(errors='ignore')}-{digest}"


def numbered(names: Iterable[str]) -> list[str]:
    """Return names unlike each other, also where case does not count: one that was there before gets a number.

    Example:
        >>> numbered(["run", "run-2", "run", "Run"])
        ['run', 'run-2', 'run-3', 'Run-4']
    """
    taken: dict[str, str] = {}
    for name in names:
        number, unlike = 1, name
        while unlike.casefold() in taken:
            number += 1
            unlike = f"{name}-{number}"
        taken[unlike.casefold()] = unlike
    return list(taken.values())


def array_file(values: npt.NDArray[Any]) -> bytes:
    r"""Return an array as a .npy file. NumPy, which writes files by itself, does not notice that a disk is full.

    Example:
        >>> import numpy as np
        >>> array_file(np.zeros(2))[:6]
        b'\x93NUMPY'
    """
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


class ResultFolder:
    """What a command writes, as it comes; the sheet has at most so many rows, and columns after those of `headings`.

    The folder is there, and nobody else writes into it (see `gradsculpt.locks`).
    """

    def __init__(self, path: Path, rows: int = 0, headings: Sequence[str] = ()) -> None:
        self.path, self._rows, self._labels = path, rows, list[str]()
        self._written, self._table, self._drafts = {_SHEET}, list[Mapping[str, object]](), drafts(path)
        self._columns: dict[str, list[tuple[Picture, str]]] = {heading: [] for heading in headings}

    def index(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write rows of the index, at least one and all with the same columns, after those before."""
        self._table += rows
        with self._whole("index.csv") as draft, draft.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(self._table)

    def save(self, name: str, picture: Picture, values: Tensor | None = None, *, enlarged: bool = True) -> None:
        """Write a picture, and the map or image [C, S, S] that it shows as an array, by their name without suffix."""
        from gradsculpt.visualize import png

        self._written |= {f"{name}.npy", f"{name}.png"}
        if values is not None:
            with self._whole(f"{name}.npy") as draft:
                draft.write_bytes(array_file(values.detach().float().cpu().numpy()))
        with self._whole(f"{name}.png") as draft:
            draft.write_bytes(png(picture, _SIDE if enlarged else None))

    def label(self, labels: Sequence[str]) -> None:
        """Say what further rows of the sheet go by."""
        self._labels += labels[: self._rows - len(self._labels)]

    def show(self, heading: str, pictures: Sequence[Picture], captions: Sequence[str] = ()) -> None:
        """Add pictures to a column of the sheet, and the lines under them."""
        column = self._columns.setdefault(heading, [])
        lines = captions or [""] * len(pictures)
        column += list(zip(pictures, lines, strict=True))[: self._rows - len(column)]

    def others(self) -> list[str]:
        """Return what is to be said of pictures and arrays that were there before: nothing where there are none."""
        strange = {path.name for path in self.path.iterdir() if path.suffix in (".png", ".npy")} - self._written
        return (
            [f"note: {counted(len(strange), 'other files')} there, .png or .npy, not of this call"] if strange else []
        )

    def finish(self, note: str = "", bar: Literal["absolute", "signed"] | None = None) -> None:
        """Draw the sheet, with a line under the whole, and the colours of its maps."""
        from gradsculpt.visualize import contact_sheet

        rows = list(zip(*self._columns.values(), strict=True))
        pictures, captions = ([tuple(cell[i] for cell in row) for row in rows] for i in (0, 1))
        shown = captions if any(map(any, captions)) else None
        sheet = contact_sheet(pictures, list(self._columns), self._labels, captions=shown, note=note, bar=bar)
        self.put_sheet(sheet)

    def put_sheet(self, sheet: bytes) -> None:
        """Write a sheet that was drawn elsewhere."""
        with self._whole(_SHEET) as draft:
            draft.write_bytes(sheet)

    @contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """Yield the draft of a file, after removing those of a call that was killed."""
        for left in self._drafts.pop(name, ()):
            left.unlink(missing_ok=True)
        with whole(self.path / name, lasting=False) as draft:
            yield draft
