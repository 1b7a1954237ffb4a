"""Small jobs that need no network: `python -m tests.studies.engine.performing` does them as a worker."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradsculpt.cli.endings import stoppable
from gradsculpt.errors import ArgumentError
from gradsculpt.files import whole
from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.in_turn import InTurn
from gradsculpt.studies.engine.job import Executor, Job, Machine
from gradsculpt.studies.engine.schedule import perform_all
from gradsculpt.studies.engine.status import Progress
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.task import Needs, Task, in_turn
from gradsculpt.studies.engine.workers import serve

MODULE = "tests.studies.engine.performing"
PATIENCE = 60.0  # seconds
LENGTH = 20_000
"""Of a result that is whole."""


def perform(job: Job, reporter: Reporter) -> None:
    """Do what the settings say, and note each beginning and each end."""
    store = Store(Path(job.machine.root))
    if store.done(job.key) is not None:
        return
    with store.work(job.key, {"name": job.name}) as folder:
        tries = noted(folder, "begun", os.getpid())
        for network in job.networks.values():
            if store.done(network) is None:
                raise ArgumentError(f"{network} is not there")
        for act, value in job.settings.items():
            ACTS[act](value, tries)
        with whole(folder / "result.txt") as draft:
            draft.write_text("x" * LENGTH)
        noted(folder, "ended", os.getpid())


def noted(folder: Path, name: str, word: object) -> int:
    """Add a line to a file, and return how many it has."""
    with (folder / name).open("a") as file:
        file.write(f"{word}\n")
    return len((folder / name).read_text().splitlines())


def _spin(value: float, tries: int) -> None:
    until = time.process_time() + value
    while time.process_time() < until:
        pass


def _fail(value: str, tries: int) -> None:
    raise ArgumentError(value)


def _err(value: str, tries: int) -> None:
    raise ZeroDivisionError(value)


def _die(value: int, tries: int) -> None:
    if tries <= value:
        os.kill(os.getpid(), signal.SIGKILL)


def _hang_once(value: float, tries: int) -> None:
    if tries == 1:
        time.sleep(value)


def _threads(value: int, tries: int) -> None:
    if os.environ.get("OMP_NUM_THREADS") != f"{value}":
        raise ArgumentError(f"{os.environ.get('OMP_NUM_THREADS')} threads")


ACTS: Mapping[str, Callable[[Any, int], object]] = {
    "threads": _threads,
    "number": lambda value, tries: None,
    "sleep": lambda value, tries: time.sleep(value),
    "spin": _spin,
    "fail": _fail,
    "err": _err,
    "die": _die,
    "hang_once": _hang_once,
    "print": lambda value, tries: print(value, flush=True),  # noqa: T201
}


def task(name: str, settings: Mapping[str, Any] | None = None, *needs: Task) -> Task:
    """Return a task that does what its settings say."""
    return Task("tests.Act", settings or {}, (), {each.name: each for each in needs}, name)


def do(
    tasks: list[Task],
    root: Path,
    executor: Executor | None = None,
    reporter: Reporter | None = None,
    needs: Needs | None = None,
    minutes: float | None = None,
) -> Progress:
    """Do tasks, in turn if nobody else is to do them."""
    machine = Machine(str(root), needs=needs or Needs(), minutes=minutes)
    all_tasks = in_turn(tasks)

    def job_of(task: Task) -> Job:
        return Job.of(task, machine)

    return perform_all(all_tasks, Store(root), executor or InTurn(perform), job_of, reporter or Reporter())


def lines(root: Path, task: Task, name: str) -> list[str]:
    """Return what a task noted in a file of its folder."""
    with suppress(FileNotFoundError):
        return (Store(root).folder(task.key) / name).read_text().splitlines()
    return []


def files(root: Path) -> set[str]:
    """Return the names of all files in the folders of tasks."""
    return {path.name for path in root.rglob("*") if path.is_file()}


def until(true: Callable[[], object]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def alive(process: int) -> bool:
    """Tell whether a process runs; one that has ended and that nobody asked for does not."""
    with suppress(ChildProcessError):  # a child whose other threads still end is no zombie to its parent yet
        return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    with suppress(OSError):
        return _stat(process)[0] != "Z"
    return False


def parent_of(process: int) -> int:
    """Return the process that started a process."""
    return int(_stat(process)[1])


def _stat(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def kill_once_begun(root: Path, one: Task, victim: Callable[[int], int] = int) -> threading.Thread:
    """Kill the process that does a task as soon as it has begun it, or one that is found by it."""

    def watch() -> None:
        until(lambda: lines(root, one, "begun"))
        os.kill(victim(int(lines(root, one, "begun")[0])), signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def searching_here() -> dict[str, str]:
    """Return an environment in which Python finds the modules that this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(place or os.getcwd() for place in sys.path)}


if __name__ == "__main__":
    with suppress(KeyboardInterrupt), stoppable():
        serve(perform)
    sys.exit(0)
