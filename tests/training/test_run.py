"""A run from settings to its directory: files, resuming, repeating."""

import csv
import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from gradsculpt.cli.main import INTERRUPTED, main
from gradsculpt.cli.train import read_settings
from gradsculpt.errors import RunError
from gradsculpt.models import load
from gradsculpt.training import fit
from gradsculpt.training.module import ClassifierModule

FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "128", "--threads", "1", "--lr", "0.003"]


def _train(out, *flags):
    settings, config = read_settings([*FLAGS, "--out", str(out), *flags])
    return fit(settings, config, Console(quiet=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "l1"
    _train(out, "--recipe", "l1", "--epochs", "3")
    return out


def test_a_run_leaves_what_is_promised(finished):
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


def test_the_saved_weights_are_those_of_the_best_epoch(finished):
    best = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=False)["state_dict"]
    for name, value in load_file(finished / "model.safetensors").items():
        torch.testing.assert_close(value, best[f"network.{name}"], rtol=0, atol=0)


def test_the_written_config_gives_the_same_weights(finished, tmp_path):
    _train(tmp_path / "again", "--config", str(finished / "config.yaml"))
    first, second = (load_file(run / "model.safetensors") for run in (finished, tmp_path / "again"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_resumes_to_the_same_weights(finished, tmp_path, monkeypatch, capfd):
    out = tmp_path / "stopped"
    start = ClassifierModule.on_train_epoch_start

    def stop(self):
        if self.current_epoch == 2:
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(ClassifierModule, "on_train_epoch_start", stop)
    assert main(["train", *FLAGS, "--recipe", "l1", "--epochs", "3", "--out", str(out)]) == INTERRUPTED
    assert "--resume" in capfd.readouterr().err
    assert not (out / "model.json").exists()
    monkeypatch.undo()
    settings, config = read_settings(["--out", str(out), "--resume"])
    fit(settings, config, Console(quiet=True))
    whole, resumed = (load_file(run / "model.safetensors") for run in (finished, out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with (out / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_finished_run_is_not_overwritten(finished):
    before = (finished / "config.yaml").read_text()
    with pytest.raises(RunError, match=r"already holds a run.*--resume"):
        _train(finished, "--epochs", "1")
    assert (finished / "config.yaml").read_text() == before


def test_tensorboard_logs_when_asked(tmp_path):
    _train(tmp_path / "run", "--epochs", "1", "--tensorboard")
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
