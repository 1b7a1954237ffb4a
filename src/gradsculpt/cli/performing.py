"""Doing the tasks of studies and sweeps: as the commands that they are, or as experiments."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gradsculpt.errors import ArgumentError
from gradsculpt.links import unlinked
from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.job import Job
from gradsculpt.studies.engine.store import CACHE, LOG, RUN, Store
from gradsculpt.studies.engine.workers import serve
from gradsculpt.studies.plan import experiment, kind_of
from gradsculpt.studies.schema import START

if TYPE_CHECKING:
    from gradsculpt.studies.experiments import Experiment

_TOKEN_FAMILIES = ("attributions", "attacks", "metrics", "objectives", "penalties", "perturbations")
_DATA = "data"
_PLACES = ("out", "html", "resume", "cache_dir", "data_dir", "device")


def words_of(command: str, settings: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]:
    """Return the words of a command, its settings in plain data, and the code that they name; see `studies.plan`."""
    from gradsculpt.studies.engine.versions import offered

    for name in settings:
        if name in _PLACES and command in ("train", "evaluate"):
            raise ArgumentError(
                f"{name} is no setting of a study, which gives each {command} a place of its own; leave it away."
            )
    typed = tuple(word for name, value in settings.items() for word in _option(command, name, value))
    plain = dict(settings)
    if command == "evaluate":
        from gradsculpt.cli.evaluate import check

        for name, value in settings.items():
            if isinstance(value, Mapping):
                raise ArgumentError(f"{name} is {value}, and no setting of an evaluation is a mapping; write a value.")
        check(typed)
    elif command != "train":
        _check_experiment(kind_of(command)[0], settings)
    if command == "train":
        from gradsculpt.cli.settings import resolved_settings

        plain = resolved_settings([*typed, "--out", "run"])
        plain = {name: value for name, value in plain.items() if name not in ("threads", "device", "graphs")}
    return typed, plain, offered(plain, _TOKEN_FAMILIES)


def _option(command: str, name: str, value: Any) -> list[str]:
    """Return a setting as it is typed."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool) and command != "train":
        return [option] if value else []
    if isinstance(value, list | tuple) and command != "train":
        return [option, *map(str, value)]
    if isinstance(value, list | tuple | dict | bool) or value is None:
        import json

        return [option, json.dumps(value)]
    return [option, str(value)]


def _check_experiment(kind: str, settings: Mapping[str, Any]) -> None:
    """Raise `ArgumentError` unless an experiment can be made, and names parts that there are."""
    from gradsculpt.cli.parts import check_parts
    from gradsculpt.cli.sized import levels_of

    parts = experiment_of(kind, settings).parts()
    for family, texts in parts.items():
        check_parts(texts, family, f"{kind.rpartition('.')[2].lower()}:")
    for text in parts.get("Attack", ()):
        levels_of(text)


def experiment_of(kind: str, settings: Mapping[str, Any]) -> Experiment:
    """Return an experiment with its settings; raise `ArgumentError` if it cannot have them."""
    cls = experiment(kind)
    try:
        made: Experiment = cls(**settings)
    except TypeError as error:
        raise ArgumentError(
            f"{cls.__name__} cannot be made from {dict(settings)} ({error}); mend the study."
        ) from error
    return made


def perform(job: Job, reporter: Reporter) -> None:
    """Do a task in its folder, where its log lies too; raise a `GradsculptError` where it cannot be done."""
    store = Store(Path(job.machine.root))
    if store.done(job.key) is not None:
        return
    told = {name: getattr(job, name) for name in ("kind", "name", "settings", "networks")}
    with ExitStack() as stack:
        folder = stack.enter_context(store.work(job.key, {**told, "command": " ".join(command_of(job))}))
        with unlinked(folder / LOG).open("a", encoding="utf-8", errors="backslashreplace") as log, redirect_stdout(log):
            console = Console(file=log, soft_wrap=True, width=160)
            from gradsculpt.cli.process import prepare

            prepare()
            if (words := command_of(job)) and words[0] != "experiment":
                from gradsculpt.cli.main import COMMANDS

                importlib.import_module(COMMANDS[words[0]].module).run(words[1:], Reporter(console))
            else:
                _experiment(job, store, folder, Reporter(console))


def command_of(job: Job) -> list[str]:
    """Return the words that do a task on its machine, without the program's own name."""
    store, machine = Store(Path(job.machine.root)), job.machine
    folder = store.folder(job.key)
    data = f"{job.settings.get(_DATA, 'cells')}".partition(":")[0]
    places = ["--cache-dir", str(store.root / CACHE / f"{data}-{job.seed}"), "--device", machine.device]
    if machine.data_dir is not None:
        places += ["--data-dir", machine.data_dir]
    if job.kind == "train":
        copied = machine.data.get(str(job.data))
        theirs = [] if copied is None else ["--data", copied, *_as_the_set(str(job.data), job.settings)]
        starts = ["--weights", str(store.run(job.networks[START]))] if START in job.networks else []
        typed = _without(_without(job.words, "--data" if theirs else ""), "--weights" if starts else "")
        return [
            "train",
            *typed,
            *starts,
            *theirs,
            "--out",
            str(folder / RUN),
            "--resume",
            *places,
        ]
    if "." in job.kind:
        return ["experiment", job.kind]
    return [job.kind, str(store.run(job.networks["network"])), *job.words, "--out", str(folder), *places]


def _as_the_set(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Return what a folder has to be told to be taken as a set is: side and changes of images of the set itself."""
    from gradsculpt.data.load import find_source

    source, words = find_source(name), list[str]()
    if "image_size" not in settings and source.image_size is not None:
        words += ["--image-size", str(source.image_size)]
    if "augment" not in settings:
        words += [f"--augment.flip={str(source.flip).lower()}", f"--augment.crop={source.crop}"]
    return words


def _without(words: Sequence[str], option: str) -> list[str]:
    """Return words without an option and the one value after it."""
    kept, skipped = list[str](), False
    for word in words:
        if not skipped and word != option:
            kept.append(word)
        skipped = word == option and not skipped
    return kept


def _experiment(job: Job, store: Store, folder: Path, reporter: Reporter) -> None:
    from gradsculpt.cli.process import find_device
    from gradsculpt.cli.settings import read_settings
    from gradsculpt.cli.sized import attack_for, attribution_for
    from gradsculpt.studies.experiments import Given

    runs = {label: store.run(key) for label, key in job.networks.items()}

    def settings(run: Path) -> Any:
        places = ["--cache-dir", str(store.root / CACHE / "runs")]
        places += [] if job.machine.data_dir is None else ["--data-dir", job.machine.data_dir]
        return read_settings(["--config", str(run / "config.yaml"), "--out", str(run), *places])

    device = str(find_device(job.machine.device))
    given = Given(folder, runs, job.seed, device, reporter, settings, attribution_for, attack_for)
    experiment_of(job.kind, job.settings).run(given)


def _get_ready() -> None:
    """Import what takes its time and most jobs need; one that is called for nothing loses nothing."""
    for module in ("torch", "gradsculpt.training", "gradsculpt.evaluation"):
        importlib.import_module(module)


def main() -> None:
    """Do the jobs that come on standard input (see `studies.engine.workers.serve`)."""
    from gradsculpt.cli.endings import stoppable

    with suppress(KeyboardInterrupt), stoppable():
        serve(perform, _get_ready)


if __name__ == "__main__":
    main()
