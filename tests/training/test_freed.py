"""What a step has computed is gone when its loss is: nothing waits for a search for cycles."""

import gc
import weakref
from typing import Any

import pytest
import torch

from gradsculpt.gradients import Recording
from gradsculpt.objectives import CrossEntropy, Moment, Objective
from gradsculpt.objectives.passes import Passes
from tests.training import small
from tests.training.test_graphs import with_dropout
from tests.training.test_never_waits import OBJECTIVES, SPACE


@pytest.mark.parametrize("objective", [CrossEntropy(), *OBJECTIVES], ids=lambda each: str(each)[:90])
def test_an_objective_leaves_no_cycle(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    for kind in (Passes, Recording):
        begin: Any = kind.__init__

        def noted(self: Any, *args: Any, begin: Any = begin, **kwargs: Any) -> None:
            made.append(weakref.ref(self))
            begin(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", noted)
    network, x, y = with_dropout(), torch.randn(4, 3, small.SIDE, small.SIDE), torch.tensor([0, 1, 2, 0])
    resolved, attention = objective.at(Moment(1.0, 2, SPACE)), torch.rand(4, 1, small.SIDE, small.SIDE)
    gc.disable()
    try:
        losses = resolved(network, x, y, attention, state=resolved.initial_state())
        losses.loss.backward()
        del losses
        assert made
        assert [each for each in made if each() is not None] == []
    finally:
        gc.enable()
