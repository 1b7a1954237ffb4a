"""A task: what is done once, told apart by everything that decides its result."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gradsculpt.files import strict_json
from gradsculpt.studies.engine.versions import version

_KEY_LETTERS = 20


@dataclass(frozen=True)
class Needs:
    """What a task takes of a machine.

    Args:
        cpus: Cores, and threads.
        gpus: Share of a GPU.
    """

    cpus: int = 1
    gpus: float = 0.0


@dataclass(frozen=True, eq=False)
class Task:
    """A command of the product or an experiment, with everything that decides its result.

    Args:
        kind: train, evaluate or another command, or the path of an experiment's class.
        settings: What decides the result, in plain data.
        code: Modules and names whose code decides it too.
        networks: The trainings whose networks it is given, by name.
        name: What it is called in tables and logs; no part of the key.
        words: How a command is called, but for what depends on the machine; settings say it otherwise.
        data: What the images are called in `settings`, which a machine may have under another name.
    """

    kind: str
    settings: Mapping[str, Any]
    code: tuple[str, ...] = ()
    networks: Mapping[str, "Task"] = field(default_factory=dict)
    name: str = ""
    words: tuple[str, ...] = ()
    data: str | None = None

    @cached_property
    def version(self) -> str:
        """The version of the code that the result depends on."""
        return version(self.code)

    @cached_property
    def key(self) -> str:
        """What tells the task from all others: a digest of kind, settings, code and networks."""
        content = {
            "kind": self.kind,
            "settings": self.settings,
            "code": self.version,
            "networks": {name: task.key for name, task in self.networks.items()},
        }
        digest = hashlib.blake2b(strict_json(_in_order(content)), digest_size=_KEY_LETTERS // 2).hexdigest()
        return f"{self.kind.rpartition('.')[2].lower()}-{digest}"

    def all(self) -> Iterator["Task"]:
        """Yield the tasks that this one needs, before those that need them, and itself in the end."""
        for task in self.networks.values():
            yield from task.all()
        yield self


def in_turn(tasks: Mapping[str, Task] | list[Task]) -> dict[str, Task]:
    """Return tasks and all that they need by key, each once, and after those that it needs."""
    listed = tasks.values() if isinstance(tasks, Mapping) else tasks
    return {each.key: each for task in listed for each in task.all()}


def _in_order(value: Any) -> Any:
    """Return plain data in which the order of keys makes no difference, nor whether a number is written as 1 or 1.0."""
    if isinstance(value, Mapping):
        return {str(key): _in_order(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_in_order(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
