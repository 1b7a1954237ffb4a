"""Recorded steps on a GPU against the same steps taken one by one: 48 steps of every recipe."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.objectives import AdversarialTraining, CrossEntropy, HessianNorm, LocalGradientAlignment, Objective
from gradsculpt.penalties import L1, ElasticNet
from gradsculpt.perturbations import Free
from gradsculpt.training import Optimization, graphs
from tests.test_recipes import RECIPES
from tests.training import small
from tests.training.test_graphs import OTHERS, both, noted, of_kind, with_dropout

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


# 12 epochs of 4 steps; what a GPU computes in another order rounds otherwise, and 48 steps make more of it.
compare = partial(both, epochs=12, device="cuda", threads=None, rtol=5e-3, atol=1e-3)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[graphs.Graphs]:
    return noted(monkeypatch)


@pytest.mark.parametrize("name", [name for name in RECIPES if not RECIPES[name][0].requirements.teacher])
def test_every_recipe(name: str, made: list[graphs.Graphs], tmp_path: Path) -> None:
    recorded, told = compare(made, tmp_path, RECIPES[name][0], lr=0.01)
    assert (recorded >= 1, told) == (True, [])


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_belongs_to_a_step(name: str, made: list[graphs.Graphs], tmp_path: Path) -> None:
    objective, settings, kinds = OTHERS[name]
    recorded, told = compare(made, tmp_path, objective, **{**settings, "epochs": 8})
    assert (recorded, told) == (kinds, [])


@pytest.mark.parametrize(
    "objective",
    [CrossEntropy(), AdversarialTraining(L1(0.05)), LocalGradientAlignment(l2=0.01, cosine=1.0, eps=0.1)],
    ids=lambda each: type(each).__name__,
)
def test_dropout(objective: Objective, made: list[graphs.Graphs], tmp_path: Path) -> None:
    assert compare(made, tmp_path, objective, with_dropout) == (1, [])


class _Asks(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > -1e9 else x  # type: ignore[no-untyped-call]


def test_after_a_recording_that_failed_all_goes_on(made: list[graphs.Graphs], tmp_path: Path) -> None:
    recorded, (line,) = compare(made, tmp_path, AdversarialTraining(L1(0.05)), of_kind(_Asks), wanted="on")
    assert recorded == 0
    assert "cannot be recorded" in line
    torch.randn(3, device="cuda")
    assert compare(made, tmp_path / "next", HessianNorm(0.01))[1] == []


def test_a_resumed_training_repeats_the_uninterrupted_one(made: list[graphs.Graphs], tmp_path: Path) -> None:
    objective = AdversarialTraining(ElasticNet(0.01, 0.1), Free(2))
    settings: dict[str, Any] = {"optimization": Optimization("adam", 0.01, schedule="constant"), "device": "cuda"}
    whole, rest = with_dropout(), with_dropout()
    small.train(tmp_path / "whole", objective, whole, epochs=6, graphs="auto", **settings)
    small.train(tmp_path / "part", objective, with_dropout(), epochs=3, keep=tmp_path / "half.ckpt", **settings)
    small.train(tmp_path / "part", objective, rest, epochs=6, resume=tmp_path / "half.ckpt", graphs="auto", **settings)
    assert all(each.recorded for each in made)
    torch.testing.assert_close(small.weights(rest), small.weights(whole), rtol=5e-3, atol=1e-3)
