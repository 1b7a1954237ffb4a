"""How long work tells of itself: a bar on a terminal, plain lines in a log, nothing where nobody listens."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TextColumn

from gradsculpt.errors import ArgumentError
from gradsculpt.wording import counted, printable

Progress = Callable[[int, int | None], None]
"""What a library call tells: how many are done, and of how many where that is known."""

_LOG_SECONDS = 5.0
_SILENCE_SECONDS = 10.0  # after which a log is told that the work goes on
_LONG = 1.0  # seconds, of work whose pace is worth telling
_AT_ONCE = 0.05  # what is done sooner was done before, by a call that was interrupted


_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_IN_UNITS = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit})?" for unit in _UNITS))
_BY_CLOCK = re.compile(r"(?:([0-9]+):([01]?[0-9]|2[0-3])|([0-9]+)):([0-5][0-9]):([0-5][0-9])")


def seconds(text: str, name: str = "time") -> float:
    """Return a time that is given with units or as a clock shows it; raise `ArgumentError` if it is none.

    Example:
        >>> seconds("90s"), seconds("1h30m"), seconds("00:08:00"), seconds("1:00:00:00")
        (90.0, 5400.0, 480.0, 86400.0)
    """
    plain = "".join(str(text).split()).lower()
    if clock := _BY_CLOCK.fullmatch(plain):
        days, of_day, hours, *rest = clock.groups()
        parts = (days, of_day or hours, *rest)
    else:
        units = _IN_UNITS.fullmatch(plain)
        parts = units.groups() if units else ()
    total = sum(float(part or 0) * unit for part, unit in zip(parts, _UNITS.values(), strict=False))
    if not 0 < total < float("inf"):
        raise ArgumentError(
            f"{name}={text} is no time that work could take; pass hours, minutes and seconds as 00:08:00, days before "
            "them as 1:00:00:00, or numbers with units as 90s, 8m or 1h30m."
        )
    return total


class Estimate:
    """The time that is left, from the work done since the start; what came with the start had been done before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started, self._before, self._fresh = clock(), 0, True

    def spent(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._started

    def resumed(self, done: int) -> None:
        """Note that so many were done before the start."""
        self._started, self._before, self._fresh = self._clock(), done, False

    def left(self, done: int, total: int) -> float:
        """Return the seconds that the rest will take at the pace of what was done since the start."""
        if self._fresh and self.spent() < _AT_ONCE:
            self._started, self._before = self._clock(), done
        else:
            self._fresh = False
        return self.spent() / max(1, done - self._before) * (total - done)

    def pace(self, done: int) -> float:
        """Return how many a second were done since the start."""
        return (done - self._before) / max(self.spent(), 1e-9)


class Reporter:
    """Where long work tells how it goes, in lines and bars on a console; by default nowhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(quiet=True)
        self._said = time.monotonic()

    @property
    def interactive(self) -> bool:
        """Whether a person is looking on, so that a bar may move."""
        return self.console.is_terminal

    def say(self, *lines: str) -> None:
        """Write lines as they are: brackets in names are no markup, and what cannot be shown stands as its escape."""
        self._said = time.monotonic()
        for line in lines:
            self.console.print(printable(line), highlight=False, markup=False, emoji=False)

    @contextmanager
    def alive(self, line: Callable[[], str]) -> Iterator[None]:
        """Write what `line` returns whenever a log has had no line for a while, whatever keeps the block busy."""
        if self.interactive or self.console.quiet:
            yield
            return
        ended, self._said = threading.Event(), time.monotonic()

        def watch() -> None:
            while not ended.wait(max(0.0, self._said + _SILENCE_SECONDS - time.monotonic())):
                if time.monotonic() - self._said >= _SILENCE_SECONDS:
                    self.say(line())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    @contextmanager
    def work(self, what: str, total: int | None = None, unit: str = "images") -> Iterator[Progress]:
        """Yield a function to be told how many are done: it moves a bar, or writes a line now and then and at the end.

        The end of what took a while tells the pace, on a terminal as well. Where fewer are done than before, other work
        has begun. The total is how many there are, where that is known before, in the unit, a plural. In a log, work
        that has nothing to tell for a while says that it goes on.
        """
        estimate, said, columns = Estimate(), time.monotonic(), Bar.get_default_columns()[1:]
        label, at = TextColumn("{task.description}", markup=False), (0, total)

        def state() -> str:
            done, among = at
            return f"{what}: {_amount(done, among, unit)}"

        bar = Bar(label, *columns, console=self.console, disable=not self.interactive, transient=True)
        with bar, self.alive(lambda: f"{state()}, {estimate.spent():.0f} s so far"):
            task = bar.add_task(printable(what), total=total)

            def tell(done: int, among: int | None = None) -> None:
                nonlocal said, at, estimate
                among = total if among is None else among
                if done < at[0]:
                    estimate = Estimate()
                at = done, among
                bar.update(task, completed=done, total=among)
                left = 0.0 if among is None else estimate.left(done, among)
                now = time.monotonic()
                long = done == among and estimate.spent() >= _LONG
                if long or (not self.interactive and (now - said >= _LOG_SECONDS or done == among)):
                    rest = f", about {left:.0f} s left" if among is not None and done < among else ""
                    if long:
                        rest = f" in {estimate.spent():.1f} s ({estimate.pace(done):,.0f} a second)"
                    self.say(f"{state()}{rest}")
                    said = now

            yield tell


def _amount(done: int, among: int | None, unit: str) -> str:
    return counted(done, unit) if among is None else f"{done} of {counted(among, unit)}"
