"""How long work tells of itself: a bar on a terminal, plain lines in a log, nothing where nobody listens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TextColumn

from gradsculpt.wording import printable

Progress = Callable[[int, int | None], None]
"""What a library call tells: how many are done, and of how many where that is known."""

_LOG_SECONDS = 5.0
_AT_ONCE = 0.05  # what is done sooner was done before, by a call that was interrupted


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


class Reporter:
    """Where long work tells how it goes, in lines and bars on a console; by default nowhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(quiet=True)

    @property
    def interactive(self) -> bool:
        """Whether a person is looking on, so that a bar may move."""
        return self.console.is_terminal

    def say(self, *lines: str) -> None:
        """Write lines as they are: brackets in names are no markup, and what cannot be shown stands as its escape."""
        for line in lines:
            self.console.print(printable(line), highlight=False, markup=False, emoji=False)

    @contextmanager
    def work(self, what: str, total: int | None = None, unit: str = "images") -> Iterator[Progress]:
        """Yield a function to be told how many are done: it moves a bar, or writes a line now and then and at the end.

        The total is how many there are, where that is known before, in the unit.
        """
        estimate, said, columns = Estimate(), time.monotonic(), Bar.get_default_columns()[1:]
        label = TextColumn("{task.description}", markup=False)
        with Bar(label, *columns, console=self.console, disable=not self.interactive, transient=True) as bar:
            task = bar.add_task(printable(what), total=total)

            def tell(done: int, among: int | None = None) -> None:
                nonlocal said
                among = total if among is None else among
                bar.update(task, completed=done, total=among)
                left = 0.0 if among is None else estimate.left(done, among)
                now = time.monotonic()
                if not self.interactive and (now - said >= _LOG_SECONDS or done == among):
                    rest = f", about {left:.0f} s left" if among is not None and done < among else ""
                    self.say(f"{what}: {done}{'' if among is None else f' of {among}'} {unit}{rest}")
                    said = now

            yield tell
