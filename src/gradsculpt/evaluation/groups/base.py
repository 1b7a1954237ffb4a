"""What a group of scores is: the base class of the shipped ones and of everybody's own."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from gradsculpt.evaluation.batch import EvaluationBatch, MapAttack
from gradsculpt.metrics import Score


class Point(NamedTuple):
    """The place of a column on a curve: the curve's name, and the setting that the column was measured at."""

    curve: str
    x: float | str


class CurveText(NamedTuple):
    """What is written on a curve: title, labels of the axes with their units, and how to read it in a sentence."""

    title: str
    x_label: str
    y_label: str
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Column:
    """One value an image, and what it is.

    Args:
        score: Name, range, direction and unit.
        values: [M], for the first M images of the batch; NaN for those that do not count.
        point: Its place on a curve; a column without one is a line of the table.
        heading: What the group's heading in the table goes on with.
    """

    score: Score
    values: Tensor
    point: Point | None = None
    heading: str = ""


@dataclass(frozen=True)
class ScoreGroup(ABC):
    """Scores that belong together, with their settings: a frozen dataclass with a field a setting.

    In the shipped ones, k is the share of the non-zero pixels whose overlap is counted, and a number that is out of
    range raises `ArgumentError`.

    Write `measure`, and say in `curves` what is written on each curve that it yields points of. `needs_ground_truth`
    leaves out batches without truth maps. For the page of the report, `label` and `question` say in plain words what
    the scores are about, and `note` is a sentence on how, with settings in braces as in `str.format`. Where a number
    needs all images at once, write `summarised`. `measure` is also called, for the first `trials` images, with maps
    that know nothing of the image, for what the scores are held against (see `evaluation.yardsticks`).

    Example:
        >>> import torch
        >>> from gradsculpt.evaluation import Column, Protocol, evaluate
        >>> @dataclass(frozen=True)
        ... class Contrast(ScoreGroup):
        ...     threshold: float = 0.5
        ...
        ...     def measure(self, batch):
        ...         strong = (batch.heat > self.threshold).float().mean(dim=(1, 2))
        ...         yield Column(Score("strong_pixels", 0.0, 1.0, "lower", "fraction"), strong)
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
        >>> images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
        >>> card = evaluate(model, [(images, labels)], Protocol(groups=(Contrast(threshold=0.0),)))
        >>> print(card["strong_pixels"].group, card["strong_pixels"])
        contrast 100.0% [100.0, 100.0]
    """

    curves: ClassVar[Mapping[str, CurveText]] = {}
    label: ClassVar[str] = ""
    question: ClassVar[str] = ""
    note: ClassVar[str] = ""
    needs_ground_truth: ClassVar[bool] = False
    trials: ClassVar[int] = 32

    @classmethod
    def short_name(cls) -> str:
        """Return the name of the class in small letters, words apart."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @property
    def name(self) -> str:
        """The heading in tables, which no other group of a protocol has."""
        return self.short_name()

    @property
    def attack(self) -> MapAttack | None:
        """The attack that this group makes on maps, so that others can look at the same attacked images."""
        return None

    @property
    def needs_labels(self) -> bool:
        """Whether it looks at true classes, beside those whose maps are read; then it is not for images without any."""
        return False

    @abstractmethod
    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield the columns of a batch; each score and each point has a name of its own."""

    def summarised(self, columns: Sequence[Column]) -> Iterable[Column]:
        """Return what goes into the table, from the columns over all images that are on no curve: all of them."""
        return columns
