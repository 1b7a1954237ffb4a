"""A step whose loss or gradients are not finite is never taken: the training stops there, or goes on as without it."""

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

from gradsculpt.errors import RunError
from gradsculpt.models import networks
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    GradientPenalty,
    MaxEntropy,
    Objective,
    Passes,
    Regulariser,
)
from gradsculpt.penalties import L1, ElasticNet, SquaredL2
from gradsculpt.perturbations import Free
from gradsculpt.progress import Reporter
from gradsculpt.training import Optimization, TrainSettings, fit, fitting, module, recordable, steps
from gradsculpt.training.steps import Steps
from tests.training import small, tape
from tests.training.small import weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]

train = partial(small.train, replays=1)  # in the order of the images

BAD = 6
"""The image that breaks steps; batches of four have it in the second."""


def plain() -> Any:
    """Return a network without a bias before batch normalisation, whose gradient is 0, but for rounding errors."""
    made: Any = small.network()
    made[0].bias = None
    return made


def _is_bad(x: Tensor) -> Tensor:
    """Tell by its pixels which image of a batch it is, whatever noise was added."""
    pixels = torch.from_numpy(small.images().images[BAD]).permute(2, 0, 1) / 255
    return ((x.detach() * 0.25 + 0.5 - pixels).abs().flatten(1).mean(dim=1) < 0.05).to(x.dtype).view(-1, 1)


def _kink(value: Tensor, bad: Tensor) -> Tensor:
    """Return 1, or 0 with a slope that is no number."""
    return torch.where(bad > 0, (value - value.detach()).square(), 1.0).sqrt()


class Breaks(nn.Module):
    """A network whose logits or whose gradients are not finite for one image."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = plain(), how

    def forward(self, x: Tensor) -> Tensor:
        bad, logits = _is_bad(x), self.inner(x)
        if self.how == "loss":
            return logits + torch.where(bad > 0, torch.nan, 0.0)
        if self.how == "infinite":
            return logits * torch.where(bad > 0, torch.inf, 1.0)
        weight = self.inner[0].weight.sum()
        return logits + bad * _kink(weight, bad)


@dataclass(frozen=True)
class Steep(Regulariser):
    """A term that is 0, with a gradient that is not a number, as soon as the bad image is in the batch."""

    names = ("steep",)
    reads_gradients = False

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        bad = _is_bad(passes.x).max()
        return {"steep": bad * _kink(passes.clean.output.square().mean(), bad)}


KINDS = ("loss", "infinite", "gradient")
OBJECTIVES: dict[str, Objective] = {
    "cross entropy": CrossEntropy(),
    "adversarial": AdversarialTraining(ElasticNet(0.05, 0.1)),
    "free": AdversarialTraining(L1(0.1), Free(2)),
    "penalty": GradientPenalty(SquaredL2(0.1)),
    "sum": CrossEntropy() + MaxEntropy(0.1),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_training_stops_at_the_step_and_says_where_and_why(name: str, kind: str, tmp_path: Path) -> None:
    model, exact = Breaks(kind), plain()
    with pytest.raises(RunError) as caught:
        train(tmp_path, OBJECTIVES[name], model)
    said = str(caught.value)
    assert "\n" not in said
    assert "step 2 of the epoch" in said
    assert "on 6 (of a batch of 4 images)" in said or "on 4, 5, 6, 7" in said
    assert "--on-nan skip" in said
    assert ("gradient of inner.0.weight" in said) == (kind == "gradient")
    # The weights are those after the only step before it.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(small, "images", lambda *_: _some(slice(0, 4)))
        train(tmp_path, OBJECTIVES[name], exact)
    assert torch.equal(weights(model), weights(exact))


_every = small.images()


def _some(chosen: Any) -> Any:
    return _every.subset(np.arange(16)[chosen])


def test_the_term_whose_gradient_breaks_is_named(tmp_path: Path) -> None:
    objective = CrossEntropy() + MaxEntropy(0.1) + Steep()
    with pytest.raises(RunError, match=r"gradient of 0\.weight and 6 parameters more .* through steep, .*on 6 \(of"):
        train(tmp_path, objective, plain())


@pytest.mark.parametrize(
    ("kind", "optimizer"), [("loss", "sgd"), ("infinite", "adam"), ("gradient", "adamw"), ("gradient", "sgd")]
)
def test_a_batch_that_is_left_out_leaves_no_trace(kind: str, optimizer: Any, tmp_path: Path) -> None:
    # Of the images of the good batches alone, with a network that they do not break.
    settings: dict[str, Any] = {
        "optimization": Optimization(optimizer, 0.05, schedule="constant"),
        "on_nan": "skip",
        "epochs": 2,
    }
    broken, exact, told = Breaks(kind), plain(), list[str]()
    logged = train(tmp_path / "a", CrossEntropy(), broken, tell=told.append, **settings)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(small, "images", lambda *_: _some([0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]))
        other = train(tmp_path / "b", CrossEntropy(), exact, **settings)
    assert torch.equal(weights(broken), weights(exact))
    for a, b in zip(broken.buffers(), exact.buffers(), strict=True):
        assert torch.equal(a, b)
    assert logged.pop("train_skipped") == 1
    assert other.pop("train_skipped") == 0
    assert logged == other
    assert "left out batch 2, on 6 (of a batch of 4 images): the " in told[0]
    assert "left out 1 of 4 batches in epoch 2" in told[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_of_accumulated_batches_the_whole_step_is_left_out(kind: str, tmp_path: Path) -> None:
    broken, exact = Breaks(kind), plain()
    logged = train(tmp_path / "a", CrossEntropy(), broken, accumulate=2, on_nan="skip")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(small, "images", lambda *_: _some(slice(8, 16)))
        train(tmp_path / "b", CrossEntropy(), exact, accumulate=2, on_nan="skip")
    assert logged["train_skipped"] == 2
    assert torch.equal(weights(broken), weights(exact))


def test_a_training_of_which_most_is_left_out_stops(tmp_path: Path) -> None:
    class Always(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = plain()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * math.nan

    with pytest.raises(RunError, match="4 of 4 batches in epoch 1 were left out"):
        train(tmp_path, CrossEntropy(), Always(), on_nan="skip")
    with pytest.raises(RunError, match="6 of 6 batches in epoch 1 were left out"):
        train(tmp_path, CrossEntropy(), Always(), on_nan="skip", batch_size=1)


class Large(nn.Module):
    """A network with finite, but large logits and gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 1e12


