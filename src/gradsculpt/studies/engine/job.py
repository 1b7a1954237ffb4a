"""What is handed to whoever does a task, in another process or on another machine, and what comes back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.task import Needs, Task


@dataclass(frozen=True)
class Machine:
    """What a task may use, and where the machine that does it has things.

    Args:
        root: The folder of all results, as an absolute path that is the same for all who share it.
        device: Where to compute: auto, cpu, cuda or mps.
        data_dir: Where downloaded sets live; None for below the folder of results.
        data: Copies of sets by name, such as imagenette for folder:/data/imagenette.
        needs: The cores, which is also the number of threads, and the share of a GPU that a task has.
        minutes: The longest that a task may take; None for as long as it likes.
        own: Modules of the user's own, which may lie in the current folder.
    """

    root: str
    device: str = "auto"
    data_dir: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    needs: Needs = field(default_factory=Needs)
    minutes: float | None = None
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A task as plain data, with the networks that it is given by their keys, and the version of its code."""

    key: str
    kind: str
    name: str
    settings: Mapping[str, Any]
    words: tuple[str, ...]
    data: str | None
    networks: Mapping[str, str]
    seed: int
    machine: Machine
    code: tuple[str, ...] = ()
    version: str | None = None

    @classmethod
    def of(cls, task: Task, machine: Machine) -> "Job":
        """Return the job of a task on a machine."""
        networks = {name: each.key for name, each in task.networks.items()}
        seed = task.settings.get("seed", 0)
        code = tuple(task.code)
        return cls(
            task.key,
            task.kind,
            task.name,
            task.settings,
            tuple(task.words),
            task.data,
            networks,
            int(seed),
            machine,
            code,
            task.version,
        )

    def text(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Job":
        """Return what `text` wrote."""
        content = json.loads(text)
        machine = content.pop("machine")
        needs = Needs(**machine.pop("needs"))
        words, code = (tuple(content.pop(name)) for name in ("words", "code"))
        own = tuple(machine.pop("own"))
        return cls(**content, words=words, code=code, machine=Machine(**machine, needs=needs, own=own))


@dataclass(frozen=True)
class Ended:
    """How a job ended: in good order, with an error in words, or lost with the process that did it."""

    key: str
    error: str | None = None
    lost: bool = False
    busy: bool = False


Perform = Callable[[Job, Reporter], None]
"""Does a job and leaves its results in the store; raises a `GradsculptError` where it cannot."""


class Executor(Protocol):
    """Who does jobs: this process, others on this machine, or a cluster."""

    def free(self) -> bool:
        """Tell whether another job can be handed over now."""

    def submit(self, job: Job) -> None:
        """Take a job over; its end is told by `wait`."""

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended since the last call, waiting so long for the first of them."""

    def close(self) -> None:
        """Stop what is still running and let go of all processes."""
