"""`gradsculpt study`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.limits import at_least
from gradsculpt.cli.parser import Options, Parser, command_parser
from gradsculpt.cli.process import DEVICES, result_console
from gradsculpt.errors import ArgumentError, GradsculptError, did_you_mean
from gradsculpt.machine import cores
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from gradsculpt.studies.engine.job import Executor, Job
    from gradsculpt.studies.engine.task import Task
    from gradsculpt.studies.plan import Plan
    from gradsculpt.studies.study import Study

_TOLD = (
    "The tables and figures of the papers. `list` names the studies, `show NAME` tells what one trains and measures, "
    "what was published, and what is done; `run NAME ...` does what is not done yet, and writes table, figures and a "
    "page into OUT/NAME/SCALE. A study of your own is a YAML file, named in the place of NAME."
)
_EXAMPLES = (
    "gradsculpt study run advgrad-table3 --scale cpu --workers 2",
    "gradsculpt study run aga-table1 --scale gpu --data cifar10=folder:photos --device cuda --workers 4",
    "gradsculpt study show moreau-robustness",
)
_ACTIONS = ("list", "run", "show")
SCALES = ("smoke", "cpu", "gpu", "paper")
WORKER = "gradsculpt.cli.performing"


def run(words: Sequence[str], reporter: Reporter) -> None:
    """List, show or run studies."""
    options = _parser().read(words)
    action, named = options["action"], options["names"] or []
    if action not in _ACTIONS:
        raise ArgumentError(
            f"gradsculpt study {action} is nothing that it does.{did_you_mean(action, _ACTIONS)} It does "
            f"{', '.join(_ACTIONS)}."
        )
    if action == "list":
        _list(named)
        return
    from gradsculpt.studies import study as studies

    if not named:
        raise ArgumentError(f"no study is named; gradsculpt study list names them, as in study {action} duality.")
    named = studies.names() if named == ["all"] else named
    chosen = [studies.read(name, options["scale"]) for name in named]
    if action == "show":
        for study in chosen:
            _show(study, options)
        return
    _run(chosen, options, reporter, ["gradsculpt", "study", *words])


def add_task_options(parser: Parser) -> None:
    """Add the options of doing tasks: where results go, and who does them."""
    where = "where, and on what"
    out = "Folder of all results; what is done is found there again, by whatever study."
    parser.add_argument("--out", type=Path, default=Path("studies"), group=where, help=out)
    told = "Processes on this machine that do tasks side by side; default: this process does one after the other."
    parser.add_argument("--workers", type=int | None, limit=at_least(1), group=where, help=told)
    ray = "Do the tasks on a Ray cluster: its address, auto for the one that runs here, or local to start one "
    ray += "(extra gradsculpt[ray]). OUT has to be a folder that all its machines share."
    parser.add_argument("--ray", type=str | None, group=where, help=ray)
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", group=where, help="Where to compute.")
    threads = "Cores, and threads, of a task; one by default, so that results do not depend on the number of workers."
    parser.add_argument("--threads", type=int, default=1, limit=at_least(1), group=where, rare=True, help=threads)
    share = "Share of a GPU that a task takes, on a Ray cluster."
    parser.add_argument("--gpus", type=float, default=0.0, limit=at_least(0), group=where, rare=True, help=share)
    minutes = "The longest that a task may take; one that is stopped goes on when the command is called again."
    parser.add_argument("--task_minutes", type=float | None, limit=at_least(0.01), group=where, rare=True, help=minutes)
    data = "Your own copy of a set, as imagenette=folder:PATH or cifar10=folder:PATH."
    parser.add_argument("--data", type=str, action="append", group=where, help=data)
    parser.add_argument("--data_dir", type=Path | None, group=where, help="Where downloaded sets live or go.")


def _parser() -> Parser:
    parser = command_parser("study", _TOLD, _EXAMPLES)
    parser.add_argument("action", type=str, help="list, run or show.")
    parser.add_argument("names", type=str, nargs="*", help="Studies by name, files of your own, or all.")
    scale = (
        "smoke: a minute, tells that it works; cpu: hours on two cores; gpu: 10 minutes on one card, or rows of it; "
    )
    parser.add_argument("--scale", type=str, choices=SCALES, default="smoke", help=f"{scale}paper: as published.")
    only = "Run these rows alone."
    parser.add_argument("--only", type=str, nargs="+", default=[], help=only)
    add_task_options(parser)
    return parser


class Spelling:
    """What commands know of a study's settings, with the images of folders told apart by what lies in them.

    Args:
        copies: Copies of sets by name.
    """

    def __init__(self, copies: Mapping[str, str]) -> None:
        self._copies = copies

    def __call__(
        self, command: str, settings: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]:
        """Return the words of a command, what decides its result, and the code that it names."""
        from gradsculpt.cli.performing import words_of

        typed, plain, code = words_of(command, settings)
        name = str(plain.get("data", ""))
        place = self._copies.get(name, name)
        if command == "train" and place.startswith("folder:"):
            plain |= {"data": name.partition(":")[0], "images": listing(Path(place.partition(":")[2]))}
        return typed, plain, code


def listing(folder: Path) -> str:
    """Return a digest of the names and sizes of all files in a folder; raise `ArgumentError` if there is none."""
    if not folder.is_dir():
        raise ArgumentError(f"there is no folder {folder} of images; pass --data NAME=folder:PATH.")
    digest = hashlib.blake2b(digest_size=16)
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            digest.update(os.fsencode(f"{path.relative_to(folder)} {path.stat().st_size}\n"))
    return digest.hexdigest()


def copies(texts: Sequence[str] | None) -> dict[str, str]:
    """Return the copies of sets that were typed, by name; raise `ArgumentError` where a text names none."""
    pairs = [text.partition("=") for text in texts or ()]
    for name, equals, place in pairs:
        if not (name and equals and place):
            raise ArgumentError(
                f"--data {name} names no copy of a set; write NAME=folder:PATH, as cifar10=folder:photos."
            )
    return {name: place for name, _, place in pairs}


def perform_tasks(tasks: Mapping[str, Task], options: Options, reporter: Reporter) -> None:
    """Do tasks by the options of `add_task_options`; raise a `GradsculptError` if one of them failed."""
    from gradsculpt.studies.engine.job import Job, Machine
    from gradsculpt.studies.engine.schedule import perform_all
    from gradsculpt.studies.engine.store import Store
    from gradsculpt.studies.engine.task import Needs

    root, data_dir = options["out"].absolute(), options["data_dir"]
    place = None if data_dir is None else str(data_dir.absolute())
    theirs = {name: _absolute(where) for name, where in copies(options["data"]).items()}
    needs = Needs(options["threads"], options["gpus"])
    machine = Machine(str(root), options["device"], place, theirs, needs, options["task_minutes"])

    def job_of(task: Task) -> Job:
        return Job.of(task, machine)

    progress = perform_all(tasks, Store(root), _executor(options), job_of, reporter)
    if progress.failed:
        key, why = next(iter(progress.failed.items()))
        more = f" {counted(len(progress.failed) - 1, 'others')} failed too." if len(progress.failed) > 1 else ""
        log = Store(root).folder(key) / "log.txt"
        raise GradsculptError(
            f"{tasks[key].name} failed: {why.rstrip('.')}.{more} What is done is kept; {log} tells more."
        )


def _absolute(where: str) -> str:
    kind, colon, path = where.partition(":")
    return f"{kind}:{Path(path).absolute()}" if colon and kind == "folder" else where


def _executor(options: Options) -> Executor:
    if options["ray"] is not None:
        if options["workers"] is not None:
            raise ArgumentError("--ray and --workers exclude each other; pass one.")
        from gradsculpt.studies.engine.on_ray import OnRay

        return OnRay(options["ray"], WORKER)
    if options["workers"] is not None:
        from gradsculpt.studies.engine.workers import Workers

        return Workers(options["workers"], WORKER, options["threads"])
    from gradsculpt.cli.performing import perform
    from gradsculpt.studies.engine.in_turn import InTurn

    os.environ["OMP_NUM_THREADS"] = str(min(options["threads"], cores().threads))
    return InTurn(perform)


def _list(named: Sequence[str]) -> None:
    from gradsculpt.studies import study as studies

    if named:
        raise ArgumentError(f"study list takes no names; gradsculpt study show {named[0]} tells of one.")
    names = studies.names()
    width = max(map(len, names), default=0)
    for name in names:
        study = studies.read(name)
        result_console().print(f"{name:<{width}}  {study.title} ({study.source})", markup=False, highlight=False)


def _run(chosen: Sequence[Study], options: Options, reporter: Reporter, words: Sequence[str]) -> None:
    from gradsculpt.studies import pages
    from gradsculpt.studies.engine.store import Store
    from gradsculpt.studies.plan import plan
    from gradsculpt.studies.results import StoredResults

    spelling = Spelling(copies(options["data"]))
    plans = {study.name: plan(study, spelling, options["only"]) for study in chosen}
    tasks = {key: task for each in plans.values() for key, task in each.tasks().items()}
    for each in plans.values():
        for name, content in each.study.figures.items():
            pages.figure_of(name, content)
    reporter.say(f"{counted(len(chosen), 'studies')} at scale {options['scale']}: {counted(len(tasks), 'tasks')}")
    try:
        perform_tasks(tasks, options, reporter)
    finally:
        for study in chosen:
            results = StoredResults(plans[study.name], Store(options["out"].absolute()))
            if results.rows or not study.rows:
                folder = options["out"] / study.name / study.scale
                command = f"gradsculpt study run {study.name} --scale {study.scale}"
                written = pages.write(results, folder, command, reporter.say)
                reporter.say(f"Written to {written[-1]}")


def _show(study: Study, options: Options) -> None:
    from gradsculpt.studies import tables
    from gradsculpt.studies.engine.store import Store
    from gradsculpt.studies.plan import plan
    from gradsculpt.studies.results import StoredResults

    made: Plan = plan(study, Spelling(copies(options["data"])), options["only"])
    store = Store(options["out"].absolute())
    results = StoredResults(made, store)
    lines = [study.title, study.source, *([study.content["question"]] if "question" in study.content else []), ""]
    for key, task in made.tasks().items():
        done, failed = store.done(key), store.failed(key)
        state = (
            f"done in {done['seconds']:.0f} s" if done else f"failed: {failed}" if failed else store.writer(key) or "-"
        )
        lines.append(f"  {task.kind.rpartition('.')[2].lower():<10} {task.name}: {state}")
    if study.columns:
        lines += ["", tables.markdown(results)]
    lines += [f"- {claim['says']}" for claim in study.claims]
    if study.departures:
        lines += ["", "Where it departs:", *(f"- {sentence}" for sentence in study.departures)]
    result_console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
