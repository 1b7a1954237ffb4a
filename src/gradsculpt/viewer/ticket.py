"""One piece of work of one visitor: the ticket by which it is stopped, and the steps in which it tells of itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# These two are no errors, and what catches errors on their way up must not take them for some.


class Cancelled(BaseException):
    """The visitor does not want the work any more."""


class TooLong(BaseException):
    """The work has had its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"this took longer than the {seconds:.0f} seconds that a visitor has; ask for less at once.")


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
