"""The scorecard: what a classifier and its maps scored, with intervals."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation.results import Curve, Entry, legend, lines, look, score_of
from gradsculpt.files import strict_json, whole

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "scorecard.json"
BLANK = "zero_map"
"""The score that says how many maps are zero everywhere; a scorecard has it only if there are any."""


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

    @property
    def warning(self) -> str:
        """What has to be known before any score is believed: how many maps are zero everywhere; empty if none is."""
        blank = self.entries.get(BLANK)
        if blank is None:
            return ""
        count = round(blank.mean * blank.images)
        of = f"ALL {count} MAPS ARE" if count == blank.images else f"{count} OF {blank.images} MAPS ARE"
        return f"{of} ZERO EVERYWHERE: scores of such maps, stability above all, mean nothing"

    def __str__(self) -> str:
        """Return the table as plain text, after a warning if there is one."""
        width = max(map(len, self.entries), default=0)
        first = f"{self.name}: {self.warning}" if self.warning else self.name
        return "\n".join([first, *(f"  {name:<{width}}  {entry}" for name, entry in self.entries.items())])

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
        return plot([self])

    def save(self, path: Path) -> None:
        """Write the scorecard as JSON, in which null stands for the bound that a score does not have."""
        content = {
            "name": self.name,
            "settings": dict(self.settings),
            "scores": {name: asdict(entry) for name, entry in self.entries.items()},
            "curves": {name: asdict(curve) for name, curve in self.curves.items()},
        }
        with whole(path) as draft:
            draft.write_bytes(strict_json(content, indent=2) + b"\n")

    @classmethod
    def load(cls, path: Path) -> "Scorecard":
        """Read a scorecard, or raise `RunError` if the file is missing or is none."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            entries = {
                key: Entry(**{**value, "score": score_of(value["score"])}) for key, value in content["scores"].items()
            }
            curves = {
                key: Curve(**dict[str, Any]((k, tuple(v) if isinstance(v, list) else v) for k, v in value.items()))
                for key, value in content.get("curves", {}).items()
            }
            return cls(content["name"], content["settings"], entries, curves)
        except FileNotFoundError as error:
            raise RunError(f"there is no {path}; write it with `gradsculpt evaluate {path.parent}`.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is no scorecard ({error}); write it again with `gradsculpt evaluate {path.parent}`."
            ) from error


def plot(cards: Sequence[Scorecard]) -> "Figure":
    """Return scorecards as one figure: every score with its interval, then every curve; each card has its colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for card in cards for name in card.entries))
    curves = list(dict.fromkeys(name for card in cards for name in card.curves))
    rows = (len(curves) + 1) // 2
    heights = [max(2.0, 0.26 * len(names) + 0.8), 2.6 * rows]
    figure = Figure(figsize=(8.0 if curves else 6.0, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, height_ratios=heights) if curves else [figure]
    _scores(halves[0].subplots(), cards, names)
    axes = halves[1].subplots(rows, 2, squeeze=False).ravel() if curves else []
    for axis, name in zip(axes, curves, strict=False):
        shown = [card for card in cards if name in card.curves]
        handles = lines(axis, [card.curves.get(name) for card in cards])
        axis.set_title(shown[0].curves[name].title, fontsize=9)
        legend(axis, handles, [card.name for card in shown], fontsize=7)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    return figure


def _scores(axis: "Axes", cards: Sequence[Scorecard], names: Sequence[str]) -> None:
    """Draw scores, one a line, scaled so that 0 to 1 is the range that a score can have.

    Scores without an upper end are drawn by their share of the largest value shown.
    """
    labels, handles = list[str](), dict[int, Any]()
    for row, name in enumerate(names):
        entries = {i: card.entries[name] for i, card in enumerate(cards) if name in card.entries}
        score = next(iter(entries.values())).score
        labels.append(name.replace("_", " ") + {"higher": " ↑", "lower": " ↓", None: ""}[score.better])
        top = score.high if score.high < float("inf") else max(entry.high for entry in entries.values()) or 1.0
        low = score.low if score.low > float("-inf") else min(0.0, *(entry.low for entry in entries.values()))
        for i, entry in entries.items():
            mean, *ends = ((value - low) / ((top - low) or 1.0) for value in (entry.mean, entry.low, entry.high))
            place, (style, colour) = row + (i - (len(cards) - 1) / 2) * 0.6 / len(cards), look(i)
            axis.plot(ends, [place, place], color=colour, linewidth=2, alpha=0.5)
            (point,) = axis.plot([mean], [place], style[0], color=colour, markersize=5)
            handles.setdefault(i, point)
    axis.set_yticks(range(len(names)), labels, fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("share of the range that each score can have; bars are 95% intervals", fontsize=8)
    axis.grid(axis="x", alpha=0.3)
    legend(axis, [handles[i] for i in sorted(handles)], [cards[i].name for i in sorted(handles)], fontsize=7)
