"""A run from settings to its directory: files, resuming, repeating."""

import csv
import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from gradsculpt.cli.main import INTERRUPTED, main
from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.models import Classifier, load
from gradsculpt.objectives import AdversarialTraining
from gradsculpt.penalties import L1, FunctionPenalty
from gradsculpt.progress import Reporter
from gradsculpt.training import TrainSettings, fit
from gradsculpt.training.module import ClassifierModule

FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "128", "--threads", "1", "--lr", "0.003"]


def train(out: Path, *flags: str) -> Classifier:
    return fit(read_settings([*FLAGS, "--out", str(out), *flags]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "l1"
    train(out, "--recipe", "l1", "--epochs", "3")
    return out


def test_a_run_leaves_what_is_promised(finished: Path) -> None:
    for name in ("config.yaml", "model.safetensors", "model.json", "metrics.csv", "checkpoints/best.ckpt"):
        assert (finished / name).is_file(), name
    assert (finished / "checkpoints" / "last.ckpt").exists()
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["val_accuracy"]) > 0.5
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert 0 < float(rows[-1]["val_gini"]) < 1
    assert json.loads((finished / "model.json").read_text())["extra"]["recipe"] == "l1"
    assert load(finished)(torch.rand(2, 3, 8, 8)).shape == (2, 10)


def test_the_saved_weights_are_those_of_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after: list[dict[str, Tensor]] = []

    def scripted(self: ClassifierModule) -> None:
        after.append({name: value.clone() for name, value in self.network.state_dict().items()})
        self.log("val_accuracy", (0.25, 0.75, 0.5, 0.1)[self.current_epoch], batch_size=1)

    monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", scripted)
    classifier = train(tmp_path, "--epochs", "4", "--train-count", "128")
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == after[1].keys()
    assert all(torch.equal(saved[name], value) for name, value in after[1].items())
    assert all(torch.equal(value, after[1][name]) for name, value in classifier.network.state_dict().items())
    assert not any(all(torch.equal(saved[name], other[name]) for name in saved) for other in after[::2] + after[3:])
    assert json.loads((tmp_path / "model.json").read_text())["extra"]["val_accuracy"] == 0.75


def test_the_written_config_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    train(tmp_path / "again", "--config", str(finished / "config.yaml"))
    first, second = (load_file(run / "model.safetensors") for run in (finished, tmp_path / "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_resumes_to_the_same_weights(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "stopped"
    start = ClassifierModule.on_train_epoch_start

    def stop(self: ClassifierModule) -> None:
        if self.current_epoch == 2:
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(ClassifierModule, "on_train_epoch_start", stop)
    assert main(["train", *FLAGS, "--recipe", "l1", "--epochs", "3", "--out", str(out)]) == INTERRUPTED
    assert "--resume" in capfd.readouterr().err
    assert json.loads((out / "model.json").read_text())["finished"] is False
    monkeypatch.undo()
    config = (out / "config.yaml").read_text()
    fit(read_settings(["--out", str(out), "--resume"]))
    assert (out / "config.yaml").read_text() == config
    whole, resumed = (load_file(run / "model.safetensors") for run in (finished, out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with (out / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_signal_stops_a_training_and_the_next_one_is_still_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: ClassifierModule) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ClassifierModule, "on_train_epoch_start", stopped)
    for name in ("first", "second"):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / name, "--train-count", "128", "--epochs", "1")
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_finished_run_is_not_overwritten(finished: Path) -> None:
    before = (finished / "config.yaml").read_text()
    with pytest.raises(RunError, match=r"already holds a run.*--resume"):
        train(finished, "--epochs", "1")
    assert (finished / "config.yaml").read_text() == before


def test_what_cannot_be_written_down_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    objective = AdversarialTraining(FunctionPenalty(lambda g: g.square().flatten(1).sum(dim=1)))
    with pytest.raises(ArgumentError, match=r"objective\.penalty\.fn .*<lambda>.* cannot be written .*Define it"):
        fit(TrainSettings(out=tmp_path / "run", data="digits", objective=objective))
    assert list(tmp_path.iterdir()) == []


def test_a_library_call_says_nothing_and_leaves_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = read_settings([*FLAGS, "--train-count", "128", "--epochs", "1", "--out", str(tmp_path)])
    fit(settings)
    assert capfd.readouterr() == ("", "")
    again = read_settings(["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path)])
    assert again == settings


def test_a_log_has_a_line_an_epoch(tmp_path: Path) -> None:
    text = io.StringIO()
    settings = read_settings([*FLAGS, "--train-count", "128", "--epochs", "2", "--out", str(tmp_path)])
    fit(settings, Reporter(Console(file=text, width=500)))
    lines = text.getvalue().splitlines()
    assert lines[2] == "digits: 128 train, 143 val, 359 test images of 10 classes"
    assert [line.split()[:2] for line in lines[3:]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert "val_accuracy" in lines[3]
    assert lines[4].endswith("about 0 s left")


def test_tensorboard_logs_when_asked(tmp_path: Path) -> None:
    train(tmp_path / "run", "--epochs", "1", "--tensorboard")
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


# Trained before there was a change to the way configurations are written.
OLD = """\
data: digits
recipe: l1
objective:
  class_path: gradsculpt.objectives.AdversarialTraining
  init_args:
    penalty:
      class_path: gradsculpt.penalties.L1
      init_args:
        weight: 0.01
    perturbation:
      class_path: gradsculpt.perturbations.OneStep
      init_args: {}
model: lenet
epochs: 1
batch_size: 128
accumulate: 1
image_size: 8
val_fraction: 0.1
shuffle_labels: false
augment:
  flip: false
  crop: 0.125
  zoom:
  - 1.0
  - 1.5
strict: false
seed: 0
device: auto
devices: 1
nodes: 1
precision: 32-true
threads: 1
channels_last: true
tensorboard: false
optimizer: adam
lr: 0.003
weight_decay: 0.0001
momentum: 0.9
betas:
- 0.9
- 0.999
schedule: cosine
milestones:
- 100
- 150
gamma: 0.1
warmup: 0
"""


def test_the_configuration_of_an_older_run_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(OLD)
    settings = read_settings(["--out", str(tmp_path), "--resume"])
    assert (settings.objective, settings.epochs) == (AdversarialTraining(L1(0.01)), 1)
    assert (settings.optimization.lr, settings.optimization.betas) == (0.003, (0.9, 0.999))
    assert settings.augment is not None
    assert (settings.augment.flip, settings.augment.zoom) == (False, (1.0, 1.5))
    written: dict[str, Any] = settings.config()
    assert written["objective"]["init_args"]["penalty"]["init_args"] == {"weight": 0.01}
    assert not {"out", "resume", "cache_dir", "data_dir"} & written.keys()
