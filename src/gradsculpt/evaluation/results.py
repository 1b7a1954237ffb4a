"""The lines and curves of a scorecard, and how curves are drawn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradsculpt.checks import told
from gradsculpt.metrics import Score
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_RESAMPLES = 1000

_HUGE, _TINY = 1e6, 0.01  # beyond these, decimals tell less than powers of ten

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c6d1f")
"""After Okabe and Ito, which all kinds of colour vision tell apart."""

_STYLES = ("o-", "s--", "^-.", "d:", "v-", "x--", "+-.", "*:")
_NAMED, _LETTERS = 12, 18


@dataclass(frozen=True)
class Entry:
    """One line of a scorecard.

    Args:
        group: What it belongs to: accuracy, sparsity, robustness-random, and so on.
        score: What was measured: its name, range, direction and unit.
        mean: Mean over so many `images`, with the ends of its 95% bootstrap interval in `low` and `high`.
        random_map: What maps of noise score in place of the network's; None where the score is not of the map, or
            nobody measured it.
        chance: What chance gives: the map's own values in random places, or of predictions a guess that knows only how
            frequent each class is; None where there is nothing to hit.
    """

    group: str
    score: Score
    mean: float
    low: float
    high: float
    images: int
    random_map: float | None = None
    chance: float | None = None

    def __str__(self) -> str:
        """Format the mean and its interval, fractions in per cent."""
        mean, low, high = figures(self.score, (self.mean, self.low, self.high))
        return f"{mean} [{low.removesuffix('%')}, {high.removesuffix('%')}]"


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


def figures(score: Score, values: Sequence[float]) -> list[str]:
    """Return values of a score as text, all with as many digits as the first one deserves: in tables, pages and plots.

    A fraction is in per cent with one decimal, a score between two ends has three; of what has no end, such as a count,
    three digits are told.

    Example:
        >>> count = Score("spots", 0.0, math.inf, "lower")
        >>> figures(count, (127.969, 9.5)), figures(count, (3.25, 10.0)), figures(Score("r", -1, 1, None), (-0.0001,))
        (['128', '10'], ['3.25', '10.00'], ['0.000'])
    """
    scale, sign = (100, "%") if score.unit == "fraction" else (1, "")
    size = abs(values[0])
    if score.unit == "fraction" or math.isfinite(score.high - score.low):
        decimals = 1 if sign else 3
    elif not math.isfinite(size) or size >= _HUGE or 0 < size < _TINY:
        return [f"{value + 0.0:.3g}" for value in values]
    else:
        decimals = 3 if size == 0 else min(3, max(0, 2 - math.floor(math.log10(size))))
    # Adding zero makes a rounded -0 a 0.
    return [f"{round(value * scale, decimals) + 0.0:.{decimals}f}{sign}" for value in values]


def score_of(fields: Mapping[str, Any]) -> Score:
    """Return a score from what a file holds of it: null, or in older files Infinity, where it has no bound.

    Raises: ValueError, KeyError or TypeError if that is no score.
    """
    bounds = {"low": -math.inf, "high": math.inf}
    score = Score(**{**fields, **{name: end for name, end in bounds.items() if fields[name] is None}})
    _texts(name=score.name, unit=score.unit, meaning=score.meaning)
    if score.better not in ("higher", "lower", None):
        raise ValueError(f"better is {told(score.better)}")
    return replace(score, low=_number("low", score.low), high=_number("high", score.high))


def entry_of(fields: Mapping[str, Any]) -> Entry:
    """Return a line from what a file holds of it, null where a number is not finite; raise as `score_of` does."""
    line = Entry(**{**fields, "score": score_of(fields["score"])})
    _texts(group=line.group)
    if not isinstance(line.images, int) or isinstance(line.images, bool) or line.images < 1:
        raise ValueError(f"images is {told(line.images)}")
    mean, low, high = (_number(name, getattr(line, name)) for name in ("mean", "low", "high"))
    held = {name: getattr(line, name) for name in ("random_map", "chance")}
    random_map, chance = (None if value is None else _number(name, value) for name, value in held.items())
    return replace(line, mean=mean, low=low, high=high, random_map=random_map, chance=chance)


def curve_of(fields: Mapping[str, Any]) -> Curve:
    """Return a curve from what a file holds of it, null where a number is not finite; raise as `score_of` does."""
    curve = Curve(**fields)
    _texts(title=curve.title, x_label=curve.x_label, y_label=curve.y_label, caption=curve.caption)
    values = {name: getattr(curve, name) for name in ("x", "mean", "low", "high")}
    if not all(isinstance(each, list | tuple) for each in values.values()) or len({*map(len, values.values())}) > 1:
        raise ValueError("a curve has not as many means and ends of intervals as places")
    if not curve.x:
        raise ValueError("a curve has no places")
    stages = all(isinstance(place, str) for place in curve.x)
    x = tuple(place if stages else _number("x", place, rounded=False) for place in curve.x)
    mean, low, high = (tuple(_number(name, each) for each in values[name]) for name in ("mean", "low", "high"))
    return replace(curve, x=x, mean=mean, low=low, high=high)


def settings_of(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings from what a file holds of them; raise `ValueError` or `TypeError` if one is of another kind."""
    images, notes = fields.get("images", 1), fields.get("notes", [])
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        raise ValueError(f"images is {told(images)}")
    groups, prints = fields.get("groups", {}), fields.get("fingerprints")
    if isinstance(groups, list):  # their names alone, as earlier versions wrote
        _texts(**{f"groups[{i}]": each for i, each in enumerate(groups)})
        groups = {name: {} for name in groups}
    mappings = {"told": fields.get("told", {}), "groups": groups, "fingerprints": {} if prints is None else prints}
    for name, each in mappings.items():
        if not isinstance(each, Mapping):
            raise TypeError(f"{name} is {told(each)}, no mapping")
    for name, each in groups.items():
        if not isinstance(each, Mapping):
            raise TypeError(f"groups.{name} is {told(each)}, no mapping")
    for name, texts in fields.get("told", {}).items():
        if not isinstance(texts, list | tuple) or len(texts) != 2:
            raise TypeError(f"told.{name} is {told(texts)}, no pair of texts")
        _texts(**{f"told.{name}": texts[0], f"told.{name}, second": texts[1]})
    if not isinstance(notes, Mapping | list | tuple):
        raise TypeError(f"notes is {told(notes)}, no list of texts")
    for i, note in enumerate(() if isinstance(notes, Mapping) else notes):
        _texts(**{f"notes[{i}]": note})
    for name in ("data", "split", "attribution", "target"):
        if fields.get(name) is not None:
            _texts(**{name: fields[name]})
    return fields


