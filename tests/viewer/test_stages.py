"""How far work of several parts is."""

from collections.abc import Generator

import pytest

from gradsculpt.errors import ArgumentError
from gradsculpt.viewer.stages import stage, whole_steps
from gradsculpt.viewer.work import Step


def part(*shares: float | None) -> Generator[Step, None, str]:
    for share in shares:
        yield Step("a step", share)
    return "made"


def test_the_shares_of_parts_are_shares_of_the_whole_and_never_fall() -> None:
    made: list[str] = []

    def whole() -> Generator[Step, None, None]:
        for place in range(4):
            made.append((yield from stage(part(None, 0.0, 0.5, None, 1.0), place, 4)))

    told = [step.share for step in whole()]
    assert made == ["made"] * 4
    assert told[:5] == [0.0, 0.0, 0.125, 0.125, 0.25]
    assert told == [place / 4 + share for place in range(4) for share in (0.0, 0.0, 0.125, 0.125, 0.25)]


@pytest.mark.parametrize("steps", [0, -1, 11, 2.5, float("nan"), float("inf"), True, None, "3"], ids=str)
def test_a_number_of_steps_that_cannot_be_is_a_sentence(steps: float) -> None:
    with pytest.raises(ArgumentError, match="whole number from 1 to 10"):
        whole_steps(steps, 10)


@pytest.mark.parametrize("steps", [1, 10, 3.0])
def test_a_number_of_steps_may_come_from_a_slider(steps: float) -> None:
    assert whole_steps(steps, 10) == steps
