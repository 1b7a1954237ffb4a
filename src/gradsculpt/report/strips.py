"""Where the runs and the yardsticks of a score lie on its range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradsculpt.evaluation import Entry

_ROOM = 1.08  # beyond the largest value shown, where a score has no end
_WHOLE, _HUGE = 1e3, 1e6  # between these, a number without decimals is shortest


@dataclass(frozen=True)
class Place:
    """The mean and the ends of the interval of one run, in per cent of the length of the strip."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Strip:
    """A range from its low to its high end, as text, and what lies where on it, in per cent of its length.

    Of each yardstick the place is that of the mean of the runs, and None where no run has any.
    """

    low: str
    high: str
    runs: list[Place | None]
    random_map: float | None
    chance: float | None


def strip(entries: Sequence[Entry | None]) -> Strip:
    """Return the strip of one score of all runs; where the score has no end, the largest value shown makes one."""
    there = [entry for entry in entries if entry is not None]
    score = there[0].score
    held = [[v for entry in there if (v := getattr(entry, name)) is not None] for name in ("random_map", "chance")]
    shown = [value for entry in there for value in (entry.mean, entry.low, entry.high)] + held[0] + held[1]
    shown = [value for value in shown if math.isfinite(value)] or [0.0]
    low = score.low if math.isfinite(score.low) else min(0.0, *shown)
    high = score.high if math.isfinite(score.high) else max(low, *shown) * _ROOM
    length = (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / length)), 2) if not math.isnan(value) else 0.0

    scale, sign = (100, "%") if score.unit == "fraction" else (1, "")
    ends = [f"{_end(scale * end)}{sign}" for end in (low, high)]
    places = [Place(place(each.mean), place(each.low), place(each.high)) if each else None for each in entries]
    random_map, chance = (place(sum(values) / len(values)) if values else None for values in held)
    return Strip(ends[0], ends[1], places, random_map, chance)


def _end(value: float) -> str:
    return f"{value:.0f}" if _WHOLE <= abs(value) < _HUGE else f"{value:.3g}"
