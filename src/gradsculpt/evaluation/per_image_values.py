"""The per-image values behind a scorecard, written as they come, so that an interrupted evaluation goes on."""

import csv
import io
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gradsculpt.errors import RunError
from gradsculpt.evaluation.groups.base import Point
from gradsculpt.evaluation.results import score_of
from gradsculpt.files import strict_json, sweep, whole
from gradsculpt.links import unlinked
from gradsculpt.metrics import Score
from gradsculpt.reading import read_json, read_text
from gradsculpt.seals import OPEN, SEAL, seal
from gradsculpt.wording import printable

VALUES = "scorecard.csv"
_DRAFT = "scorecard.part.csv"
_NOTE = "scorecard.part.json"
_IMAGE, _DIGEST = "image", "digest"


class Header(NamedTuple):
    """What a column holds: its group, its score, its place on a curve if it has one, and the yardstick if it is one."""

    group: str
    score: Score
    point: Point | None
    yardstick: str = ""

    @property
    def name(self) -> str:
        """The heading in the file."""
        name = self.score.name if self.point is None else f"{self.point.curve}@{self.point.x}"
        return f"{name}~{self.yardstick}" if self.yardstick else name


class _Row(NamedTuple):
    image: str
    digest: str  # of its pixels, label and truth
    values: Mapping[str, float]


class _Values(Mapping[str, float]):
    """Numbers by name, in a fifth of the memory of a dictionary: rows share the names, of which there are few sets."""

    __slots__ = ("_names", "_numbers")

    def __init__(self, values: Mapping[str, float], shared: dict[tuple[str, ...], tuple[str, ...]]) -> None:
        names = tuple(values)
        self._names, self._numbers = shared.setdefault(names, names), array("d", values.values())

    def __getitem__(self, name: str) -> float:
        if name not in self._names:
            raise KeyError(name)
        return self._numbers[self._names.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class PerImageValues:
    """A table with a row an image and a column a score; an empty field stands for what was not measured.

    Args:
        folder: Where the rows are written as they come, or `RunError` is raised; None keeps them in memory only.
        key: Digest of what the values depend on besides the images. Rows that an earlier, interrupted evaluation with
            the same key left in the folder are taken over; others are thrown away.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self._folder, self._key = folder, key
        self._headers: dict[str, Header] = {}
        self._rows: list[_Row] = []
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for name in (VALUES, _DRAFT, _NOTE):
                    sweep(folder / name)
                self._take_over(folder)
                self._rewrite()
            except OSError as error:
                raise RunError(
                    f"{folder} cannot be written to ({error.strerror or error}), so the values would be lost. "
                    "Choose a folder that can be written to and has room."
                ) from error

    def __len__(self) -> int:
        return len(self._rows)

    def keep(self, start: int, digests: Sequence[str]) -> None:
        """Throw away the rows from a batch on that has an image which is not what it was; `start` were compared.

        All of the batch, as images of one batch may have a share in each other's values.
        """
        if any(row.digest != digest for row, digest in zip(self._rows[start:], digests, strict=False)):
            self.end(start)

    def end(self, count: int) -> None:
        """Throw away the rows after so many."""
        if count < len(self._rows):
            del self._rows[count:]
            if not self._rows:
                self._headers.clear()
            self._rewrite()

    def append(self, images: Sequence[str], columns: Mapping[Header, Tensor], digests: Sequence[str] = ()) -> None:
        """Add some images by name, given as columns of as many values, and write them down."""
        lists = {header.name: values.double().cpu().tolist() for header, values in columns.items()}
        rows = [
            _Row(printable(image), digest, self._values({key: values[i] for key, values in lists.items()}))
            for i, (image, digest) in enumerate(zip(images, digests or [""] * len(images), strict=True))
        ]
        self._rows += rows
        new = {header.name: header for header in columns if header.name not in self._headers}
        self._headers |= new
        if new:
            self._rewrite()
        elif self._folder is not None:
            self._write(self._folder / _DRAFT, rows, _IMAGE, _DIGEST, mode="a")

    def columns(self) -> dict[Header, Tensor]:
        """Return every column, float64 [N], with NaN for what was not measured."""
        return {
            header: torch.tensor([row.values.get(name, torch.nan) for row in self._rows], dtype=torch.float64)
            for name, header in self._headers.items()
        }

    def finish(self) -> None:
        """Write the table under its final name, without the yardsticks; the next evaluation starts anew."""
        if self._folder is not None:
            with whole(self._folder / VALUES) as draft:
                self._headers = {name: each for name, each in self._headers.items() if not each.yardstick}
                self._write(draft, self._rows, _IMAGE, last=(f"{SEAL} {OPEN}",))
                seal(draft)
            (self._folder / _NOTE).unlink()
            (self._folder / _DRAFT).unlink()

    def _values(self, values: Mapping[str, float]) -> _Values:
        return _Values({name: value for name, value in values.items() if value == value}, self._shared)

    def _write(self, path: Path, rows: Sequence[_Row], *first: str, mode: str = "w", last: Sequence[str] = ()) -> None:
        with unlinked(path).open(mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*first, *self._headers, *last], extrasaction="ignore")
            if mode == "w":
                writer.writeheader()
            writer.writerows({_IMAGE: row.image, _DIGEST: row.digest, **row.values} for row in rows)

    def _rewrite(self) -> None:
        if self._folder is None:
            return
        headers = {name: {**h._asdict(), "score": asdict(h.score)} for name, h in self._headers.items()}
        # The table goes first: a note without its rows would promise what is not there.
        with whole(self._folder / _DRAFT) as draft:
            self._write(draft, self._rows, _IMAGE, _DIGEST)
        with whole(self._folder / _NOTE) as draft:
            draft.write_bytes(strict_json({"key": self._key, "headers": headers}))

    def _take_over(self, folder: Path) -> None:
        """Read what an interrupted evaluation with the same key wrote, up to a line that was cut off."""
        try:
            note = read_json(folder / _NOTE)
            text = read_text(folder / _DRAFT)
            if note["key"] != self._key:
                return
            headers = {
                name: Header(
                    h["group"], score_of(h["score"]), Point(*h["point"]) if h["point"] else None, h["yardstick"]
                )
                for name, h in note["headers"].items()
            }
            # A row that was cut off in the middle of the file has fields that are no numbers.
            rows = [
                _Row(line.pop(_IMAGE), line.pop(_DIGEST), self._values({k: float(v) for k, v in line.items() if v}))
                for line in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]), restval="missing")
            ]
            if all(row.values.keys() <= headers.keys() for row in rows):
                self._rows, self._headers = rows, headers
        except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
            return
