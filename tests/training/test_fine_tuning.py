"""Trainings that start from given weights."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from gradsculpt.cli.main import main
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import outlined
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.models import build, load
from gradsculpt.progress import Reporter
from gradsculpt.training import TrainSettings
from gradsculpt.training.fitting import build_module
from gradsculpt.training.preparation import prepare
from tests.training.small import CLASSES, SIDE, images

SMALL = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of photos in two classes, and beside it weights of a network for five others."""
    home = tmp_path_factory.mktemp("fine-tuning")
    pixels = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (home / "photos" / name).mkdir(parents=True)
        for i in range(10):
            noise = pixels.integers(-50, 50, (32, 32, 3)) + level
            Image.fromarray(noise.astype(np.uint8)).save(home / "photos" / name / f"{i}.png")
    torch.manual_seed(3)
    save_file(build(SMALL, num_classes=5, image_size=32).state_dict(), home / "five.safetensors")
    return home


def train(home: Path, out: str, *flags: str) -> int:
    words = ["--data", f"folder:{home / 'photos'}", "--model", SMALL, "--image-size", "32", "--batch-size", "8"]
    words += ["--epochs", "2", "--threads", "1", "--device", "cpu", "--val-fraction", "0.2"]
    return main(["train", *words, "--out", str(home / out), *flags])


