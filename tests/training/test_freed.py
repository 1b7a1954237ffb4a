"""What a step has computed is gone when its loss is: nothing waits for a search for cycles."""

import gc

import pytest
import torch

from gradsculpt.gradients import Recording
from gradsculpt.objectives import CrossEntropy, Moment, Objective
from gradsculpt.objectives.passes import Passes
from tests.training import small
from tests.training.test_graphs import with_dropout
from tests.training.test_never_waits import OBJECTIVES, SPACE


@pytest.mark.parametrize("objective", [CrossEntropy(), *OBJECTIVES], ids=lambda each: str(each)[:90])
def test_an_objective_leaves_no_cycle(objective: Objective) -> None:
    network, x, y = with_dropout(), torch.randn(4, 3, small.SIDE, small.SIDE), torch.tensor([0, 1, 2, 0])
    resolved, attention = objective.at(Moment(1.0, 2, SPACE)), torch.rand(4, 1, small.SIDE, small.SIDE)
    gc.collect()
    gc.disable()
    try:
        losses = resolved(network, x, y, attention, state=resolved.initial_state())
        losses.loss.backward()
        del losses
        left = [kind.__name__ for kind in map(type, gc.get_objects()) if kind in (Passes, Recording)]
        left += [kind.__name__ for kind in map(type, gc.get_objects()) if kind.__name__.endswith("Backward")]
    finally:
        gc.enable()
    assert left == []