def _texts(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} is {told(value)}, no text")


def _number(name: str, value: object, *, rounded: bool = True) -> float:
    """Return a number of a file; null stands for one that is not finite."""
    if value is None and rounded:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is {told(value)}, no number")
    return float(value) if rounded else value


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


def lines(axis: "Axes", curves: Sequence[Curve | None], band: float = 0.2) -> "list[Line2D]":
    """Draw a curve a classifier, with bands of some opacity for the intervals, and return the lines.

    A classifier without a curve takes its turn, so that each has one colour and marker everywhere.
    """
    from matplotlib.ticker import MaxNLocator

    drawn, shown = [], {i: curve for i, curve in enumerate(curves) if curve is not None}
    for i, curve in shown.items():
        places = list(range(len(curve.x))) if isinstance(curve.x[0], str) else list(curve.x)
        style, colour = look(i)
        drawn += axis.plot(places, curve.mean, style, color=colour, markersize=3)
        if curve.low != curve.high:
            axis.fill_between(places, curve.low, curve.high, color=colour, alpha=band, linewidth=0)
    first = next(iter(shown.values()))
    label(axis, first.x_label, first.y_label)
    if isinstance(first.x[0], str):
        # A dozen at most are named, the first and the last among them; the others keep a small tick.
        count, last = min(_NAMED, len(first.x)), len(first.x) - 1
        named = sorted({round(i * last / max(1, count - 1)) for i in range(count)})
        short = [x if len(x) <= _LETTERS else "…" + x[1 - _LETTERS :] for x in (str(first.x[i]) for i in named)]
        axis.set_xticks(named, short, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_xticks(range(len(first.x)), minor=True)
        axis.tick_params(axis="x", labelsize=6)
    elif all(isinstance(x, int) for x in first.x):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def legend(where: "Axes | Figure", handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """Draw a legend of handles, with their names as they are: a first _ hides none, and a $ begins no formula."""
    drawn = where.legend(handles, [str(i) for i in range(len(names))], **options)
    for text, name in zip(drawn.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(printable(name))


def look(i: int) -> tuple[str, str]:
    """Return how the i-th of several is drawn, told apart by marker and dash as well as by colour: style, colour."""
    # With each turn of the colours, markers and dashes move on by one, so that 64 differ.
    return _STYLES[(i + i // len(COLOURS)) % len(_STYLES)], COLOURS[i % len(COLOURS)]


def label(axis: "Axes", x_label: str, y_label: str) -> None:
    """Write on the axes, with small letters and a faint grid."""
    axis.set_xlabel(x_label, fontsize=8, parse_math=False)
    axis.set_ylabel(y_label, fontsize=8, parse_math=False)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
