import math

import pytest
import torch
from torch import Tensor

from gradsculpt.training.tally import LOSS, Tally

CPU = torch.device("cpu")


def scalar(value: float) -> Tensor:
    return torch.tensor(value)


def test_means_are_over_images_whatever_the_steps_and_their_terms() -> None:
    tally = Tally(CPU)
    tally.add({LOSS: scalar(1.0), "a": scalar(2.0)}, 3)
    tally.add({LOSS: scalar(5.0), "a": scalar(4.0)}, 1)
    assert {name: mean.item() for name, mean in tally.means().items()} == {LOSS: 2.0, "a": 2.5}
    assert tally.total(LOSS) == 8.0
    tally.begin()
    tally.add({LOSS: scalar(7.0), "a": scalar(1.0)}, 2)
    assert {name: mean.item() for name, mean in tally.means().items()} == {LOSS: 7.0, "a": 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_step_that_is_not_finite_is_named_with_its_terms(value: float) -> None:
    tally = Tally(CPU)
    for step in range(1, 7):
        bad, late = (value if step >= first else 0.0 for first in (4, 5))
        tally.add({LOSS: scalar(1 + bad), "good": scalar(1.0), "bad": scalar(bad), "late": scalar(late)}, 8)
        if step == 3:
            assert tally.broken() is None
    step, terms, loss = tally.broken() or (0, [], 0.0)
    assert (step, terms) == (4, ["bad"])
    assert not math.isfinite(loss)
    tally.begin()
    assert tally.broken() is None


def test_each_step_tells_whether_all_of_it_is_finite() -> None:
    tally = Tally(CPU)
    found = [bool(tally.add({LOSS: scalar(1.0), "a": scalar(value)}, 2)) for value in (1.0, math.inf, 2.0)]
    assert found == [True, False, True]
    assert tally.steps == 3
