"""Several processes on one machine, each doing one job after the other."""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO

from gradsculpt.errors import ArgumentError
from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.in_turn import ended
from gradsculpt.studies.engine.job import Ended, Job, Perform

_GRACE = 20.0  # seconds that a worker has for stopping in good order


@dataclass
class _Worker:
    process: "subprocess.Popen[str]"
    job: Job | None = None
    until: float = float("inf")


class Workers:
    """So many processes, which are started by `start` or when there is work, and started anew when one is lost.

    Args:
        count: How many.
        module: What they run, as `python -m module`: a module that calls `serve`.
        threads: Threads of each.
    """

    def __init__(self, count: int, module: str, threads: int = 1) -> None:
        if count < 1:
            raise ArgumentError(f"--workers {count} is no number of processes; pass 1 or more.")
        self._count, self._module, self._threads = count, module, threads
        self._workers: list[_Worker] = []

    def start(self, count: int) -> None:
        """Start so many of them, at most, which get ready while nobody has a job for them yet."""
        for _ in range(min(count, self._count) - len(self._workers)):
            self._start()

    def free(self) -> bool:
        """Tell whether a worker has nothing to do, or another one can be started."""
        return sum(worker.job is not None for worker in self._workers) < self._count

    def submit(self, job: Job) -> None:
        """Hand a job to a worker that has nothing to do."""
        for dead in [each for each in self._workers if each.job is None and each.process.poll() is not None]:
            self._bury(dead)
            self._workers.remove(dead)
        worker = next((each for each in self._workers if each.job is None), None) or self._start()
        worker.job = job
        if job.machine.minutes is not None:
            worker.until = time.monotonic() + 60 * job.machine.minutes
        with suppress(BrokenPipeError, OSError):  # it has died meanwhile, which `wait` will see
            stream(worker.process.stdin).write(job.text() + "\n")
            stream(worker.process.stdin).flush()

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended: done, failed, lost with their worker, or over their time."""
        busy = [worker for worker in self._workers if worker.job is not None]
        if not busy:
            return []
        limit = min(seconds, max(0.0, min(worker.until for worker in busy) - time.monotonic()))
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(stream(worker.process.stdout), selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(limit)]
        told = [self._answer(worker) for worker in ready]
        return [*told, *(self._overdue(worker) for worker in busy if self._is_overdue(worker))]

    def close(self) -> None:
        """Ask all workers to stop, and kill those that do not."""
        for worker in self._workers:
            with suppress(OSError):
                worker.process.terminate()
        for worker in self._workers:
            self._bury(worker)
        self._workers = []

    def _start(self) -> _Worker:
        path = os.pathsep.join(dict.fromkeys(place for place in sys.path if place))
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads), "PYTHONPATH": path}
        process = subprocess.Popen(  # noqa: S603 - it is this program again
            [sys.executable, "-P", "-m", self._module],  # a module in the current folder is nobody's own
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # a Ctrl-C of the terminal reaches this process, which tells them
        )
        self._workers.append(worker := _Worker(process))
        return worker

    def _answer(self, worker: _Worker) -> Ended:
        job, worker.job, worker.until = worker.job, None, float("inf")
        key = "" if job is None else job.key
        line = stream(worker.process.stdout).readline()
        with suppress(ValueError, TypeError):
            return Ended(**json.loads(line))
        self._bury(worker)
        self._workers.remove(worker)
        return Ended(key, "its process ended before it did", lost=True)

    def _is_overdue(self, worker: _Worker) -> bool:
        return worker.job is not None and time.monotonic() >= worker.until

    def _overdue(self, worker: _Worker) -> Ended:
        job = worker.job
        worker.process.terminate()
        self._bury(worker)
        self._workers.remove(worker)
        minutes = 0.0 if job is None or job.machine.minutes is None else job.machine.minutes
        told = f"it took longer than {minutes:g} minutes and was stopped; a longer --task-minutes lets it go on"
        return Ended("" if job is None else job.key, told)

    def _bury(self, worker: _Worker) -> None:
        try:
            worker.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            with suppress(OSError):
                stream(pipe).close()


def stream(pipe: IO[str] | None) -> IO[str]:
    """Return a pipe that is there."""
    if pipe is None:
        raise ValueError("the process has no such pipe")
    return pipe


def serve(perform: Perform, get_ready: Callable[[], object] = lambda: None) -> None:
    """Do the jobs that come on standard input, and answer each with a line on standard output; end when no more come.

    Before it waits for the first, it does what every job needs. What jobs print goes nowhere, as they have logs of
    their own. Where whoever sent the jobs is gone, this ends too.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    lines: list[str] = []
    arrived = threading.Semaphore(0)

    def listen() -> None:
        for line in sys.stdin:
            lines.append(line)
            arrived.release()
        lines.append("")
        arrived.release()
        os.kill(os.getpid(), signal.SIGTERM)  # in the middle of a job too, which then stops in good order

    threading.Thread(target=listen, daemon=True).start()
    get_ready()
    while True:
        arrived.acquire()
        if not (line := lines.pop(0)):
            return
        answers.write(json.dumps(asdict(ended(Job.read(line), perform, Reporter()))) + "\n")
        answers.flush()
