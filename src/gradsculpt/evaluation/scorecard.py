"""The scorecard: what a classifier and its maps scored, with intervals."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.errors import ArgumentError, RunError, first_line
from gradsculpt.evaluation.panels import draw_scores, heading, panels_of
from gradsculpt.evaluation.results import Curve, Entry, curve_of, entry_of, legend, lines, settings_of
from gradsculpt.files import whole
from gradsculpt.notebook import table
from gradsculpt.reading import read_json
from gradsculpt.seals import check, sealed_json

if TYPE_CHECKING:
    import pandas

    from gradsculpt.drawing import Drawing

FILE = "scorecard.json"
BLANK = "zero_map"
"""The score that says how many maps are zero everywhere; a scorecard has it only if there are any."""

ODD = "not_finite"
"""The score that says of how many images nothing finite was found; a scorecard has it only if there are any."""

LEFT_OUT = "left_out"
"""What the settings say of them: their names."""

_LINE, _AXIS, _CURVE, _MARGIN = 0.26, 0.62, 2.6, 0.3  # heights in inches
_TITLE_LETTERS, _NAMED = 44, 10

_LARGEST = 64 * 2**20  # bytes of a file, of which thousands of curves do not fill a tenth


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
        """What has to be known before any score is believed: how many maps are zero everywhere, or not finite.

        It is empty if none is.
        """
        return "; ".join(filter(None, (self._of_odd(), self._of_blank())))

    def _of_odd(self) -> str:
        odd = self.entries.get(ODD)
        if odd is None:
            return ""
        names = [str(name) for name in self.settings.get(LEFT_OUT, ())]
        which = f" ({', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''})" if names else ""
        count = round(odd.mean * odd.images)
        return f"{count} OF {odd.images} IMAGES HAVE NO FINITE LOGITS OR MAP{which}, and are left out of every score"

    def _of_blank(self) -> str:
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

    def _repr_html_(self) -> str:
        rows = [
            (entry.group, heading(name, entry), str(entry), str(entry.images)) for name, entry in self.entries.items()
        ]
        columns = ("group", "score (arrow: what is better)", "mean [95% interval]", "images")
        return table(self.name, rows, columns, self.warning)

    def plot(self) -> "Drawing":
        """Return the scores as a figure, each with its value and interval, and the curves below; a notebook shows it.

        Scores that lie between 0 and 1, or -1 and 1, share an axis from 0 to 1, which begins lower if one of them does.
        Others have axes of their own: one a unit, and one for each that has no unit.
        """
        return plot([self])

    def save(self, path: str | Path) -> None:
        """Write the scorecard as JSON, in which null stands for the bound that a score does not have.

        Raises: RunError if the file cannot be written.
        """
        path = Path(path)
        content = {
            "name": self.name,
            "settings": dict(self.settings),
            "scores": {name: asdict(entry) for name, entry in self.entries.items()},
            "curves": {name: asdict(curve) for name, curve in self.curves.items()},
        }
        try:
            with whole(path) as draft:
                draft.write_bytes(sealed_json(content))
        except OSError as error:
            raise RunError(
                f"{path} cannot be written ({error.strerror or error}), so the scorecard is not saved. Name a file in "
                "a folder that can be written to and has room."
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> "Scorecard":
        """Read a scorecard from its file, or from the folder of a run; raise `RunError` if it is missing or is none."""
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        try:
            check(path, f"Write it again with `gradsculpt evaluate {path.parent}`.")
            content = read_json(path, _LARGEST)
            parts = [content, content["settings"], content["scores"], content.get("curves", {})]
            if not all(isinstance(part, dict) for part in parts) or not isinstance(content["name"], str):
                raise TypeError("a part of it is of another kind")
            entries = {key: entry_of(value) for key, value in content["scores"].items()}
            curves = {key: curve_of(value) for key, value in content.get("curves", {}).items()}
            return cls(content["name"], settings_of(content["settings"]), entries, curves)
        except FileNotFoundError as error:
            raise RunError(f"there is no {path}; write it with `gradsculpt evaluate {path.parent}`.") from error
        except OSError as error:
            raise RunError(
                f"{path} cannot be read ({error.strerror or error}), so there are no scores; see to it that it may be."
            ) from error
        except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(
                f"{path} is no scorecard ({first_line(error)}); write it again with `gradsculpt evaluate "
                f"{path.parent}`."
            ) from error


def plot(cards: Sequence[Scorecard]) -> "Drawing":
    """Return scorecards as one figure, as `Scorecard.plot` does of one; each card has its colour and marker."""
    from gradsculpt.drawing import Drawing

    panels = list(panels_of(cards).items())
    curves = list(dict.fromkeys(name for card in cards for name in card.curves))
    rows = (len(curves) + 1) // 2
    heights = [_LINE * len(names) + _AXIS for _, names in panels]
    halves = [(part, height) for part, height in ((panels, sum(heights)), (curves, _CURVE * rows)) if part]
    sizes = [height for _, height in halves] or [1.0]
    figure = Drawing(figsize=(8.0, max(2.0, sum(sizes) + _MARGIN)), layout="constrained")
    parts: Any = figure.subfigures(len(sizes), 1, height_ratios=sizes, squeeze=False).ravel()
    handles = dict[int, Any]()
    upper = parts[0].subplots(len(panels), 1, height_ratios=heights, squeeze=False).ravel() if panels else []
    for axis, (label, names) in zip(upper, panels, strict=True):
        handles = draw_scores(axis, cards, names, label) | handles
    axes = parts[-1].subplots(rows, 2, squeeze=False).ravel() if curves else []
    for axis, name in zip(axes, curves, strict=False):
        drawn = [card for card in cards if name in card.curves]
        legend(axis, lines(axis, [card.curves.get(name) for card in cards]), [card.name for card in drawn], fontsize=7)
        axis.set_title(textwrap.fill(drawn[0].curves[name].title, _TITLE_LETTERS), fontsize=9)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    if handles:
        names = [cards[i].name for i in sorted(handles)]
        legend(figure, [handles[i] for i in sorted(handles)], names, loc="outside upper left", ncols=3, fontsize=8)
    return figure
