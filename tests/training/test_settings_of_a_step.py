"""For every recipe: precision, memory layout, accumulation and clipping change a step by no more than is stated."""

from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from gradsculpt.data.base import ImageSet
from gradsculpt.errors import RunError
from gradsculpt.objectives import CrossEntropy, Objective
from gradsculpt.training import TrainSettings, fitting
from gradsculpt.training.fitting import build_trainer
from tests.test_recipes import RECIPES
from tests.training import small
from tests.training.small import network, train, weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]

LR = 0.1
TEACHER = network(norm=False).eval()
OBJECTIVES: dict[str, Objective] = {
    repr(objective): objective.with_teacher(TEACHER) if objective.requirements.teacher else objective
    for objective, _ in RECIPES.values()
}
"""The objectives of all recipes; trainings differ in more, but a step does not."""

SETTINGS: dict[str, tuple[dict[str, Any], float, float]] = {
    "bf16-mixed": ({"precision": "bf16-mixed"}, 0.02, 0.25),
    "16-mixed": ({"precision": "16-mixed"}, 5e-3, 0.05),
    "64-true": ({"precision": "64-true"}, 1e-5, 1e-4),
    "contiguous": ({"channels_last": False}, 1e-6, 1e-4),
}
"""Settings with how far they move the loss, and the gradient of all parameters, relative to its length.

Beside the rounding of 8 or 11 bits there are choices: the entry of a pool, the sign of an entry of the inner gradient.
"""


def _eight(*_: int) -> ImageSet:
    return _whole.subset(np.arange(8))


_whole = small.images()


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on eight images, in float16 with a scale of the loss that suits all, as scalers find it in a few steps."""
    monkeypatch.setattr(small, "images", _eight)
    scaled = partial(MixedPrecision, scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10))
    monkeypatch.setattr(fitting, "MixedPrecision", scaled)


def step(name: str, **settings: Any) -> tuple[float, Tensor]:
    """Return the loss of a step on eight images, and the gradient that it followed."""
    model = network(norm=False)
    before = weights(model).double()
    with TemporaryDirectory() as out:
        logged = train(Path(out), OBJECTIVES[name], model, lr=LR, **{"batch_size": 8, **settings})
    return logged["train_loss"], (before - weights(model).double()) / LR


@cache
def plain(name: str) -> tuple[float, Tensor]:
    return step(name)


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


names = pytest.mark.parametrize("name", OBJECTIVES, ids=[each[:60] for each in OBJECTIVES])


@pytest.mark.parametrize("setting", SETTINGS)
@names
def test_the_step_is_that_of_plain_float32(name: str, setting: str) -> None:
    chosen, of_loss, of_gradient = SETTINGS[setting]
    if setting == "64-true" and _draws(name):
        return  # numbers of 64 bits are drawn otherwise
    (loss, gradient), (exact, true) = step(name, **chosen), plain(name)
    assert gradient.norm() > 0  # the scaler has not left the step out
    assert loss == pytest.approx(exact, abs=of_loss)
    assert apart(gradient, true) <= of_gradient


@names
def test_clipping_is_that_of_pytorch(name: str) -> None:
    loss, gradient = step(name, clip=0.05)
    exact, true = plain(name)
    parameter = torch.nn.Parameter(torch.zeros_like(true))
    parameter.grad = true.clone()
    torch.nn.utils.clip_grad_norm_([parameter], 0.05)
    assert loss == exact
    assert apart(gradient, parameter.grad) < 1e-4


@names
def test_accumulated_batches_are_one_batch_where_nothing_is_drawn_or_carried(name: str) -> None:
    objective = OBJECTIVES[name]
    if objective.initial_state() or _draws(name):
        return
    loss, gradient = step(name, batch_size=4, accumulate=2)
    exact, true = plain(name)
    assert loss == pytest.approx(exact, abs=1e-5)
    assert apart(gradient, true) < 1e-4


@cache
def _draws(name: str) -> bool:
    return not torch.equal(step(name)[1], _of_another_seed(name))


def _of_another_seed(name: str) -> Tensor:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gradsculpt.training.module.seed_of", lambda *numbers: hash((99, *numbers)) % 2**62)
        return step(name)[1]


def test_some_objectives_draw_nothing() -> None:
    assert 5 <= sum(not _draws(name) for name in OBJECTIVES) < len(OBJECTIVES)


def test_on_a_cpu_float16_is_float16_and_its_loss_is_scaled(tmp_path: Path) -> None:
    for precision, kind, scaled in (("16-mixed", torch.float16, True), ("bf16-mixed", torch.bfloat16, False)):
        model, seen = network(norm=False), set[torch.dtype]()
        model[0].register_forward_hook(lambda layer, given, made, seen=seen: seen.add(made.dtype))
        train(tmp_path, CrossEntropy(), model, precision=precision)
        assert seen == {kind}
        plugin: Any = build_trainer(TrainSettings(tmp_path, precision=precision, device="cpu")).precision_plugin
        assert (plugin.scaler is not None) == scaled


def test_a_scale_that_is_too_large_is_lowered_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Steep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network(norm=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * 30.0

    monkeypatch.setattr(fitting, "MixedPrecision", MixedPrecision)
    for on_nan in ("stop", "skip"):
        model = Steep()
        before = weights(model)
        logged = train(tmp_path / on_nan, CrossEntropy(), model, precision="16-mixed", epochs=6, on_nan=on_nan, lr=1e-3)
        assert weights(model).isfinite().all()
        assert not torch.equal(weights(model), before)
        assert logged.get("train_skipped", 0) == 0


def test_in_float16_too_a_broken_loss_ends_the_training_or_is_left_out(tmp_path: Path) -> None:
    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.steps = network(norm=False), 0

        def forward(self, x: Tensor) -> Tensor:
            self.steps += 1
            return self.inner(x) * (torch.nan if self.steps == 2 else 1.0)

    with pytest.raises(RunError, match=r"nan in epoch 1 .*step 2 .*--precision 32-true in place of 16-mixed"):
        train(tmp_path / "stop", CrossEntropy(), Broken(), precision="16-mixed", batch_size=2)
    logged = train(tmp_path / "skip", CrossEntropy(), Broken(), precision="16-mixed", batch_size=2, on_nan="skip")
    assert logged["train_skipped"] == 1


def test_a_precision_that_there_is_not_is_one_line(tmp_path: Path) -> None:
    for precision in ("transformer-engine", "nope"):
        with pytest.raises(RunError, match=f"--precision {precision} cannot be had") as caught:
            build_trainer(TrainSettings(tmp_path, precision=precision, device="cpu"))
        assert "\n" not in str(caught.value)
