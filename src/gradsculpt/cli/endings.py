"""What a command does with the signals that end it, and with standard streams that are closed, full or gone."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, cast

from gradsculpt.errors import Interrupted

_ENDING = ("SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2")
_AT_ONCE = b"\ngradsculpt: ended at once, as it was interrupted twice; what was finished is kept.\n"


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the signals that end a process stop the work in the block in good order, as Ctrl-C does.

    These are the ones that a system, a terminal or a scheduler sends before it kills. A signal that is ignored or has
    a handler keeps it, and the same signal sent again ends the process at once: what is half written has no name yet.
    """
    interrupted = False

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted(number=number)

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt
        with suppress(OSError):
            os.write(2, _AT_ONCE)
        os._exit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    names = [name for name in _ENDING if main and hasattr(signal, name)]
    before = {number: signal.SIG_DFL for name in names if _is_usual(number := getattr(signal, name), signal.SIG_DFL)}
    if main and _is_usual(signal.SIGINT, signal.default_int_handler):
        before[signal.SIGINT] = signal.default_int_handler  # type: ignore[assignment]
    for number in before:
        signal.signal(number, interrupt if number == signal.SIGINT else stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_usual(number: int, usual: object) -> bool:
    return signal.getsignal(number) == usual


@contextmanager
def streams() -> Iterator[None]:
    """Let work go on where nobody reads what it says, and keep files off the numbers of streams that are closed.

    What standard error cannot take is lost; of standard output, whoever writes there hears.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file that is opened would have this number, and get what libraries say
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    # Python has no stream where one was closed when it started.
    sys.stdout = before[0] or cast(TextIO, _Patient(None))
    sys.stderr = cast(TextIO, _Patient(before[1]))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def flush() -> None:
    """Write what is still to be written on standard output; raise `OSError` if that cannot be, which is said once."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # or the interpreter would try again when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        error.filename = error.filename or "standard output"
        raise


class _Patient:
    """A stream that takes everything, whether somebody reads it or not."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
