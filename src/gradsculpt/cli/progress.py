"""How far a command is: a bar on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

_LOG_SECONDS = 5.0
_AT_ONCE = 0.05  # what is done sooner was done before, by a call that was interrupted


@contextmanager
def progress(console: Console, what: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Yield a function to be told how many are done: it draws a bar, or writes a line now and then and at the end.

    Args:
        console: Where it goes.
        what: What is being done.
        total: How many there are.
        unit: What they are.
    """
    started = said = time.monotonic()
    before, ready = 0, True
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def tell(done: int) -> None:
            nonlocal said, started, before, ready
            bar.update(task, completed=done)
            now = time.monotonic()
            ready = ready and now - started < _AT_ONCE
            if ready:
                started, before = now, done
            if not console.is_terminal and (now - said >= _LOG_SECONDS or done == total):
                left = (now - started) / max(1, done - before) * (total - done)
                rest = f", about {left:.0f} s left" if done < total else ""
                console.print(f"{what}: {done} of {total} {unit}{rest}", highlight=False)
                said = now

        yield tell
