"""The lines and curves of a scorecard."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gradsculpt.metrics import Score

_RESAMPLES = 1000


@dataclass(frozen=True)
class Entry:
    """One line of a scorecard.

    Args:
        group: What it belongs to: accuracy, sparsity, robustness-random, and so on.
        score: What was measured: its name, range, direction and unit.
        mean: Mean over the images.
        low: Lower end of the 95% bootstrap interval of the mean.
        high: Upper end.
        images: How many images the mean is over.
    """

    group: str
    score: Score
    mean: float
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        """Format the mean and its interval, fractions in per cent."""
        scale, sign = (100, "%") if self.score.unit == "fraction" else (1, "")
        digits = 1 if sign else 3
        return f"{self.mean * scale:.{digits}f}{sign} [{self.low * scale:.{digits}f}, {self.high * scale:.{digits}f}]"


@dataclass(frozen=True)
class Curve:
    """A score as it changes with a setting.

    Args:
        title: What the score is.
        x_label: What is set, with its unit.
        y_label: What is measured, with its unit.
        x: The settings: numbers, or names of stages.
        mean: Mean over the images at each.
        low: Lower end of the 95% bootstrap interval.
        high: Upper end.
        caption: How to read it, in a sentence.
    """

    title: str
    x_label: str
    y_label: str
    x: tuple[float | str, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    caption: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Curve":
        """Return the curve that was written as a dictionary, with lists for tuples."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
        return cls(**fields)


class Card(Protocol):
    """Whatever has a name, scores and curves."""

    @property
    def name(self) -> str:
        """What was scored."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Scores by name."""

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Curves by name."""


def entry(group: str, score: Score, values: Tensor, seed: int) -> Entry:
    """Summarise one value an image by its mean and 95% percentile bootstrap interval.

    Args:
        group: Group of the table.
        score: What the values are.
        values: [N].
        seed: Seed of the resampling.
    """
    values = values.double().cpu()
    generator = torch.Generator().manual_seed(seed)
    # In chunks, so that ten thousand images do not need a ten-million-entry table.
    rows = max(1, 2_000_000 // len(values))
    means = [
        values[torch.randint(len(values), (min(rows, _RESAMPLES - start), len(values)), generator=generator)].mean(1)
        for start in range(0, _RESAMPLES, rows)
    ]
    ends = torch.quantile(torch.cat(means), torch.tensor([0.025, 0.975], dtype=torch.float64))
    mean = float(values.mean())
    low, high = (float(end) if math.isfinite(end) else mean for end in ends.tolist())
    return Entry(group, score, mean, low, high, len(values))
