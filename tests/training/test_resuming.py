"""What a training goes on from: the run's own place and settings, or it is refused and the run stays as it was."""

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from gradsculpt.cli.main import main
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import Augment
from gradsculpt.errors import RunError
from gradsculpt.models import load
from gradsculpt.objectives import AdversarialTraining, CrossEntropy
from gradsculpt.penalties import L1
from gradsculpt.training import Optimization, TrainSettings, fit
from gradsculpt.training import run as training
from gradsculpt.training.module import ClassifierModule
from gradsculpt.training.resuming import CheckpointInRun
from gradsculpt.training.settings import MAY_CHANGE

FLAGS = ["--data", "digits", "--image-size", "16", "--batch-size", "32", "--train-count", "64"]
FLAGS += ["--threads", "1", "--lr", "0.003", "--device", "cpu"]


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return when each file below a folder was written, and a digest of what is in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    }


def train(out: Path, *flags: str) -> int:
    return main(["train", "--out", str(out), *flags])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("resuming") / "run"
    assert train(out, *FLAGS, "--recipe", "l1", "--epochs", "2") == 0
    return out


OTHERS: dict[str, Any] = {
    "data": "cells",
    "recipe": "elastic-net",
    "objective": AdversarialTraining(L1(0.25)),
    "model": "convnet",
    "weights": "default",
    "freeze": ("fc",),
    "softplus": 3.0,
    "epochs": 1,
    "batch_size": 16,
    "accumulate": 2,
    "clip": 0.5,
    "on_nan": "skip",
    "image_size": 24,
    "val_fraction": 0.2,
    "train_count": 80,
    "keep": "last",
    "swap": 30,
    "shuffle_labels": True,
    "augment": Augment(flip=True),
    "statistics": ((0.5,) * 3, (0.25,) * 3),
    "data_dir": Path("elsewhere"),
    "cache_dir": Path("elsewhere"),
    "strict": True,
    "seed": 7,
    "device": "auto",
    "devices": 2,
    "nodes": 2,
    "precision": "bf16-mixed",
    "threads": 2,
    "channels_last": False,
    "graphs": "off",
    "tensorboard": True,
    "max_time": "8m",
    "optimizer": "adamw",
    "lr": 0.01,
    "weight_decay": 0.5,
    "momentum": 0.5,
    "betas": (0.5, 0.6),
    "schedule": "constant",
    "milestones": (1,),
    "gamma": 0.5,
    "warmup": 1,
}
"""Every setting with another value than the run has; a setting that is new has to be added here, and decided upon."""


def test_every_setting_is_among_those_that_are_tried() -> None:
    names = {each.name for cls in (TrainSettings, Optimization) for each in fields(cls)}
    assert names - {"out", "resume", "optimization"} == OTHERS.keys()
    assert set(MAY_CHANGE) < names
    assert all(name in (TrainSettings.__doc__ or "").rpartition("resume:")[2] for name in MAY_CHANGE)


