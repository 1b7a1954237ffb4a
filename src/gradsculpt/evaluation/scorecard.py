"""The scorecard: what a classifier and its maps scored, with intervals."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.metrics import Score

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FILE = "scorecard.json"

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
    """

    title: str
    x_label: str
    y_label: str
    x: tuple[float | str, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Curve":
        """Return the curve that was written as a dictionary, with lists for tuples."""
        known: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
        return cls(**known)


@dataclass(frozen=True)
class Scorecard:
    """The scores of one classifier on one set of images.

    Args:
        name: What was scored, for tables.
        settings: How: data, split, number of images, size of the perturbation, seed.
        entries: The scores by name, in the order of the table.
        curves: Scores against a setting, by name.

    Example:
        >>> from gradsculpt.metrics import gini
        >>> sparsity = Entry("sparsity", gini.scores[0], mean=0.5, low=0.4, high=0.6, images=8)
        >>> print(Scorecard("mine", {}, {"gini": sparsity}))
        mine
          gini  0.500 [0.400, 0.600]
    """

    name: str
    settings: Mapping[str, Any]
    entries: Mapping[str, Entry]
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Entry:
        return self.entries[name]

    def __str__(self) -> str:
        """Return the table as plain text."""
        width = max(map(len, self.entries), default=0)
        return "\n".join([self.name, *(f"  {name:<{width}}  {entry}" for name, entry in self.entries.items())])

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a data frame: a row a score, with its group, mean, interval, direction and unit.

        Raises:
            ArgumentError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ArgumentError(
                f"a data frame needs the package pandas, which cannot be imported ({error}); install it with: "
                "pip install 'gradsculpt[pandas]'"
            ) from error
        columns = {
            name: {
                "group": entry.group,
                "mean": entry.mean,
                "low": entry.low,
                "high": entry.high,
                "images": entry.images,
                "better": entry.score.better,
                "unit": entry.score.unit,
            }
            for name, entry in self.entries.items()
        }
        frame = pandas.DataFrame.from_dict(columns, orient="index")
        frame.index.name = self.name
        return frame

    def plot(self) -> "Figure":
        """Return the scores as a figure, each on its own range with its interval, and the curves beside them."""
        from gradsculpt.evaluation.plot import plot

        return plot([self])

    def save(self, path: Path) -> None:
        """Write the scorecard as JSON."""
        content = {
            "name": self.name,
            "settings": dict(self.settings),
            "scores": {name: asdict(entry) for name, entry in self.entries.items()},
            "curves": {name: asdict(curve) for name, curve in self.curves.items()},
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
            curves = {name: Curve.from_json(curve) for name, curve in content.get("curves", {}).items()}
            return cls(content["name"], content["settings"], entries, curves)
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
