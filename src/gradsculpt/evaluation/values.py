"""The per-image values behind a scorecard, written as they come, so that an interrupted evaluation goes on."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradsculpt.errors import RunError
from gradsculpt.evaluation.groups import Point
from gradsculpt.metrics import Score

VALUES = "scorecard.csv"
_DRAFT = "scorecard.part.csv"
_NOTE = "scorecard.part.json"
_IMAGE = "image"


class Header(NamedTuple):
    """What a column holds: its group, its score, and its place on a curve if it has one."""

    group: str
    score: Score
    point: Point | None

    @property
    def name(self) -> str:
        """The heading in the file."""
        return self.score.name if self.point is None else f"{self.point.curve}@{self.point.x}"


class Values:
    """A table with a row an image and a column a score; an empty field stands for what was not measured.

    Args:
        folder: Where the rows are written as they come; None keeps them in memory only.
        settings: What the values depend on. Rows that an earlier, interrupted evaluation with the same settings left
            in the folder are taken over; others are thrown away.

    Raises:
        RunError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._settings = json.loads(json.dumps(dict(settings or {}), default=str))
        self._headers: dict[str, Header] = {}
        self._rows: list[dict[str, float]] = []
        self._names: list[str] = []
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._take_over(folder)
                self._rewrite(folder)
            except OSError as error:
                raise RunError(
                    f"{folder} cannot be written to ({error.strerror or error}), so the values would be lost. "
                    "Choose a folder that can be written to and has room."
                ) from error

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, names: Sequence[str], columns: Mapping[Header, Tensor]) -> None:
        """Add some images by name, given as columns of as many values, and write them down."""
        lists = {header.name: values.double().cpu().tolist() for header, values in columns.items()}
        rows: list[dict[str, float]] = [
            {key: values[i] for key, values in lists.items() if values[i] == values[i]} for i in range(len(names))
        ]
        self._rows += rows
        self._names += names
        new = {header.name: header for header in columns if header.name not in self._headers}
        self._headers |= new
        if self._folder is None:
            return
        if new:
            self._rewrite(self._folder)
        else:
            with (self._folder / _DRAFT).open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, [_IMAGE, *self._headers]).writerows(_named(names, rows))

    def columns(self) -> dict[Header, Tensor]:
        """Return every column, float64 [N], with NaN for what was not measured."""
        return {
            header: torch.tensor([row.get(name, torch.nan) for row in self._rows], dtype=torch.float64)
            for name, header in self._headers.items()
        }

    def finish(self) -> None:
        """Give the table its final name; the next evaluation starts anew."""
        if self._folder is not None:
            (self._folder / _DRAFT).replace(self._folder / VALUES)
            (self._folder / _NOTE).unlink()

    def _rewrite(self, folder: Path) -> None:
        headers = {
            name: {"group": h.group, "score": asdict(h.score), "point": h.point} for name, h in self._headers.items()
        }
        # The table goes first: a note without its rows would promise what is not there.
        with (folder / _DRAFT).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [_IMAGE, *self._headers])
            writer.writeheader()
            writer.writerows(_named(self._names, self._rows))
        (folder / _NOTE).write_text(json.dumps({"settings": self._settings, "headers": headers}), encoding="utf-8")

    def _take_over(self, folder: Path) -> None:
        """Read what an interrupted evaluation with the same settings wrote, up to a line that was cut off."""
        if not (folder / _NOTE).is_file() or not (folder / _DRAFT).is_file():
            return
        try:
            note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
            text = (folder / _DRAFT).read_text(encoding="utf-8")
            if note["settings"] != self._settings:
                return
            found = {
                name: Header(h["group"], Score(**h["score"]), Point(*h["point"]) if h["point"] else None)
                for name, h in note["headers"].items()
            }
            # A row that was cut off in the middle of the file has fields that are no numbers.
            rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]), restval="missing"))
            names = [row.pop(_IMAGE) for row in rows]
            values = [{name: float(value) for name, value in row.items() if value} for row in rows]
            if not all(row.keys() <= found.keys() for row in values):
                return
            self._names, self._rows, self._headers = names, values, found
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error):
            return


def _named(names: Iterable[str], rows: Iterable[Mapping[str, float]]) -> Iterator[dict[str, str | float]]:
    for name, row in zip(names, rows, strict=True):
        yield {_IMAGE: name, **row}
