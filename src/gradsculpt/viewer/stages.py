"""Work of several parts: how far the whole is, from how far each part is."""

from collections.abc import Generator
from dataclasses import replace
from typing import TypeVar

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
