"""The scorecard: what a classifier and its maps scored, with intervals."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradsculpt.errors import RunError
from gradsculpt.metrics import Score

FILE = "scorecard.json"

_RESAMPLES = 1000


@dataclass(frozen=True)
class Entry:
    """One line of a scorecard.

    Args:
        group: accuracy, sparsity, robustness or ground truth.
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
class Scorecard:
    """The scores of one classifier on one set of images.

    Args:
        name: What was scored, for tables.
        settings: How: data, split, number of images, size of the perturbation, seed.
        entries: The scores by name, in the order of the table.
    """

    name: str
    settings: Mapping[str, Any]
    entries: Mapping[str, Entry]

    def __getitem__(self, name: str) -> Entry:
        return self.entries[name]

    def __str__(self) -> str:
        """Return the table as plain text."""
        width = max(map(len, self.entries), default=0)
        return "\n".join([self.name, *(f"  {name:<{width}}  {entry}" for name, entry in self.entries.items())])

    def save(self, path: Path) -> None:
        """Write the scorecard as JSON."""
        content = {
            "name": self.name,
            "settings": dict(self.settings),
            "scores": {name: asdict(entry) for name, entry in self.entries.items()},
        }
        path.write_text(json.dumps(content, indent=2, default=str) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Scorecard":
        """Read a scorecard.

        Raises:
            RunError: If the file is missing or is no scorecard.
        """
        try:
            content = json.loads(path.read_text())
            entries = {
                name: Entry(**{**entry, "score": Score(**entry["score"])}) for name, entry in content["scores"].items()
            }
            return cls(content["name"], content["settings"], entries)
        except FileNotFoundError as error:
            raise RunError(f"there is no {path}; write it with `gradsculpt evaluate {path.parent}`.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is no scorecard ({error}); write it again with `gradsculpt evaluate {path.parent}`."
            ) from error


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