def test_weights_that_an_optimiser_step_breaks_are_told_before_they_are_kept(tmp_path: Path) -> None:
    huge = Optimization("sgd", 1e29, momentum=0.0, weight_decay=0.0, schedule="constant")
    for on_nan in ("stop", "skip"):
        with pytest.raises(RunError, match=r"step 2 of the epoch.*weights \S+ were not finite before it: lower --lr"):
            train(tmp_path, CrossEntropy(), Large(), optimization=huge, on_nan=on_nan)
    with pytest.raises(RunError, match=r"weights \S+ became NaN or infinite in epoch 1 by a step of the optimiser"):
        train(tmp_path, CrossEntropy(), Large(), optimization=huge, batch_size=16)


# Where the device alone decides.


@pytest.fixture(params=["one by one", "recorded"])
def on_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have steps masked by the optimiser, as on CUDA, where the host asks once an epoch alone."""
    if request.param == "recorded":
        monkeypatch.setattr(recordable, "ON", ("cpu", "cuda"))
        monkeypatch.setattr(module, "recorder", tape.recorder)
    else:
        made, place = recordable.made_recordable, Steps.place
        monkeypatch.setattr(module, "made_recordable", lambda *args, recorded: made(*args, recorded=True))
        monkeypatch.setattr(Steps, "place", lambda *args, **options: place(*args, **{**options, "waits": False}))
    monkeypatch.setattr(steps, "_SECONDS", math.inf)
    return str(request.param)


@pytest.mark.parametrize(
    ("name", "kind"), [*(("cross entropy", kind) for kind in KINDS), ("free", "loss"), ("penalty", "gradient")]
)
def test_a_device_takes_no_step_from_a_broken_one_on(name: str, kind: str, on_device: str, tmp_path: Path) -> None:
    model, before = Breaks(kind), plain()
    with pytest.raises(RunError, match=r"step 2 of the epoch, on 4, 5, 6, 7") as caught:
        train(tmp_path, OBJECTIVES[name], model, graphs="on" if on_device == "recorded" else "off")
    assert ("gradient of inner.0.weight" in str(caught.value)) == (kind == "gradient")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(small, "images", lambda *_: _some(slice(0, 4)))
        train(tmp_path, OBJECTIVES[name], before)
    assert model.inner[0].weight.isfinite().all()
    torch.testing.assert_close(weights(model), weights(before), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "optimizer"),
    [("cross entropy", "loss", "sgd"), ("adversarial", "gradient", "adam"), ("free", "infinite", "adam")],
)
def test_a_device_leaves_out_what_the_host_does(
    name: str, kind: str, optimizer: Any, on_device: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "optimization": Optimization(optimizer, 0.01, schedule="constant"),
        "on_nan": "skip",
        "epochs": 3,
    }
    there, here, told = Breaks(kind), Breaks(kind), list[str]()
    graphs = "on" if on_device == "recorded" else "off"
    found = train(tmp_path / "a", OBJECTIVES[name], there, tell=told.append, graphs=graphs, **settings)
    expected = _by_the_host(tmp_path / "b", OBJECTIVES[name], here, settings)
    torch.testing.assert_close(weights(there), weights(here), rtol=1e-4, atol=1e-6)
    for a, b in zip(there.buffers(), here.buffers(), strict=True):
        torch.testing.assert_close(a, b)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert found["train_skipped"] == 1
    assert [line for line in told if "left out 1 of 4 batches in epoch 3" in line]


def test_the_first_step_of_all_may_be_left_out(on_device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "images", lambda *_: _some([6, 5, 4, 7, *range(8, 16)]))
    settings: dict[str, Any] = {"optimization": Optimization("sgd", 0.01, schedule="constant"), "on_nan": "skip"}
    there, here = Breaks("loss"), Breaks("loss")
    train(tmp_path / "a", CrossEntropy(), there, graphs="on" if on_device == "recorded" else "off", **settings)
    _by_the_host(tmp_path / "b", CrossEntropy(), here, settings)
    torch.testing.assert_close(weights(there), weights(here), rtol=1e-5, atol=1e-6)


def _by_the_host(out: Path, objective: Objective, model: nn.Module, settings: dict[str, Any]) -> dict[str, float]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recordable, "ON", ("cuda",))
        patched.setattr(module, "made_recordable", recordable.made_recordable)
        patched.setattr(Steps, "place", _place)
        return train(out, objective, model, **settings)


_place = Steps.place


# Whole runs.


class AtTimes(nn.Module):
    """A network whose logits are not finite in some of its training passes, or for some images of the validation."""

    def __init__(self, inner: nn.Module, steps: Sequence[int], validated: Sequence[int] = ()) -> None:
        super().__init__()
        self.inner, self._steps, self._validated = inner, set(steps), list(validated)
        self._count = 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        if self.training:
            self._count += 1
            return logits * math.nan if self._count in self._steps else logits
        off = torch.zeros(len(x), 1)
        off[[place for place in self._validated if place < len(x)]] = math.nan
        return logits + off


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have networks of runs break."""
    build = networks.build

    def made(steps: Sequence[int] = (), validated: Sequence[int] = ()) -> None:
        monkeypatch.setattr(
            fitting, "build", lambda *args, **options: AtTimes(build(*args, **options), steps, validated)
        )

    return made


