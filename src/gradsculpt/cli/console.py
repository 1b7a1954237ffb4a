"""Where commands write: tables and progress for people, plain lines for logs."""

import sys

from rich.console import Console

from gradsculpt.progress import Reporter

_FILE_WIDTH = 160


def progress_console() -> Console:
    """Return a console on standard error, for what is not the result."""
    return Console(file=sys.stderr, soft_wrap=True)


def reporter() -> Reporter:
    """Return what tells of work on standard error."""
    return Reporter(progress_console())


def result_console() -> Console:
    """Return a console on standard output, for the result; in a file, tables are as wide as they need to be."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _FILE_WIDTH)
