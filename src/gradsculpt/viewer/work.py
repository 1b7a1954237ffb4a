"""Heavy work that a page asks for: bounded, done in turn, told of, and stopped when nobody wants it any more."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gradsculpt.errors import GradsculptError
from gradsculpt.progress import Progress, Reporter
from gradsculpt.wording import counted

T = TypeVar("T")

_POLL = 0.2  # seconds until a visitor who cancels is let go
_PULSE = 2.0  # seconds after which what was said last is said again, so that whoever has left is missed


# These two are no errors, and what catches errors on their way up must not take them for some.


class Cancelled(BaseException):
    """The visitor does not want the work any more."""


class TooLong(BaseException):
    """The work has had its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"this took longer than the {seconds:.0f} seconds that a visitor has; ask for less at once.")


class Busy(GradsculptError):  # noqa: N818 - a state of the desk, as `queue.Full` is
    """As many wait already as may wait."""


@dataclass(frozen=True)
class Waiting:
    """The work has not begun, as `before` pieces of others are to be done first."""

    before: int


@dataclass(frozen=True)
class Step:
    """What is being done, which share of the whole is done, in [0, 1], and what can be shown of it so far."""

    text: str
    share: float | None = None
    so_far: Any = None


@dataclass(frozen=True)
class Done(Generic[T]):
    """The work is done, and this is what came of it."""

    value: T


Work = Callable[["Ticket"], Iterable[Step | Done[T]]]
"""What is done for a visitor: it yields steps, calls `check` of its ticket often, and ends with `Done`."""


class Ticket:
    """One piece of work of one visitor, which may be cancelled, and has a time once it has begun."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._seconds = self._end = float("inf")

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop the work at its next step; more than once is as good as once."""
        self._cancelled.set()

    def begin(self, seconds: float) -> None:
        """Let the time of the work begin."""
        self._seconds, self._end = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raise `Cancelled` if it was cancelled, `TooLong` if its time is over."""
        if self.cancelled:
            raise Cancelled
        if time.monotonic() > self._end:
            raise TooLong(self._seconds)


_HERE = threading.local()


@contextmanager
def at_work(ticket: Ticket) -> Iterator[None]:
    """Within the block, this thread works for a ticket, and `check_here` checks it."""
    before = getattr(_HERE, "ticket", None)
    _HERE.ticket = ticket
    try:
        yield
    finally:
        _HERE.ticket = before


def check_here(*unused: object) -> None:
    """Check the ticket for which this thread works, if it works for one; a hook before a network's forward pass."""
    ticket: Ticket | None = getattr(_HERE, "ticket", None)
    if ticket is not None:
        ticket.check()


@dataclass(eq=False)
class _Job:
    ticket: Ticket
    work: Work[Any] | None
    messages: deque[Step | Done[Any]] = field(default_factory=deque)
    ended: bool = False
    error: BaseException | None = None

    def tell(self, message: Step | Done[Any]) -> None:
        """Add a message; of steps that nobody has heard yet, only the last counts, and what the last one shows."""
        last = self.messages[-1] if self.messages else None
        if isinstance(last, Step) and isinstance(message, Step) and (last.so_far is None or message.so_far is not None):
            self.messages.pop()
        self.messages.append(message)


