"""What the words of a score are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Says = str | Callable[[float], str]
Unit = Literal["", "percent", "points", "count"]


@dataclass(frozen=True)
class Words:
    """How a score is told.

    Args:
        called: Its name in plain words, the field's own in brackets.
        says: The sentence without its stop, with {value} in it and, as the subject of a mean or of one, {map}; or a
            function of the value that returns it.
        unit: How the value is written: as the score has it, in per cent, as percentage points, or as a count.
        counts: Whether a mean is a share of the images, and so no average of anything that one image has.
        grade: Returns a word for a value, which {is} then begins with.
        base: The name of the score, without the circumstances that it was measured in.
    """

    called: str
    says: Says
    unit: Unit = ""
    counts: bool = False
    grade: Callable[[float], str] | None = None
    base: str = ""


def after(says: Says, more: str) -> Says:
    """Return a sentence that goes on with more."""
    return says + more if isinstance(says, str) else lambda value: says(value) + more
