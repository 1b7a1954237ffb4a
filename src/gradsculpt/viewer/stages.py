"""Work of several parts: how far the whole is, from how far each part is."""

from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

from gradsculpt.errors import ArgumentError
from gradsculpt.viewer.work import Step

T = TypeVar("T")


def stage(steps: Generator[Step, None, T], place: int, total: int) -> Generator[Step, None, T]:
    """Yield the steps of a part of some work, their shares as those of the whole, and return what the part returns.

    Args:
        steps: The steps of the part; one without a share is as far as the part's beginning, or the last step that has.
        place: How many parts were before.
        total: How many parts there are.

    Example:
        >>> def part():
        ...     yield Step("half of the second", 0.5)
        >>> list(stage(part(), 1, 2))
        [Step(text='half of the second', share=0.75, so_far=None)]
    """
    reached = 0.0
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
        reached = reached if step.share is None else step.share
        yield replace(step, share=(place + reached) / total)


def whole_steps(steps: float, most: int) -> int:
    """Return a number of steps; raise `ArgumentError` unless it is a whole one from 1 to the most that may be taken."""
    fits = isinstance(steps, int | float) and not isinstance(steps, bool) and 1 <= steps <= most
    if not fits or steps != int(steps):
        raise ArgumentError(f"{steps} steps are out of range; choose a whole number from 1 to {most}.")
    return int(steps)
