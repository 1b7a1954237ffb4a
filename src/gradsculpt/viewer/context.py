"""What every part of the page shares, and what is kept of each visitor."""

from __future__ import annotations

import shutil
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Generic, TypeVar

from gradsculpt.progress import Reporter
from gradsculpt.viewer.subjects import Subjects
from gradsculpt.viewer.told import sentence
from gradsculpt.viewer.work import Cancelled, Desk, Done, Step, Ticket, Waiting, Work
from gradsculpt.wording import counted

T = TypeVar("T")

_FOLDERS = 4  # of a tab and a visitor
_TELLING = 3.0  # seconds of work after which it is said how many


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for at once."""

    maps: int = 12
    """Maps that are computed side by side."""
    networks: int = 4
    """Networks that are attacked or scored beside each other."""
    steps: int = 256
    """Steps of an attack or an ascent."""
    upload_bytes: int = 64 * 2**20
    """Size of a file that is uploaded."""
    state_seconds: float = 3600
    """How long what belongs to a visitor is kept after its last use."""


@dataclass(frozen=True)
class Told(Generic[T]):
    """A line for the visitor, the share of the work that is done, if that is known, and its value when it is done.

    `value` is what `Done` brought, `so_far` what a step can show already; `ended` tells that no more comes, `failed`
    that there is no value, as the work was cancelled or went wrong.
    """

    text: str
    share: float | None = None
    value: T | None = None
    so_far: Any = None
    ended: bool = False
    failed: bool = False


class Visitor:
    """What belongs to one visitor: the ticket of each tab's work, and what was made. A copy belongs to another one."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.last_word: dict[Any, object] = {}  # of each line that tells how work goes: by which call of a control
        self._tickets: dict[str, Ticket] = {}
        self._folders: dict[str, list[Any]] = {}  # what removes them, at the latest when nobody knows the visitor

    def __deepcopy__(self, memo: object) -> Visitor:
        return Visitor()

    def begin(self, tab: str) -> Ticket:
        """Return the ticket of new work for a tab; its earlier work is cancelled."""
        self.cancel(tab)
        self._tickets[tab] = Ticket()
        return self._tickets[tab]

    def cancel(self, tab: str) -> None:
        """Cancel the work of a tab, if there is any."""
        if (ticket := self._tickets.pop(tab, None)) is not None:
            ticket.cancel()

    def folder(self, above: Path, tab: str) -> Path:
        """Return an empty folder for the files of a tab; of those that it had before, the last few are kept.

        These may not have been sent yet.
        """
        removers = self._folders.setdefault(tab, [])
        folder = Path(mkdtemp(dir=above))
        removers.append(weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True))
        while len(removers) > _FOLDERS:
            removers.pop(0)()
        return folder

    def close(self) -> None:
        """Cancel all work, and forget all."""
        for tab in list(self._tickets):
            self.cancel(tab)
        for remove in chain(*self._folders.values()):
            remove()
        self._folders.clear()
        self.kept.clear()


@dataclass(frozen=True)
class Context:
    """What the tabs share.

    Args:
        subjects: The networks on offer.
        folder: Where temporary files go; it is emptied when the page is closed.
        desk: Where heavy work is done.
        reporter: Where the server tells of itself.
        device: Where to compute.
        limits: What a visitor may ask for.
        runs: Where trainings of the page leave their runs; below `folder` they are lost when it is closed.
    """

    subjects: Subjects
    folder: Path
    desk: Desk = field(default_factory=Desk)
    reporter: Reporter = field(default_factory=Reporter)
    device: str = "auto"
    limits: Limits = field(default_factory=Limits)
    runs: Path | None = None

    def run(self, ticket: Ticket, work: Work[T]) -> Iterator[Told[T]]:
        """Do work in its turn, and say in sentences how it goes; whatever goes wrong is the last of them."""
        began = None
        try:
            for message in self.desk.do(ticket, work):
                if isinstance(message, Waiting):
                    others = "is 1 other visitor" if message.before == 1 else f"are {message.before} other visitors"
                    yield Told(f"Waiting: there {others} before you.")
                elif isinstance(message, Step):
                    began = began or time.monotonic()
                    spent = time.monotonic() - began
                    percent = "" if message.share is None else f" {message.share:.0%}"
                    seconds = f" ({counted(round(spent), 'seconds')})" if spent > _TELLING else ""
                    text = f"{message.text[:1].upper()}{message.text[1:]}{percent}{seconds} …"
                    yield Told(text, message.share, so_far=message.so_far)
                elif isinstance(message, Done):
                    yield Told("Done.", 1.0, message.value, ended=True)
                    return
        except (Exception, Cancelled) as error:
            yield Told(sentence(error), ended=True, failed=True)
        except BaseException as error:
            if isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit):
                raise
            yield Told(sentence(error), ended=True, failed=True)