def settings_of(out: Path, **more: Any) -> TrainSettings:
    usual: dict[str, Any] = {"data": "digits", "model": "lenet", "epochs": 2, "batch_size": 16, "train_count": 64}
    return TrainSettings(out, device="cpu", threads=1, **{**usual, **more})


def table(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_stops_with_its_images_and_what_was_before_stays(breaking: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    breaking([6])  # the second of the second epoch
    with pytest.raises(RunError) as caught:
        fit(settings_of(out))
    said = str(caught.value)
    assert "\n" not in said
    assert re.search(
        r"nan in epoch 2 through cross_entropy; that was in step 2 of the epoch, on (\S+, ){15}\S+, and", said
    )
    assert "epoch 1 (the best so far) can be used as it is" in said
    assert len(table(out)) == 1
    assert all(bool(each.isfinite().all()) for each in load_file(out / "model.safetensors").values())
    breaking([2])
    log = io.StringIO()
    fit(settings_of(out, resume=True, on_nan="skip"), Reporter(Console(file=log, width=1000)))
    assert [row["train_skipped"] for row in table(out)] == ["", "1"]
    assert re.search(r"note: left out batch 2, on .*: the loss became nan in epoch 2", log.getvalue())
    assert re.search(r"epoch 2/2 .* train_skipped 1 ", log.getvalue())


def test_a_run_that_breaks_in_its_first_epoch_leaves_nothing_behind(breaking: Any, tmp_path: Path) -> None:
    breaking([1])
    with pytest.raises(RunError, match="in step 1 of the epoch"):
        fit(settings_of(tmp_path / "run"))
    assert not any((tmp_path / "run").rglob("*.yaml"))


def test_a_validation_that_is_not_finite_stops_too_and_names_its_images(breaking: Any, tmp_path: Path) -> None:
    breaking(validated=[2, 5])
    with pytest.raises(RunError, match=r"for 18 of the validation images after epoch 1, on (\S+, ){18}so the network"):
        fit(settings_of(tmp_path / "run"))
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    fit(settings_of(tmp_path / "run", on_nan="skip"))
    assert [row["val_skipped"] for row in table(tmp_path / "run")] == ["18", "18"]
    breaking(validated=range(12))
    with pytest.raises(RunError, match="validation images in epoch 1 were left out"):
        fit(settings_of(tmp_path / "other", on_nan="skip"))
