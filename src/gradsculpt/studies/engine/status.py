"""How far tasks are: a table that stands on a person's screen, and a line a minute in a log."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from rich.live import Live
from rich.table import Table

from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.task import Task
from gradsculpt.wording import printable

_EVERY = 60.0  # seconds between two lines in a log
_STATES = ("done", "running", "waiting", "failed")


@dataclass
class Progress:
    """How far tasks are, by key.

    Args:
        done: Those that are done, with the seconds that each took, 0 where it had been done before.
        failed: Those that failed, with why; and those that could not begin, as one that they need failed.
        running: Those that are being done, with when they began.
        elsewhere: Those that another process is doing.
    """

    done: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Status:
    """How far tasks are at the moment, in words and as a table.

    Args:
        tasks: By key.
        progress: How far they are.
        store: Where it says who does them.
        started: When, by the clock of `time.monotonic`.
    """

    tasks: Mapping[str, Task]
    progress: Progress
    store: Store
    started: float

    def counts(self) -> dict[str, Counter[str]]:
        """Return how many tasks of each kind are done, running, waiting and failed."""
        kinds: dict[str, Counter[str]] = {}
        for key, task in self.tasks.items():
            kinds.setdefault(kind_of(task), Counter())[self._state(key)] += 1
        return kinds

    def seconds(self, kind: str) -> float:
        """Return how long tasks of a kind have taken together, those that are running included."""
        now = time.monotonic()
        took = {**self.progress.done, **{key: now - since for key, since in self.progress.running.copy().items()}}
        return sum(took.get(key, 0.0) for key, task in self.tasks.items() if kind_of(task) == kind)

    def workers(self) -> list[tuple[str, str]]:
        """Return the tasks that are being done, with since when and by whom."""
        now, told = time.monotonic(), list[tuple[str, str]]()
        for key, since in self.progress.running.copy().items():
            by = self.store.writer(key) or "not begun yet, as far as its folder tells"
            told.append((told_of(self.tasks[key]), f"{spoken(now - since)}, {by}"))
        for key in self.progress.elsewhere.copy():
            if other := self.store.writer(key):
                told.append((told_of(self.tasks[key]), f"asked for elsewhere, {other}"))
        return told

    def lines(self) -> list[str]:
        """Return it in lines for a log."""
        total = sum(self.counts().values(), Counter[str]())
        said = ", ".join(f"{total[state]} {state}" for state in _STATES if total[state])
        head = f"After {spoken(time.monotonic() - self.started)}: {said}"
        return [head, *(f"  {name}: {by}" for name, by in self.workers())]

    def table(self) -> Table:
        """Return it as a table, of one row a kind, and one a task that is being done."""
        table = Table(
            "", *_STATES, "time", title_justify="left", title=f"After {spoken(time.monotonic() - self.started)}"
        )
        for kind, counts in self.counts().items():
            table.add_row(kind, *(str(counts[state] or "-") for state in _STATES), spoken(self.seconds(kind)))
        for name, by in self.workers():
            table.add_row(printable(name), "", "", "", "", printable(by))
        return table

    def _state(self, key: str) -> str:
        progress = self.progress
        for state, keys in (("done", progress.done), ("failed", progress.failed), ("running", progress.running)):
            if key in keys:
                return state
        return "waiting"


@contextmanager
def watched(status: Status, reporter: Reporter) -> Iterator[None]:
    """Show how far tasks are while the block lasts, and once more at its end."""
    console = reporter.console
    if console.quiet:
        yield
        return
    try:
        if reporter.interactive:
            with Live(get_renderable=status.table, console=console, refresh_per_second=1, transient=True):
                yield
        else:
            with _every(_EVERY, lambda: reporter.say(*status.lines())):
                yield
    finally:
        console.print(status.table(), markup=False, highlight=False)


@contextmanager
def _every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds):
            with suppress(RuntimeError):  # something changed while it was read; the next minute tells
                act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def kind_of(task: Task) -> str:
    """Return what a task does, in a word."""
    return task.kind.rpartition(".")[2].lower()


def told_of(task: Task) -> str:
    """Return what a task is called in a log."""
    return f"{kind_of(task)} {task.name}"


def spoken(seconds: float) -> str:
    """Return a time in the units that suit it.

    Example:
        >>> spoken(4.25), spoken(200), spoken(7000)
        ('4.2 s', '3 min 20 s', '1 h 56 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
