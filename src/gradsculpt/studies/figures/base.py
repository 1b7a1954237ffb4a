"""What a figure is, and the results that it is drawn from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gradsculpt.drawing import Drawing
    from gradsculpt.evaluation import Scorecard


@dataclass(frozen=True)
class Measured:
    """A score of one row, over all seeds: mean, and the ends of an interval.

    With one seed, the interval is the 95% bootstrap interval over images (or other items); with several, the range of
    the seeds' means.
    """

    mean: float
    low: float
    high: float
    seeds: int


class Results(Protocol):
    """What a study's figures are drawn from; a row that was not run at a scale has no results."""

    @property
    def rows(self) -> Sequence[str]:
        """The rows of the study that were run at this scale, in the order of the study."""

    def measured(self, row: str, score: str) -> Measured | None:
        """Return a score, named as `measure.score`, of a row; None if there is none."""

    def heading(self, score: str) -> str:
        """Return what a score is called on an axis, with its unit and an arrow that says what is better."""

    def cards(self, row: str | None, measure: str) -> "list[Scorecard]":
        """Return the scorecards of a measure of a row, one a seed; none if it was not run.

        Of an experiment on the whole study, its one, for which the row may be None.
        """

    def arrays(self, measure: str, row: str | None = None) -> "Mapping[str, npt.NDArray[np.generic]]":
        """Return the arrays of an experiment, of a row's first seed or, if it takes all networks, of the study.

        There are none if it was not run; under no row, there are none of an experiment that is run for each.
        """

    def notes(self, measure: str, row: str | None = None) -> Mapping[str, Any]:
        """Return the notes that an experiment kept beside its arrays; none if it was not run."""

    def folder(self, measure: str, row: str | None = None) -> Path:
        """Return where a command or an experiment left its files, of a row's first seed or of the study."""


@dataclass(frozen=True)
class Figure(ABC):
    """A figure of a study, with its settings: a frozen dataclass with a field a setting.

    A study names it by its class in small letters, or one of your own as module.Class, with its settings.
    """

    @property
    def measures(self) -> Sequence[str]:
        """The measures that it draws, which a study has to have: by default its setting `measure`, if it has one."""
        own = getattr(self, "measure", None)
        return (own,) if isinstance(own, str) else ()

    @abstractmethod
    def draw(self, results: Results) -> "Drawing":
        """Return the figure; raise `ArgumentError` if nothing that it shows was run."""
