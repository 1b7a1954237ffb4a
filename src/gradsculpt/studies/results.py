"""The results of a study as far as they are there: scores by row, over the seeds, with intervals."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from gradsculpt.errors import ArgumentError, RunError, did_you_mean
from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.evaluation.per_image_values import VALUES
from gradsculpt.evaluation.scorecard import FILE
from gradsculpt.seals import check
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.task import Task
from gradsculpt.studies.experiments.base import ARRAYS
from gradsculpt.studies.figures.base import Measured
from gradsculpt.studies.plan import Plan
from gradsculpt.studies.schema import scores_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class StoredResults:
    """What the tasks of a plan left in a store; rows of which nothing was measured yet are left out.

    Args:
        plan: The plan.
        store: The store.
    """

    plan: Plan
    store: Store

    @cached_property
    def rows(self) -> Sequence[str]:
        """The rows of which a measurement is done, in the order of the study."""
        done = [(row, task) for (_, row, _), task in self.plan.measurements.items() if self.store.done(task.key)]
        measured = {row for row, _ in done if row is not None}
        together = [task.networks for row, task in done if row is None]
        rows = self.plan.study.rows
        return [
            row
            for row in self.plan.study.run_rows
            if row in measured or any(not networks or rows[row].network in networks for networks in together)
        ]

    def unmeasured(self) -> Iterator[str]:
        """Yield what is to be said of scores that the table or a claim names and no row has, though it was measured."""
        study = self.plan.study
        scores = [column.path for column in study.columns.values()]
        scores += [score for claim in study.claims for score in scores_of(claim)]
        for score in dict.fromkeys(scores):
            measure, _, name = score.partition(".")
            cards = [card for row in self.rows for card in self.cards(row, measure)]
            known = list(dict.fromkeys(each for card in cards for each in card.entries))
            if cards and name not in known:
                yield f"{score} was not measured.{did_you_mean(name, known)} {measure} has {', '.join(known)}"

    def measured(self, row: str, score: str) -> Measured | None:
        """Return a score, named as `measure.score`, of a row; None if there is none."""
        if not (entries := self.entries(row, score)):
            return None
        if len(entries) == 1:
            return Measured(entries[0].mean, entries[0].low, entries[0].high, 1)
        means = [entry.mean for entry in entries]
        return Measured(sum(means) / len(means), min(means), max(means), len(means))

    def entries(self, row: str, score: str) -> list[Entry]:
        """Return a score of a row in full, one a seed."""
        measure, _, name = score.partition(".")
        cards = self.cards(row, measure)
        return [card.entries[name] for card in cards if name in card.entries and math.isfinite(card.entries[name].mean)]

    def heading(self, score: str) -> str:
        """Return what a score is called on an axis, with its unit and an arrow that says what is better."""
        entry = next((entries[0] for row in self.rows if (entries := self.entries(row, score))), None)
        name = score.partition(".")[2].replace("_", " ")
        if entry is None:
            return name
        unit = f" ({entry.score.unit})" if entry.score.unit not in ("", "fraction") else ""
        return f"{name}{unit}" + {"higher": " ↑", "lower": " ↓", None: ""}[entry.score.better]

    def cards(self, row: str | None, measure: str) -> list[Scorecard]:
        """Return the scorecards of a measure of a row, one a seed, or of the study; none if it was not run."""
        return [_card(self.store.folder(task.key)) for task in self._done(measure, row)]

    def values(self, row: str, score: str) -> list[dict[str, float]]:
        """Return a score of every item, such as an image, of a row by the item's name, one mapping a seed."""
        measure, _, name = score.partition(".")
        return [_column(self.store.folder(task.key) / VALUES, name) for task in self._done(measure, row)]

    def arrays(self, measure: str, row: str | None = None) -> "Mapping[str, npt.NDArray[np.generic]]":
        """Return the arrays of an experiment, of a row's first seed or, if it takes all networks, of the study.

        There are none if it was not run, or kept none.
        """
        import numpy as np

        if not self._done(measure, row) or not (self.folder(measure, row) / ARRAYS).exists():
            return {}
        path = self.folder(measure, row) / ARRAYS
        try:
            with np.load(path) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise RunError(f"{path} cannot be read ({error}); delete its folder and run the study again.") from error

    def notes(self, measure: str, row: str | None = None) -> Mapping[str, Any]:
        """Return the notes that an experiment kept beside its arrays; none if it was not run."""
        if not self._done(measure, row):
            return {}
        notes: Mapping[str, Any] = _card(self.folder(measure, row)).settings.get("notes", {})
        return notes

    def folder(self, measure: str, row: str | None = None) -> Path:
        """Return where a command or an experiment left its files; raise `ArgumentError` if it was not run."""
        if not (tasks := self._done(measure, row)):
            of = "" if row is None else f" of {row}"
            raise ArgumentError(f"{measure}{of} was not run, so there is nothing to draw; run the study first.")
        return self.store.folder(tasks[0].key)

    def seconds(self) -> float:
        """Return the time that all tasks of the plan took which are done, whoever did them."""
        return sum(float((self.store.done(key) or {}).get("seconds", 0.0)) for key in self.plan.tasks())

    def machines(self) -> list[Mapping[str, Any]]:
        """Return the kinds of machines that tasks were done on, each once."""
        kinds = [(self.store.done(key) or {}).get("machine") for key in self.plan.tasks()]
        return [dict(kind) for kind in {tuple(sorted(kind.items())): kind for kind in kinds if kind}.values()]

    def _done(self, measure: str, row: str | None) -> list[Task]:
        return [task for task in self.plan.found(measure, row) if self.store.done(task.key) is not None]


def _card(folder: Path) -> Scorecard:
    try:
        return Scorecard.load(folder / FILE)
    except (RunError, OSError) as error:
        told = str(error).partition(";")[0]
        raise RunError(f"{told}; delete the folder {folder} and run the study again.") from error


def _column(path: Path, name: str) -> dict[str, float]:
    try:
        check(path, f"Delete the folder {path.parent} and run the study again.")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(reader := csv.DictReader(file))
        if not reader.fieldnames:
            raise ValueError("it is empty")
        return {row["image"]: float(row[name]) for row in rows if row.get(name)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(f"{path} cannot be read ({error}); delete its folder and run the study again.") from error