@pytest.mark.parametrize("name", OTHERS)
def test_a_resumed_training_has_the_settings_that_it_began_with(run: Path, name: str) -> None:
    settings, before = read_settings(["--out", str(run), "--resume"]), tree(run)
    flat = {**vars(settings), **vars(settings.optimization)}
    assert flat[name] != OTHERS[name]
    if name in Optimization.__dataclass_fields__:
        other = replace(settings, optimization=replace(settings.optimization, **{name: OTHERS[name]}))
    else:
        needed: dict[str, Any] = {"weights": "default"} if name == "freeze" else {}
        other = replace(settings, **{name: OTHERS[name]}, **needed)
    if name in MAY_CHANGE and name != "epochs":
        from gradsculpt.training.resuming import resumed

        assert resumed(other) is not None
    else:
        with pytest.raises(
            RunError, match=rf"^--{name.replace('_', '-')}\S* .*cannot be had: .*is trained with .*--out"
        ):
            fit(other)
    assert tree(run) == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data", "cells"], "--data cells cannot .*is trained with digits"),
        (["--model", "convnet"], "--model convnet .*lenet"),
        (["--image-size", "8"], "--image-size 8 .*16"),
        (["--optimizer", "sgd"], "--optimizer sgd .*adam"),
        (["--epochs", "1"], "--epochs 1 .*is trained with 2"),
        (["--lr", "0.1"], "--lr 0.1 .*0.003"),
        (["--recipe", "elastic-net"], "--recipe elastic-net .*l1"),
        (["--softplus", "3"], "--softplus 3.0 .*none"),
        (["--seed", "1"], "--seed 1 .*0"),
        (["--batch-size", "8"], "--batch-size 8 .*32"),
        (["--augment.crop", "0.3"], "--augment .*none"),
        (["--objective", "cross-entropy"], "--objective CrossEntropy .*AdversarialTraining"),
        (["--objective.penalty.weight", "0.5"], "--objective.penalty.weight 0.5 .*0.01"),
        (["--config", "{file}"], "--lr 0.5 .*0.003"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_may_not_change_is_one_line_and_the_run_stays_as_it_was(
    run: Path, flags: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text("lr: 0.5\n")
    before = tree(run)
    assert train(run, "--resume", *(flag.replace("{file}", str(tmp_path / "own.yaml")) for flag in flags)) == 2
    error = capfd.readouterr().err.splitlines()
    assert len(error) == 1
    assert re.search(said, error[0]), error
    assert tree(run) == before


def test_the_settings_given_again_are_no_change(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    assert train(copy, "--resume", *FLAGS, "--recipe", "l1", "--epochs", "2", "--threads", "2") == 0
    assert same_weights(run, copy)
    assert yaml.safe_load((copy / "config.yaml").read_text())["threads"] == 2


def test_a_longer_training_is_the_one_that_was_longer_from_the_start(run: Path, tmp_path: Path) -> None:
    flags = [*FLAGS, "--recipe", "l1", "--schedule", "constant"]
    assert train(tmp_path / "whole", *flags, "--epochs", "3") == 0
    assert train(tmp_path / "parts", *flags, "--epochs", "1") == 0
    assert train(tmp_path / "parts", "--resume", "--epochs", "3") == 0
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("file", ["config.yaml", "checkpoints/last.ckpt", "checkpoints/best.ckpt"])
@pytest.mark.parametrize("how", ["missing", "empty", "half", "noise"])
def test_a_file_that_is_damaged_or_missing_is_named_in_one_line(
    run: Path, tmp_path: Path, file: str, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    content = (copy / file).read_bytes()
    if how == "missing":
        (copy / file).unlink()
    else:
        damaged = {"empty": b"", "half": content[: len(content) // 2], "noise": bytes(range(256))}[how]
        (copy / file).write_bytes(damaged)
    before = tree(copy)
    assert train(copy, "--resume", "--epochs", "3") == 2
    error = capfd.readouterr().err.splitlines()
    assert len(error) == 1
    assert tree(copy) == before
    # A file of settings that is cut off says less than the training had; the checkpoint says all of it.
    assert Path(file).name in error[0] or (file, how) == ("config.yaml", "half")


def test_a_checkpoint_that_does_not_fit_the_network_is_named(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    last = copy / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["state_dict"].pop(next(iter(content["state_dict"])))
    torch.save(content, last)
    before = tree(copy)
    assert train(copy, "--resume") == 2
    assert "does not fit the network lenet" in capfd.readouterr().err
    assert tree(copy) == before


def test_a_run_without_its_settings_is_no_empty_folder(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "config.yaml").unlink()
    before = tree(copy)
    assert train(copy, *FLAGS, "--epochs", "1") == 2
    assert "already holds a run" in capfd.readouterr().err
    assert tree(copy) == before


def photos(folder: Path, classes: tuple[str, ...] = ("dark", "light"), count: int = 12) -> Path:
    pixels = np.random.default_rng(0)
    for level, name in zip((40, 200), classes, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noise = pixels.integers(-20, 20, (16, 16, 3))
            Image.fromarray((level + noise).astype(np.uint8)).save(folder / name / f"{i:02}.png")
    return folder


def rename(folder: Path) -> None:
    (folder / "light").rename(folder / "bright")


def add(folder: Path) -> None:
    for i in range(5):
        shutil.copy(folder / "dark" / "00.png", folder / "dark" / f"new{i}.png")


def repaint(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [(rename, "classes dark, light became bright, dark"), (add, "training images 20 became"), (repaint, "pixels or")],
)
def test_data_that_changed_are_noticed_before_anything_is_written(
    change: Callable[[Path], None], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = photos(tmp_path / "photos"), tmp_path / "run"
    assert train(out, "--data", f"folder:{folder}", "--epochs", "1", "--image-size", "16", "--threads", "1") == 0
    change(folder)
    before = tree(out)
    capfd.readouterr()
    assert train(out, "--resume", "--epochs", "2") == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "folder:" in error
    assert said in error, error
    assert tree(out) == before


def test_images_may_have_moved_but_no_others_taken_their_place(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, out = photos(tmp_path / "photos"), tmp_path / "run"
    assert train(out, "--data", f"folder:{folder}", "--epochs", "1", "--image-size", "16", "--threads", "1") == 0
    for path in folder.rglob("*.png"):
        path.touch()  # decoded images are not found by the old key
    moved = folder.rename(tmp_path / "moved")
    other = photos(tmp_path / "other", ("dark", "pale"))
    before = tree(out)
    assert train(out, "--resume", "--epochs", "2", "--data", f"folder:{other}") == 2
    assert "classes dark, light became dark, pale" in capfd.readouterr().err
    assert tree(out) == before
    assert train(out, "--resume", "--epochs", "2", "--data", f"folder:{moved}") == 0
    assert load(out).classes == ("dark", "light")


def scripted(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    def score(self: ClassifierModule) -> None:
        self.log("val_accuracy", scores[self.current_epoch], batch_size=1)

    monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", score)


@pytest.mark.parametrize("how", ["in place", "moved", "copied", "linked"])
def test_a_run_keeps_its_best_epoch_wherever_it_is(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.3, 0.846, 0.5, 0.797)
    original = tmp_path / "original"
    assert train(original, *FLAGS, "--epochs", "2") == 0
    best, place = weights(original), tmp_path / "place" / "run"
    place.parent.mkdir()
    if how == "moved":
        original.rename(place)
    elif how == "copied":
        shutil.copytree(original, place)
        for path in original.rglob("*.ckpt"):
            path.write_bytes(b"another network")
    elif how == "linked":
        place.symlink_to(original)
    else:
        place = original
    before = tree(original) if how == "copied" else {}
    assert train(place, "--resume", "--epochs", "4") == 0
    assert load(place) is not None
    assert '"val_accuracy": 0.846' in (place / "model.json").read_text().replace("0.8460000157356262", "0.846")
    assert all(torch.equal(value, best[name]) for name, value in weights(place).items())
    assert before == (tree(original) if how == "copied" else {})


def test_a_checkpoint_holds_no_path(run: Path) -> None:
    for name in ("last", "best"):
        assert str(run.parent).encode() not in (run / "checkpoints" / f"{name}.ckpt").read_bytes()


def test_an_older_checkpoint_with_paths_is_taken_for_one_of_this_place(tmp_path: Path) -> None:
    kept = CheckpointInRun(tmp_path / "here", filename="best", monitor="val_accuracy", mode="max")
    there = "/there/checkpoints/best.ckpt"
    state: dict[str, Any] = {"dirpath": "/there/checkpoints", "best_model_path": there, "kth_best_model_path": there}
    state |= {"best_model_score": torch.tensor(0.846), "kth_value": torch.tensor(0.846), "last_model_path": ""}
    kept.load_state_dict({**state, "best_k_models": {there: torch.tensor(0.846)}})
    here = str(tmp_path / "here" / "best.ckpt")
    assert (kept.best_model_path, kept.kth_best_model_path, list(kept.best_k_models)) == (here, here, [here])
    assert float(kept.best_model_score or 0) == pytest.approx(0.846)
    assert kept.state_key.startswith("ModelCheckpoint{")


def test_the_settings_of_a_run_name_no_folder(tmp_path: Path) -> None:
    settings = TrainSettings(tmp_path, cache_dir=Path("/there"), data_dir=tmp_path / "data", objective=CrossEntropy())
    assert not {"out", "cache_dir", "data_dir"} & settings.config().keys()


def test_the_teacher_of_a_run_moves_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, place = tmp_path / "original", tmp_path / "place"
    assert train(original, *FLAGS, "--recipe", "iga", "--epochs", "1", "--augment.crop", "0") == 0
    shutil.copytree(original, place)
    shutil.rmtree(original)
    assert train(place, "--resume", "--epochs", "2") == 0
    assert not original.exists()
    assert (place / "metrics.csv").read_text().count("\n") == 3
    repaint_digits(monkeypatch)
    before = tree(place)
    assert train(place, "--resume", "--epochs", "3") == 2
    assert tree(place) == before


def repaint_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the digits have other pixels."""
    opened = training.open_data

    def inverted(*given: Any) -> Any:
        splits = opened(*given)
        return replace(splits, train=replace(splits.train, images=255 - np.asarray(splits.train.images[:])))

    monkeypatch.setattr(training, "open_data", inverted)


def test_scores_of_the_network_before_are_said_to_be(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "scorecard.json").write_text("{}")
    assert train(copy, "--resume", "--epochs", "3") == 0
    assert "scorecard.json is of the network before" in capfd.readouterr().err


def test_the_classes_of_an_older_run_are_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out = photos(tmp_path / "photos"), tmp_path / "run"
    assert train(out, "--data", f"folder:{folder}", "--epochs", "1", "--image-size", "16", "--threads", "1") == 0
    for path in out.rglob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        del content["origin"]
        torch.save(content, path)
    rename(folder)
    before = tree(out)
    assert train(out, "--resume", "--epochs", "2") == 2
    assert "classes dark, light became bright, dark" in capfd.readouterr().err
    assert tree(out) == before
    assert train(out, "--resume", "--lr", "0.5") == 2
    assert "--lr 0.5" in capfd.readouterr().err
