"""A search over settings by Optuna, which is asked what to try next and told how it did."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from gradsculpt.errors import ArgumentError
from gradsculpt.studies.ranges import Range
from gradsculpt.studies.sweep import Judged, Setting

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, "Range | Sequence[str]"]
"""What may be tried for each setting: a range, or some values."""


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
