"""The exceptions of gradsculpt: each message states the fact, the consequence and the remedy.

The command line turns every `GradsculptError` into one line on standard error and exit status 2.
"""

import difflib
import signal
from collections.abc import Mapping, Sequence


class GradsculptError(Exception):
    """Base class of every error that gradsculpt raises on purpose."""


class ArgumentError(GradsculptError, ValueError):
    """A value that was handed in cannot be used: wrong range, shape or type."""


class DataError(GradsculptError):
    """Images, labels or folders cannot be used as they are."""


class ModelError(GradsculptError):
    """A network cannot be built, adapted or used as asked."""


class FlatMapsError(ModelError):
    """Maps do not change with the images at all, so that no gradient leads an attack on them."""


class UnknownFunctionError(ModelError):
    """A rule of propagation met a function that it does not know, in the network or in what stands for a part of it."""


class RunError(GradsculptError):
    """A run directory is missing, incomplete, or in the way."""


class ConvergenceError(GradsculptError):
    """A numerical solver stopped before it could vouch for its result."""


class Interrupted(KeyboardInterrupt):
    """Work was stopped by a signal; the text, if there is one, says what is there and how to go on.

    Args:
        told: What is to be said to whoever stopped it.
        number: The signal.
    """

    def __init__(self, told: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(told)
        self.number = number


def did_you_mean(name: str, known: Sequence[str] | Mapping[str, str], most: int = 1) -> str:
    """Return the question that ends the message about an unknown name; empty if no known one is like it.

    Args:
        name: What was typed.
        known: The known names; of a mapping, its values are what the question names.
        most: How many it names at most; where it may be several, they may be less like the name.

    Example:
        >>> did_you_mean("smothgrad", ["gradient", "smoothgrad"])
        ' Did you mean smoothgrad?'
    """
    choices = known if isinstance(known, Mapping) else {choice: choice for choice in known}
    near = difflib.get_close_matches(name, list(choices), n=most, cutoff=0.6 if most == 1 else 0.5)
    return f" Did you mean {' or '.join(choices[each] for each in near)}?" if near else ""


def first_line(error: BaseException, *, kind: bool = True) -> str:
    r"""Return the first line of the message of anybody's exception, after its kind; the kind alone if it has none.

    Example:
        >>> first_line(OSError("no route\nto host")), first_line(KeyError(), kind=False)
        ('OSError: no route', 'KeyError')
    """
    name, lines = type(error).__name__, str(error).strip().splitlines()
    return name if not lines else f"{name}: {lines[0]}" if kind else lines[0]
