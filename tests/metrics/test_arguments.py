"""Every argument of every metric: refused in one line, or it works."""

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attributions import Gradient
from gradsculpt.errors import GradsculptError
from gradsculpt.metrics import METRICS, Metric, Score, metric

DRAWN = torch.Generator().manual_seed(0)
MODEL = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
GIVEN: dict[str, Any] = {
    "maps": torch.rand(2, 3, 8, 8, generator=DRAWN),
    "a": torch.rand(2, 8, 8, generator=DRAWN),
    "b": torch.rand(2, 8, 8, generator=DRAWN),
    "truth": torch.randint(0, 2, (2, 8, 8), generator=DRAWN).float(),
    "gaze": torch.rand(2, 8, 8, generator=DRAWN),
    "model": MODEL,
    "attribution": Gradient(),
    "x": torch.rand(2, 3, 8, 8, generator=DRAWN),
    "y": torch.tensor([0, 2]),
    "logits": torch.randn(2, 3, generator=DRAWN),
    "eps": 0.1,
}
BAD: tuple[Any, ...] = (2.5, 0, -1, math.nan, math.inf, 2**70, "3", None, True, [], object())

SETTINGS = [
    (each, name)
    for each in METRICS
    for name, parameter in inspect.signature(each.function).parameters.items()
    if name not in GIVEN or name == "eps"
]


@pytest.mark.parametrize(("each", "name"), SETTINGS, ids=str)
def test_a_wrong_value_is_refused_in_one_line_or_works(each: Metric[..., Any], name: str) -> None:
    given = {needed: GIVEN[needed] for needed in each.needs}
    for value in BAD:
        passed = False
        try:
            found = each(**{**given, name: value})
            passed = True
        except GradsculptError as error:
            assert "\n" not in str(error)  # noqa: PT017
        if passed:
            for values in found.values() if isinstance(found, dict) else (found,):
                assert bool(values.isfinite().all()), f"{name}={value!r} gives {values}"


def test_counts_are_whole_and_choices_known() -> None:
    for each, name in SETTINGS:
        hint = inspect.signature(each.function).parameters[name].annotation
        for wrong in {int: (2.5, True, "3"), float: ("3", True, math.nan), bool: (1, "true")}.get(hint, (object(),)):
            with pytest.raises(GradsculptError, match=name):
                each(**{needed: GIVEN[needed] for needed in each.needs} | {name: wrong})


def test_a_metric_of_ones_own_is_asked_no_more_than_it_says() -> None:
    @metric(Score("powered", 0.0, math.inf, None))
    def powered(maps: Tensor, power=2, times: int = 1):  # type: ignore[no-untyped-def]
        return times * maps.abs().flatten(1).sum(dim=1) ** power

    assert powered(GIVEN["maps"], "2".count("2")).shape == (2,)
    with pytest.raises(GradsculptError, match=r"^times=1\.5 is out of range; pass a whole number"):
        powered(GIVEN["maps"], times=1.5)  # type: ignore[arg-type]
