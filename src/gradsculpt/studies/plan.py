"""From a study to its tasks: each training and each measurement once, whatever row it is for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.studies.engine.task import Task, in_turn
from gradsculpt.studies.schema import START
from gradsculpt.studies.study import Measure, Row, Study

GIVEN = "default"
"""What stands for the weights of a training that starts from another one's, until it is done and they have a place."""


class Words(Protocol):
    """What the commands know of settings: the shell's words for them, and what decides the result."""

    def __call__(
        self, command: str, settings: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]:
        """Return the words of a command, its settings in plain data, and the code that they stand for."""


Place = tuple[str, str | None, int | None]
"""Where a task stands in a study: measure, row and seed; the last two are None where it is one of all rows or seeds."""


@dataclass(frozen=True)
class Plan:
    """The tasks of a study.

    Args:
        study: The study, at its scale.
        trainings: By network and seed.
        measurements: By their place.
    """

    study: Study
    trainings: Mapping[tuple[str, int], Task]
    measurements: Mapping[Place, Task] = field(default_factory=dict)

    def tasks(self) -> dict[str, Task]:
        """Return all tasks by key, each after those that it needs."""
        return in_turn([*self.trainings.values(), *self.measurements.values()])

    def with_parts(self, part: "Plan", done: Callable[[str], object]) -> "Plan":
        """Return it with the measurements of a plan of some of its rows where its own are not done."""
        others = {
            place: task
            for place, task in part.measurements.items()
            if place in self.measurements and not done(self.measurements[place].key)
        }
        return Plan(self.study, self.trainings, {**self.measurements, **others})

    def found(self, measure: str, row: str | None) -> list[Task]:
        """Return the tasks of a measure of a row, one a seed, or the one that is for all rows."""
        mine = [task for (name, of, _), task in self.measurements.items() if name == measure and of == row]
        return mine or [task for (name, of, _), task in self.measurements.items() if name == measure and of is None]


def plan(study: Study, words: Words, rows: Sequence[str] = ()) -> Plan:
    """Return the tasks of a study, of some of its rows or of all that are run at its scale.

    Raises:
        ArgumentError: If a setting cannot be used, a row is not run at this scale, or an experiment is not known.
    """
    known = study.run_rows
    for row in rows:
        if row not in known:
            hint = did_you_mean(row, known)
            told = f"is not run at scale {study.scale}" if row in study.rows else "is no row of the study"
            raise ArgumentError(f"{row!r} {told}.{hint} At this scale {study.name} has {', '.join(known)}.")
    chosen = [name for name in known if not rows or name in rows]
    networks = dict.fromkeys(study.rows[name].network for name in chosen)
    trainings = {
        (name, seed): _training(study, name, seed, words)
        for name in networks
        if name is not None
        for seed in study.seeds
    }
    measurements: dict[Place, Task] = {}
    for name, measure in study.measures.items():
        for place, task in _measurements(study, name, measure, chosen, trainings, words):
            measurements[place] = task
    return Plan(study, trainings, measurements)


def _training(study: Study, name: str, seed: int, words: Words) -> Task:
    label = name if len(study.seeds) == 1 else f"{name}, seed {seed}"
    with _of(f"networks.{name}"):
        return _trained({**study.networks[name], "seed": seed}, label, words)


def _trained(settings: Mapping[str, Any], label: str, words: Words) -> Task:
    """Return the training with some settings; what it is to start from is a training of its own, which comes before."""
    own = {name: value for name, value in settings.items() if name != START}
    before: dict[str, Task] = {}
    if START in settings:
        if own.get("weights") is not None:
            raise ArgumentError(f"it has both weights and {START}, and can start from one of them; leave one away.")
        with _of(START):
            before[START] = _trained({**settings[START], "seed": own["seed"]}, f"the start of {label}", words)
        own["weights"] = GIVEN
    typed, plain, code = words("train", own)
    return Task("train", plain, ("gradsculpt.training.fit", *code), before, label, typed, own.get("data", "cells"))


def _measurements(
    study: Study,
    name: str,
    measure: Measure,
    rows: Sequence[str],
    trainings: Mapping[tuple[str, int], Task],
    words: Words,
) -> "list[tuple[Place, Task]]":
    with _of(f"measure.{name}"):
        kind, takes, code = kind_of(measure.kind)
    made: list[tuple[Place, Task]] = []

    def task(settings: Mapping[str, Any], networks: Mapping[str, Task], label: str) -> Task:
        with _of(f"measure.{name}, for {label}"):
            typed, plain, more = words(measure.kind, settings)
        return Task(kind, plain, (*code, *more), networks, f"{name}: {label}", typed)

    if takes == "nothing":
        if not any(name in row.settings for row in study.rows.values()):
            return [((name, None, None), task(measure.settings, {}, study.name))]
        own = {row: study.rows[row].settings[name] for row in rows if name in study.rows[row].settings}
        return [((name, row, None), task({**measure.settings, **each}, {}, row)) for row, each in own.items()]
    of = {row: study.rows[row] for row in rows if _is_of(study.rows[row], measure)}
    if takes == "networks":
        names = dict.fromkeys(row.network for row in of.values())
        given = {each: trainings[each, study.seeds[0]] for each in names if each is not None}
        return [((name, None, None), task(measure.settings, given, study.name))] if given else []
    for row_name, row in of.items():
        settings = {**measure.settings, **row.settings.get(name, {})}
        mine = {seed: trainings[row.network or "", seed] for seed in study.seeds}
        if takes == "seeds":
            made.append(((name, row_name, None), task(settings, {str(s): each for s, each in mine.items()}, row_name)))
            continue
        for seed, network in mine.items():
            label = row_name if len(study.seeds) == 1 else f"{row_name}, seed {seed}"
            made.append(((name, row_name, seed), task(settings, {"network": network}, label)))
    return made


@contextmanager
def _of(part: str) -> Iterator[None]:
    """Say of which part of a study's file an `ArgumentError` of the block is."""
    try:
        yield
    except ArgumentError as error:
        raise ArgumentError(f"{part}: {error}") from error


def _is_of(row: Row, measure: Measure) -> bool:
    return row.network is not None and (measure.networks is None or row.network in measure.networks)


_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "evaluate": ("gradsculpt.evaluation.evaluate",),
}
"""The commands that measure something of one network, and the code of their results."""


def kind_of(name: str) -> tuple[str, str, tuple[str, ...]]:
    """Return what a measure is: a command or the path of an experiment's class; what it takes; and its code."""
    if name in _COMMANDS:
        return name, "network", _COMMANDS[name]
    cls = experiment(name)
    path = f"{cls.__module__}.{cls.__qualname__}"
    return path, cls.takes, (path,)


def experiment(name: str) -> Any:
    """Return the class of an experiment by its name in small letters, or as module.Class."""
    from gradsculpt.extensions import imported
    from gradsculpt.studies.experiments import EXPERIMENTS, Experiment

    known: dict[str, Callable[..., Any]] = {cls.__name__.lower(): cls for cls in EXPERIMENTS}
    if name in known:
        return known[name]
    module, dot, last = name.rpartition(".")
    if not dot:
        choices = [*_COMMANDS, *known]
        raise ArgumentError(
            f"there is no command or experiment {name!r} that measures.{did_you_mean(name, choices)} There are "
            f"{', '.join(choices)}, and your own as module.Class."
        )
    cls = imported(module, last, name, ArgumentError)
    if not (isinstance(cls, type) and issubclass(cls, Experiment)):
        raise ArgumentError(f"{name} is no Experiment; derive it from gradsculpt.studies.experiments.Experiment.")
    return cls
