"""Jobs on a Ray cluster, which only carries them: what is done is known from the folder of results alone."""

import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradsculpt.errors import RunError, first_line
from gradsculpt.studies.engine import cluster
from gradsculpt.studies.engine.job import Ended, Job
from gradsculpt.studies.engine.task import Needs
from gradsculpt.studies.engine.workers import Workers

_MOMENT = 1.0  # seconds between two looks at a process
_GRACE = 25.0  # seconds that jobs have for stopping in good order; their own processes have less


class OnRay:
    """The machines of a Ray cluster, which share the folder of results.

    A job is done there by a process of its own, by the code of this package as it is here. Ray itself tries nothing
    again. Machines that an autoscaler has yet to start do not count.

    Args:
        address: HOST:PORT, or ray://HOST:PORT for a client's port; auto for the cluster that this machine is part of;
            local for one that is started here and ends with this process.
        module: What runs there, as `python -m module`: a module that calls `workers.serve`.

    Raises:
        ArgumentError: If Ray is not installed, or the address is none.
        RunError: If no cluster answers.
    """

    def __init__(self, address: str, module: str) -> None:
        cluster.check_answering(address)
        self._ray, self._address, self._module = cluster.ray(), address, module
        logging.getLogger("ray").setLevel(logging.ERROR)
        package = str(Path(__file__).parents[2])
        more: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        try:
            with _signals_kept():
                self._ray.init(
                    address=address,
                    runtime_env={"py_modules": [package]},
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **more,
                )
        except Exception as error:
            raise cluster.unreached(address, error) from error
        self._remote = self._ray.remote(_done_by_a_process)
        self._running: dict[Any, Job] = {}
        self._told: list[Ended] = []

    def free(self) -> bool:
        """Tell whether the cluster has more than what was handed over takes."""
        taken = [job.machine.needs for job in self._running.values()]
        with self._connected():
            there = self._ray.cluster_resources()
        share = sum(needs.gpus for needs in taken)
        return sum(needs.cpus for needs in taken) < max(1, there.get("CPU", 0)) and not (
            share and share >= there.get("GPU", 0)
        )

    def submit(self, job: Job) -> None:
        """Hand a job to the cluster; one that none of its machines can do has ended at once."""
        needs = job.machine.needs
        with self._connected():
            if not self._fits(needs):
                self._told.append(Ended(job.key, _too_much(needs, self._address)))
                return
            try:
                remote = self._remote.options(
                    num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0, name=job.name or job.key
                )
            except ValueError as error:  # more than one GPU, but not a whole number of them
                self._told.append(Ended(job.key, f"--gpus {needs.gpus:g} cannot be had ({first_line(error)})"))
                return
            self._running[remote.remote(self._module, job.text(), _places())] = job

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended: done, failed, lost with their process or machine, or over their time."""
        told, self._told = self._told, []
        if self._running:
            limit = 0.0 if told else seconds
            with self._connected():
                ready, _ = self._ray.wait(list(self._running), timeout=limit)
                told += [self._answer(each) for each in ready]
        return told

    def close(self) -> None:
        """Stop what is still running, in good order where it can, and leave the cluster."""
        with suppress(Exception):  # the cluster may be gone, which is no matter now
            for each in self._running:
                self._ray.cancel(each)
            if self._running:
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_GRACE)
            for each in self._running:
                self._ray.cancel(each, force=True)
        self._running = {}
        with _signals_kept():
            self._ray.shutdown()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError, TimeoutError) as error:
            raise RunError(
                f"the Ray cluster at {self._address} does not answer any more ({first_line(error).rstrip('.')}); what "
                "is done is kept, and the same command goes on with the rest."
            ) from error

    def _fits(self, needs: Needs) -> bool:
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return any(each.get("CPU", 0) >= needs.cpus and each.get("GPU", 0) >= needs.gpus for each in machines)

    def _answer(self, reference: Any) -> Ended:
        job, errors = self._running.pop(reference), self._ray.exceptions
        try:
            return Ended(**json.loads(self._ray.get(reference)))
        except (errors.RayTaskError, errors.RuntimeEnvSetupError, errors.TaskUnschedulableError) as error:
            cause = getattr(error, "cause", None) or error
            return Ended(job.key, f"a machine of the cluster cannot do it ({first_line(cause)})")
        except errors.RayError as error:
            return Ended(job.key, f"its process or machine was lost ({type(error).__name__})", lost=True)


def _done_by_a_process(module: str, text: str, places: Sequence[str]) -> str:
    """Do a job in a process of its own, on a machine of the cluster, and return how it ended, as JSON.

    The process has the cores and GPUs that Ray gave to this one. It stops when the job's time is over, when Ray cancels
    this, and when this one is killed, in good order each time.
    """
    sys.path += [place for place in places if place not in sys.path]
    job = Job.read(text)
    workers = Workers(1, module, job.machine.needs.cpus)
    try:
        workers.submit(job)
        while not (told := workers.wait(_MOMENT)):
            pass
        return json.dumps(asdict(told[0]))
    finally:
        workers.close()


def _places() -> list[str]:
    """Return the folders of modules that are not part of Python, as a machine that shares them may need the user's."""
    own = (sys.prefix, sys.base_prefix)
    return [place for place in sys.path if place and not place.startswith(own)]


def _too_much(needs: Needs, address: str) -> str:
    share = f" and {needs.gpus:g} of a GPU" if needs.gpus else ""
    return (
        f"it needs {needs.cpus} cores{share}, which no machine of the cluster at {address} has, so that it would wait "
        "for ever; pass fewer --threads or --gpus, or start a machine that has them"
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this process's own way of stopping, which Ray replaces by its own."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            with suppress(ValueError, TypeError):  # in another thread than the main one, or a handler of C
                signal.signal(number, handler)
