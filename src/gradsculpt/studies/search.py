"""A search over settings by Optuna, which is asked what to try next and told how it did."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from gradsculpt.errors import ArgumentError
from gradsculpt.studies.sweep import Judged, Setting

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


Space = Mapping[str, "Range | Sequence[str]"]
"""What may be tried for each setting: a range, or some values."""


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


def check_installed() -> None:
    """Raise `ArgumentError` if Optuna is not there."""
    if find_spec("optuna") is None:
        raise ArgumentError(
            "--search needs Optuna, which is not installed, and nothing is searched without it; install it with: pip "
            "install 'gradsculpt[sweep]', or pass --grid without --search."
        )


def search(
    space: Space,
    trials: int,
    direction: Literal["higher", "lower"],
    measure: Callable[[Sequence[Setting]], Sequence[Judged | None]],
    *,
    seed: int = 0,
    at_once: int = 1,
) -> None:
    """Try settings one after the other, each where those before it promise the most.

    It remembers nothing itself: with the same seed and the same answers it asks the same, so a search that was stopped
    goes on where the answers that are there already end.

    Args:
        space: What may be tried.
        trials: How many settings.
        direction: Which values are better.
        measure: Returns how each of some settings did, in their order; None for one that failed.
        seed: Seed of the sampler, a tree-structured Parzen estimator; the first ten trials are at random.
        at_once: How many settings are asked for before any of them is told, to be tried side by side.

    Raises: ArgumentError if Optuna is not installed.
    Source: Bergstra et al., NeurIPS 2011 (tree-structured Parzen estimator); Akiba et al., KDD 2019 (Optuna).
    """
    check_installed()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that constraints are new
        sampler = optuna.samplers.TPESampler(seed=seed, constraints_func=_violation)
    study = optuna.create_study(direction="maximize" if direction == "higher" else "minimize", sampler=sampler)
    left = trials
    while left > 0:
        asked = [study.ask() for _ in range(min(at_once, left))]
        points = [{name: _suggested(trial, name, each) for name, each in space.items()} for trial in asked]
        for trial, judged in zip(asked, measure(points), strict=True):
            if judged is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            trial.set_user_attr(_MARGIN, judged.margin)
            study.tell(trial, judged.value)
        left -= len(asked)


_MARGIN = "margin"


def _suggested(trial: "optuna.trial.Trial", name: str, each: "Range | Sequence[str]") -> str:
    return each.suggested(trial, name) if isinstance(each, Range) else str(trial.suggest_categorical(name, list(each)))


def _violation(trial: Any) -> tuple[float]:
    """Return by how much a trial misses what is allowed; Optuna takes 0 and below for allowed."""
    return (-float(trial.user_attrs.get(_MARGIN, float("-inf"))),)
