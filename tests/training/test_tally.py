import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.errors import RunError
from gradsculpt.objectives import CrossEntropy
from gradsculpt.training.tally import LOSS, Tally, check_weights
from tests.training import small

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
            tally.check(2)
    with pytest.raises(RunError, match=r"in epoch 2 through bad; that was in step 4 of the epoch, .*--lr"):
        tally.check(2)
    tally.begin()
    tally.check(3)


class _Steep(nn.Module):
    """Returns finite logits whose gradient is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] + self.weight.abs().sqrt()


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_not_finite_are_told_before_they_are_kept(tmp_path: Path) -> None:
    check_weights(nn.Linear(2, 2), 1)
    check_weights(nn.Flatten(), 1)
    with pytest.raises(RunError, match=r"weights weight became NaN or infinite in epoch 1 .*--clip"):
        small.train(tmp_path, CrossEntropy(), _Steep(), batch_size=16, epochs=3)
