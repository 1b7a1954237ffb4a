"""The scorecard: what a classifier and its maps scored, with intervals."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation.results import Curve, Entry
from gradsculpt.metrics import Score

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

FILE = "scorecard.json"


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
        """Return the table for pandas: a row a score, with its group, mean, interval, direction and unit."""
        try:
            import pandas
        except ImportError as error:
            raise ArgumentError(
                f"a data frame needs the package pandas, which cannot be imported ({error}); install it with: "
                "pip install 'gradsculpt[pandas]'"
            ) from error
        rows = {
            name: {column: getattr(entry, column) for column in ("group", "mean", "low", "high", "images")}
            | {"better": entry.score.better, "unit": entry.score.unit}
            for name, entry in self.entries.items()
        }
        frame = pandas.DataFrame.from_dict(rows, orient="index")
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
        """Read a scorecard, or raise `RunError` if the file is missing or is none."""
        try:
            content = json.loads(path.read_text())
            entries = {
                key: Entry(**{**value, "score": Score(**value["score"])}) for key, value in content["scores"].items()
            }
            curves = {
                key: Curve(**{name: tuple(v) if isinstance(v, list) else v for name, v in value.items()})
                for key, value in content.get("curves", {}).items()
            }
            return cls(content["name"], content["settings"], entries, curves)
        except FileNotFoundError as error:
            raise RunError(f"there is no {path}; write it with `gradsculpt evaluate {path.parent}`.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is no scorecard ({error}); write it again with `gradsculpt evaluate {path.parent}`."
            ) from error
