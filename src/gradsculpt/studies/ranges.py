"""Ranges of numbers, as they are typed for a search."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradsculpt.errors import ArgumentError

if TYPE_CHECKING:
    import optuna

_RANGE = re.compile(r"([^.:\s]*\.?[^.:\s]+)\.\.([^:\s]+?)(:log)?")
_WHOLE = re.compile(r"[+-]?\d+")
_DIGITS = 4  # of a number that is tried: more would only make names longer


@dataclass(frozen=True)
class Range:
    """Numbers between two, of which a search may try any.

    Args:
        low: The least.
        high: The greatest.
        log: Whether each power of ten is as likely as any other.
        whole: Whether the numbers are whole.

    Raises:
        ArgumentError: If there is nothing between the two, or `log` is to start at 0 or below.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ArgumentError(f"{self} has no number between its ends; write LOW..HIGH with LOW below HIGH.")
        if self.log and self.low <= 0:
            raise ArgumentError(f"{self} has no powers of ten below its start; let it start above 0, or drop :log.")

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"

    @property
    def ends(self) -> tuple[str, str]:
        """The least and the greatest number, as texts."""
        return self._text(self.low), self._text(self.high)

    def suggested(self, trial: "optuna.trial.Trial", name: str) -> str:
        """Return what Optuna suggests for a setting, as a text."""
        if self.whole:
            return str(trial.suggest_int(name, int(self.low), int(self.high), log=self.log))
        return self._text(trial.suggest_float(name, self.low, self.high, log=self.log))

    def _text(self, value: float) -> str:
        return str(int(value)) if self.whole else f"{value:.{_DIGITS}g}"


def is_range(text: str) -> bool:
    """Tell a range, such as 1e-4..1:log, from a value."""
    return _RANGE.fullmatch(text.strip()) is not None and ".." in text


def as_range(text: str) -> Range:
    """Return the range that a text says; raise `ArgumentError` if it is none.

    Example:
        >>> as_range("1e-4..1:log"), as_range("5..20").whole
        (Range(low=0.0001, high=1.0, log=True, whole=False), True)
    """
    match = _RANGE.fullmatch(text.strip())
    try:
        low, high = (float(match[1]), float(match[2])) if match else (float("nan"), float("nan"))
    except ValueError:
        low = high = float("nan")
    if match is None or not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise ArgumentError(f"{text} is no range of numbers; write LOW..HIGH, or LOW..HIGH:log for powers of ten.")
    return Range(low, high, bool(match[3]), all(_WHOLE.fullmatch(match[i]) is not None for i in (1, 2)))