class Desk:
    """Does the work of visitors in the order in which they come.

    Args:
        workers: How many pieces of work are done at once.
        waiting: How many may wait beside them.
        seconds: How long a piece may take, from its beginning.
    """

    def __init__(self, workers: int = 1, waiting: int = 8, seconds: float = 300) -> None:
        self._workers, self._room, self._seconds = workers, waiting, seconds
        self._changed = threading.Condition()
        self._waiting, self._running = deque[_Job](), list[_Job]()
        self._threads, self._closed = list[threading.Thread](), False

    def do(self, ticket: Ticket, work: Work[T]) -> Iterator[Waiting | Step | Done[T]]:
        """Do a piece of work in its turn: yield how many are before it, then what it yields, and raise what it raises.

        What was said last is said again now and then. If the iterator is closed, the work is cancelled.

        Raises:
            Busy: If as many wait already as may wait.
            Cancelled: At once, if the ticket is cancelled.
            TooLong: If the work takes longer than the seconds of the desk.
        """
        job = _Job(ticket, work)
        self._admit(job)
        try:
            yield from self._heard(job)
        finally:
            if not job.ended:
                ticket.cancel()
            with self._changed:
                if job in self._waiting:
                    self._waiting.remove(job)
                    self._changed.notify_all()

    def close(self) -> None:
        """Cancel all that waits or is done, and take nothing more."""
        with self._changed:
            self._closed = True
            for job in (*self._waiting, *self._running):
                job.ticket.cancel()
            self._changed.notify_all()

    def _admit(self, job: _Job) -> None:
        with self._changed:
            if self._closed:
                raise Busy("the page is being closed; start it again.")
            if len(self._waiting) + len(self._running) >= self._workers + self._room:
                told = counted(len(self._waiting), "pieces of work")
                raise Busy(f"{told} of other visitors wait already; try again in a minute.")
            self._waiting.append(job)
            if len(self._threads) < min(self._workers, len(self._waiting) + len(self._running)):
                self._threads.append(threading.Thread(target=self._serve, daemon=True))
                self._threads[-1].start()
            self._changed.notify_all()

    def _before(self, job: _Job) -> int | None:
        """Return how many are before a job; None once it has begun, or may begin at once."""
        if job not in self._waiting:
            return None
        before = self._waiting.index(job) + len(self._running)
        return before if before >= self._workers else None

    def _heard(self, job: _Job) -> Iterator[Waiting | Step | Done[Any]]:
        last: Waiting | Step | None = None
        spoken = time.monotonic()
        while True:
            message: Waiting | Step | Done[Any] | None = None
            with self._changed:
                self._changed.wait_for(lambda: job.messages or job.ended, timeout=_POLL)
                before = self._before(job)
                if job.messages:
                    message = job.messages.popleft()
                elif job.ended:
                    if job.error is not None:
                        raise job.error
                    return
            if message is None:
                job.ticket.check()
                fresh = before is not None and last != Waiting(before)
                message = Waiting(before) if before is not None and fresh else None
                if message is None and time.monotonic() - spoken > _PULSE:
                    message = last
            if message is not None:
                last, spoken = None if isinstance(message, Done) else message, time.monotonic()
                yield message

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.popleft()
                self._running.append(job)
            error = self._work(job)
            with self._changed:
                self._running.remove(job)
                job.work, job.error, job.ended = None, error, True
                self._changed.notify_all()
            del job, error  # or they would be kept until the next one comes

    def _work(self, job: _Job) -> BaseException | None:
        try:
            job.ticket.begin(self._seconds)
            with at_work(job.ticket):
                job.ticket.check()
                messages = iter(job.work(job.ticket) if job.work else ())
                with closing(messages) if isinstance(messages, Generator) else nullcontext():
                    for message in messages:
                        with self._changed:
                            job.tell(message)
                            self._changed.notify_all()
                        if isinstance(message, Step):
                            job.ticket.check()
        except BaseException as error:
            return error
        return None


class _Heard(Reporter):
    """A reporter whose lines and bars become steps, and which stops the work when its ticket is stopped."""

    def __init__(self, ticket: Ticket, tell: Callable[[Step], None]) -> None:
        super().__init__()
        self._ticket, self._tell = ticket, tell

    def say(self, *lines: str) -> None:
        self._ticket.check()
        for line in lines:
            self._tell(Step(line))

    @contextmanager
    def work(self, what: str, total: int | None = None, unit: str = "images") -> Iterator[Progress]:
        def tell(done: int, among: int | None = None) -> None:
            self._ticket.check()
            whole = total if among is None else among
            share = None if not whole else min(1.0, done / whole)
            self._tell(Step(f"{what}: {counted(done, unit) if whole is None else f'{done} of {whole} {unit}'}", share))

        tell(0)
        yield tell


def heard(ticket: Ticket, function: Callable[[Reporter], T]) -> Generator[Step, None, T]:
    """Call a function that tells of its work to a reporter, yield the steps it tells, and return what it returns.

    It is called in another thread, and stopped at its next step when the ticket is.

    Example:
        >>> def work(ticket):
        ...     made = yield from heard(ticket, lambda reporter: reporter.say("begun") or 42)
        ...     yield Done(made)
        >>> list(work(Ticket()))
        [Step(text='begun', share=None, so_far=None), Done(value=42)]
    """
    said, results, changed = deque[Step](), list[tuple[bool, Any]](), threading.Condition()

    def tell(step: Step) -> None:
        with changed:
            said.append(step)
            changed.notify_all()

    def call() -> None:
        result: tuple[bool, Any]
        try:
            with at_work(ticket):
                result = True, function(_Heard(ticket, tell))
        except BaseException as error:
            result = False, error
        with changed:
            results.append(result)
            changed.notify_all()

    threading.Thread(target=call, daemon=True).start()
    try:
        while not results or said:
            with changed:
                changed.wait_for(lambda: said or results)
                steps = list(said)
                said.clear()
            yield from steps
    finally:  # or the next work would begin beside this one
        with changed:
            changed.wait_for(lambda: results)
    fine, value = results[0]
    if fine:
        return value  # type: ignore[no-any-return]
    raise value
