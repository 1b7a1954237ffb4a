"""The lines and curves of a scorecard."""

import math
from dataclasses import dataclass

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
        mean: Mean over so many `images`, with the ends of its 95% bootstrap interval in `low` and `high`.
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
        title: What the score is; labels of the axes come with their units, and `caption` says how to read it.
        x: The settings: numbers, or names of stages.
        mean: Mean over the images at each, with the ends of its 95% bootstrap interval in `low` and `high`.
    """

    title: str
    x_label: str
    y_label: str
    x: tuple[float | str, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    caption: str = ""


def entry(group: str, score: Score, values: Tensor, seed: int) -> Entry:
    """Summarise one value an image [N] by its mean and 95% percentile bootstrap interval, resampled by the seed."""
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
