"""What commands that do many tasks share: where results go, who does them, and how settings become tasks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.known import check_out
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.parser import Options, Parser
from gradsculpt.cli.process import DEVICES
from gradsculpt.errors import ArgumentError, GradsculptError
from gradsculpt.extensions import typed_modules
from gradsculpt.machine import cores
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted

if TYPE_CHECKING:
    from gradsculpt.studies.engine.job import Executor, Job
    from gradsculpt.studies.engine.status import Progress
    from gradsculpt.studies.engine.task import Task
    from gradsculpt.studies.engine.workers import Workers

WORKER = "gradsculpt.cli.performing"


def add_task_options(parser: Parser, folder: str, told: str) -> None:
    """Add the options of doing tasks: where results go, by default a folder of which is told, and who does them."""
    where = "where, and on what"
    parser.add_argument("--out", type=Path, default=Path(folder), group=where, help=told)
    told = "Processes that do tasks side by side; by default one after the other."
    parser.add_argument("--workers", type=int | None, limit=at_least(1), group=where, help=told)
    ray = "Do the tasks on a Ray cluster: its address, auto for the one that runs here, or local to start one "
    ray += "(extra gradsculpt[ray]). OUT has to be a folder that all its machines share."
    parser.add_argument("--ray", type=str | None, group=where, help=ray)
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", group=where, help="Where to compute.")
    threads = "Cores, and threads, of a task; one by default, so that results do not depend on the number of workers."
    parser.add_argument("--threads", type=int, default=1, limit=at_least(1), group=where, rare=True, help=threads)
    share = "Share of a GPU that a task takes, on a Ray cluster; one that takes none sees none."
    parser.add_argument("--gpus", type=float, default=0.0, limit=at_least(0), group=where, rare=True, help=share)
    minutes = "The longest that a task may take; one that is stopped goes on when the command is called again."
    parser.add_argument("--task_minutes", type=float | None, limit=at_least(0.01), group=where, rare=True, help=minutes)
    parser.add_argument("--data_dir", type=Path | None, group=where, help="Where downloaded sets live or go.")


def add_data_copies(parser: Parser) -> None:
    """Add the option by which images are had from another place than usual."""
    data = "Your own copy of a set, as imagenette=folder:PATH or cifar10=folder:PATH."
    parser.add_argument("--data", type=str, action="append", group="where, and on what", help=data)


class Spelling:
    """What commands know of a study's settings, with the images of folders told apart by what lies in them.

    Args:
        copies: Copies of sets by name.
        planning: Whether folders need not be there, as nothing is done with the tasks but to show them.
    """

    def __init__(self, copies: Mapping[str, str], *, planning: bool = False) -> None:
        self._copies, self._planning = copies, planning

    def __call__(
        self, command: str, settings: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]:
        """Return the words of a command, what decides its result, and the code that it names."""
        from gradsculpt.cli.performing import words_of

        typed, plain, code = words_of(command, settings)
        name = str(plain.get("data", ""))
        place = self._copies.get(name, name)
        if command == "train" and place.startswith("folder:"):
            folder = Path(place.partition(":")[2])
            known = os.path.isdir(folder) or not self._planning
            plain |= {"data": name.partition(":")[0], "images": listing(folder) if known else None}
        return typed, plain, code


def listing(folder: Path) -> str:
    """Return a digest of the names and sizes of all files in a folder; raise `ArgumentError` if there is none."""
    folder = Path(os.path.expanduser(folder))
    if not os.path.isdir(folder):
        raise ArgumentError(f"there is no folder {folder} of images; pass --data NAME=folder:PATH.")
    digest = hashlib.blake2b(digest_size=16)
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            digest.update(os.fsencode(f"{path.relative_to(folder)} {path.stat().st_size}\n"))
    return digest.hexdigest()


def check_tasks(options: Options) -> None:
    """Raise `ArgumentError` if the options of `add_task_options` contradict each other."""
    if options["ray"] is not None and options["workers"] is not None:
        raise ArgumentError("--ray and --workers exclude each other; pass one.")
    if options["ray"] is not None and options["device"] == "cuda" and not options["gpus"]:
        raise ArgumentError("a task that has no share of a GPU sees none on a Ray cluster; pass --gpus 1 as well.")


def copies(texts: Sequence[str] | None) -> dict[str, str]:
    """Return the copies of sets that were typed, by name; raise `ArgumentError` where a text names none."""
    pairs = [text.partition("=") for text in texts or ()]
    for name, equals, place in pairs:
        if not (name and equals and place):
            raise ArgumentError(
                f"--data {name} names no copy of a set; write NAME=folder:PATH, as cifar10=folder:photos."
            )
    return {name: place for name, _, place in pairs}


def check_place(options: Options) -> None:
    """Raise an error if results cannot be written where they are to go, or there is no such device here."""
    check_out(options["out"], folders=("tasks", "cache"))
    if options["ray"] is None:
        from gradsculpt.cli.process import find_device

        find_device(options["device"])


@contextmanager
def getting_ready(options: Options) -> Iterator[Executor | None]:
    """Have processes of --workers get ready while the block finds out what they do, and stop them after it."""
    if options["workers"] is None:
        yield None
        return
    workers = _workers(options)
    try:
        workers.start(cores().threads)
        yield workers
    finally:
        workers.close()


def perform_tasks(
    tasks: Mapping[str, Task],
    options: Options,
    reporter: Reporter,
    executor: Executor | None,
    ended: Callable[[Progress], object],
) -> None:
    """Do tasks by the options of `add_task_options`; raise a `GradsculptError` if one of them failed."""
    progress = tried(tasks, options, reporter, executor, ended)
    if progress.failed:
        key, why = next(iter(progress.failed.items()))
        more = f" {counted(len(progress.failed) - 1, 'others')} failed too." if len(progress.failed) > 1 else ""
        log = options["out"].absolute() / "tasks" / key / "log.txt"
        raise GradsculptError(
            f"{tasks[key].name} failed: {why.rstrip('.')}.{more} What is done is kept; {log} tells more."
        )


def tried(
    tasks: Mapping[str, Task],
    options: Options,
    reporter: Reporter,
    executor: Executor | None = None,
    ended: Callable[[Progress], object] | None = None,
) -> Progress:
    """Do tasks by the options of `add_task_options`, and return how far they got, of which `ended` is told each time.

    Who does them is what `getting_ready` gave, or made here.
    """
    from gradsculpt.studies.engine.job import Job, Machine
    from gradsculpt.studies.engine.schedule import perform_all
    from gradsculpt.studies.engine.store import Store
    from gradsculpt.studies.engine.task import Needs

    check_place(options)
    root, data_dir = options["out"].absolute(), options["data_dir"]
    place = None if data_dir is None else str(data_dir.absolute())
    theirs = {name: _absolute(where) for name, where in copies(options["data"]).items()}
    needs = Needs(options["threads"], options["gpus"])
    own = typed_modules()
    machine = Machine(str(root), options["device"], place, theirs, needs, options["task_minutes"], own)

    def job_of(task: Task) -> Job:
        return Job.of(task, machine)

    return perform_all(tasks, Store(root), executor or _executor(options), job_of, reporter, ended=ended)


def _workers(options: Options) -> Workers:
    from gradsculpt.studies.engine.workers import Workers

    return Workers(options["workers"], WORKER, options["threads"])


def _absolute(where: str) -> str:
    kind, colon, path = where.partition(":")
    return f"{kind}:{Path(os.path.expanduser(path)).absolute()}" if colon and kind == "folder" else where


def _executor(options: Options) -> Executor:
    if options["ray"] is not None:
        from gradsculpt.studies.engine.on_ray import OnRay

        return OnRay(options["ray"], WORKER)
    if options["workers"] is not None:
        return _workers(options)
    from gradsculpt.cli.performing import perform
    from gradsculpt.studies.engine.in_turn import InTurn

    os.environ["OMP_NUM_THREADS"] = str(min(options["threads"], cores().threads))
    return InTurn(perform)