def test_a_frozen_backbone_ends_as_it_began_and_the_run_repeats_itself(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(folder / "five.safetensors")
    assert train(folder, "frozen", "--weights", weights, "--freeze", "backbone", "--lr", "0.1") == 0
    said = capsys.readouterr().err
    assert "2,050 of 343,842 parameters are trained" in said
    began, ended = load_file(weights), load_file(folder / "frozen" / "model.safetensors")
    assert began.keys() == ended.keys()
    # Not even the running statistics of its normalisation have moved.
    assert {key for key in ended if not torch.equal(began[key], ended[key])} == {"fc.weight", "fc.bias"}
    assert load(folder / "frozen").space.mean == (0.485, 0.456, 0.406)
    again = ["train", "--config", str(folder / "frozen" / "config.yaml"), "--out", str(folder / "again")]
    assert main(again) == 0
    repeated = load_file(folder / "again" / "model.safetensors")
    assert all(torch.equal(repeated[key], ended[key]) for key in ended)


def test_a_run_is_what_another_training_starts_from(folder: Path) -> None:
    assert train(folder, "first", "--statistics", "data") == 0
    assert train(folder, "second", "--weights", str(folder / "first"), "--lr", "1e-12", "--recipe", "l1") == 0
    first, second = load(folder / "first"), load(folder / "second")
    assert second.space == first.space  # as its weights want it, though the usual ones of this network are others
    state = second.network.state_dict()
    for key, value in first.network.state_dict().items():
        if "running" not in key and "tracked" not in key:
            torch.testing.assert_close(state[key], value, atol=1e-6, rtol=0)
    assert train(folder, "second", "--weights", str(folder / "five.safetensors"), "--resume") == 2
    assert train(folder, "second", "--weights", str(folder / "first"), "--resume", "--epochs", "3") == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--weights", "none.pth"), "there is no file of weights none.pth"),
        (("--freeze", "backbone"), "--freeze backbone would keep random weights"),
        (("--weights", "{home}/five.safetensors", "--freeze", "trunk"), "--freeze trunk names no part"),
        (("--weights", "{home}/five.safetensors", "--model", "lenet"), "do not fit the network lenet"),
    ],
)
def test_what_cannot_be_started_from_is_one_line(
    folder: Path, flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, "refused", *(flag.format(home=folder) for flag in flags)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert said in last
    assert not (folder / "refused" / "config.yaml").exists()


def settings(**changes: Any) -> TrainSettings:
    defaults: dict[str, Any] = {"data": "digits", "model": "lenet"}
    return TrainSettings(Path("unused"), **defaults | changes)


def test_a_network_that_comes_with_weights_starts_from_them() -> None:
    assert settings(model="pretrained:mobilenet_v2").weights == "default"
    assert settings(model="pretrained:mobilenet_v2", weights="mine.pth").weights == "mine.pth"
    assert settings().weights is None
    assert read_settings(["--out", "x", "--freeze", "a.b", "--weights", "default"]).freeze == ("a.b",)
    assert read_settings(["--out", "x", "--freeze", "[a.b, c]", "--weights", "default"]).freeze == ("a.b", "c")


def test_normalisation_is_what_was_said_or_what_the_weights_want_or_it_is_asked_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(build("lenet", num_classes=CLASSES, image_size=SIDE).state_dict(), tmp_path / "w.safetensors")
    weights = str(tmp_path / "w.safetensors")
    with pytest.raises(ArgumentError, match=r"not known how the images were normalised .* pass --statistics"):
        build_module(settings(weights=weights), images())
    own = build_module(settings(weights=weights, statistics=((0.5,) * 3, (0.2,) * 3)), images()).space
    assert own.mean == (0.5,) * 3
    save_file(build(SMALL, num_classes=5, image_size=SIDE).state_dict(), tmp_path / "five.safetensors")
    told: list[str] = []
    five = settings(model=SMALL, weights=str(tmp_path / "five.safetensors"), statistics="data")
    measured = build_module(five, images(), told.append).space
    assert measured.mean != (0.485, 0.456, 0.406)
    assert any("--statistics says otherwise" in note for note in told)
    assert not any("licence" in note for note in told)  # of somebody's file, nobody knows


def test_weights_of_another_image_size_say_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(build("lenet", num_classes=CLASSES, image_size=32).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="at the --image-size that they were trained at"):
        build_module(settings(weights=str(tmp_path / "w.safetensors"), statistics="data"), images())


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_epoch_that_is_asked_for_is_kept(folder: Path, keep: str) -> None:
    out = f"keep-{keep}"
    flags = ["--model", "lenet", "--lr", "0.05", "--epochs", "4", "--keep", keep, "--image-size", "16"]
    assert train(folder, out, *flags) == 0
    with (folder / out / "metrics.csv").open() as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    kept = load_file(folder / out / "model.safetensors")
    state = torch.load(folder / out / "checkpoints" / f"{keep}.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in kept.items())
    said = json.loads((folder / out / "model.json").read_text())["extra"]["val_accuracy"]
    assert said == pytest.approx(accuracies[-1] if keep == "last" else max(accuracies), abs=1e-5)


STEP = "adversarialtraining(elasticnet(0.05, 0.5))"


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        (("--objective", STEP), True),
        (("--objective", STEP, "--softplus", "3"), False),
        (("--objective", STEP, "--epochs", "2000"), False),
        (("--objective", "gradientpenalty(l1(0.05))"), False),
        (("--objective", "adversarialtraining(l1(0.05), iterative(3))"), False),
        (("--recipe", "standard"), False),
    ],
)
def test_a_combination_that_does_not_work_is_said_with_one_that_does(
    folder: Path, tmp_path: Path, flags: tuple[str, ...], *, warned: bool
) -> None:
    data = ["--data", f"folder:{folder / 'photos'}", "--image-size", "32", "--batch-size", "8", "--device", "cpu"]
    weights = ["--model", SMALL, "--weights", str(folder / "five.safetensors"), "--threads", "1"]
    settings = read_settings([*data, *weights, "--epochs", "2", "--out", str(tmp_path / "run"), *flags])
    said = io.StringIO()
    outline = outlined(settings.data, image_size=32, val_fraction=0.1, seed=0, train_count=None)
    prepare(settings, outline, Reporter(Console(file=said, width=1000)))
    assert ("one adversarial step steadies the maps of a network with ReLUs less" in said.getvalue()) == warned
