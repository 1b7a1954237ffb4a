"""Training in three stages, from one command: a teacher, its explanations, the network."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from gradsculpt.attributions import SmoothGrad
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import ImageSet, Splits
from gradsculpt.errors import ArgumentError, DataError, RunError
from gradsculpt.gradients import Model
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, load
from gradsculpt.objectives import CrossEntropy, ExplanationDistillation, MaxEntropy
from gradsculpt.progress import Reporter
from gradsculpt.runs import is_finished
from gradsculpt.training import TrainSettings, fit, open_data
from gradsculpt.training.distillation import explanations, with_teacher
from gradsculpt.training.module import ClassifierModule

FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "256", "--threads", "1", "--lr", "0.003"]
OBJECTIVE = """
objective:
  class_path: gradsculpt.objectives.Scaled
  init_args:
    objective:
      class_path: gradsculpt.objectives.ExplanationDistillation
      init_args:
        weight: 1.0
        eps: {class_path: gradsculpt.objectives.Pixels, init_args: {levels: 40}}
        teacher_epochs: 2
        samples: 2
    factor: 2.0
"""


def train(out: Path, config: Path, *flags: str) -> Classifier:
    return fit(read_settings([*FLAGS, "--epochs", "2", "--config", str(config), "--out", str(out), *flags]))


def resume(out: Path) -> Classifier:
    return fit(read_settings(["--out", str(out), "--resume"]))


def same_weights(a: Path, b: Path) -> bool:
    first, second = (load_file(run / "model.safetensors") for run in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "distil.yaml"
    path.write_text(OBJECTIVE)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "distilled"
    train(out, config)
    return out


def test_one_command_leaves_two_runs_and_the_explanations(finished: Path) -> None:
    for run in (finished, finished / "teacher"):
        for name in ("config.yaml", "model.safetensors", "model.json", "metrics.csv"):
            assert (run / name).is_file(), name
    with (finished / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["train_explanation_distillation"]) > 0 for row in rows)
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert float(rows[-1]["val_accuracy"]) > 0.5
    assert "ExplanationDistillation" in (finished / "model.json").read_text()
    assert [path.suffix for path in (finished / "cache").iterdir()] == [".npy"]
    assert load(finished)(torch.rand(2, 3, 8, 8)).shape == (2, 10)


def test_the_teacher_is_an_ordinary_run_of_its_own_objective(finished: Path, tmp_path: Path) -> None:
    settings = read_settings([*FLAGS, "--epochs", "2", "--out", str(tmp_path / "plain")])
    fit(settings)
    assert same_weights(finished / "teacher", tmp_path / "plain")
    assert not same_weights(finished, finished / "teacher")
    own = read_settings(["--config", str(finished / "teacher" / "config.yaml"), "--out", str(settings.out)])
    assert own == settings
    assert str(finished) not in (finished / "teacher" / "config.yaml").read_text()


@pytest.mark.parametrize(("own", "epochs"), [(7, 7), (None, 3)])
def test_the_teacher_has_epochs_of_its_own_or_those_of_the_network(
    tmp_path: Path, own: int | None, epochs: int
) -> None:
    asked = list[TrainSettings]()

    def fit_nothing(settings: TrainSettings, splits: Splits, reporter: Reporter) -> Classifier:
        asked.append(settings)
        raise KeyboardInterrupt

    objective = ExplanationDistillation(1.0, eps=0.1, teacher_epochs=own)
    settings = TrainSettings(tmp_path, data="digits", epochs=3, objective=objective)
    with pytest.raises(KeyboardInterrupt):
        with_teacher(settings, open_data(settings), Reporter(), fit_nothing)
    assert asked == [replace(settings, out=tmp_path / "teacher", objective=CrossEntropy(), epochs=epochs)]


def test_the_explanations_are_the_teachers_smoothgrad_maps(finished: Path) -> None:
    (path,) = (finished / "cache").iterdir()
    kept = np.load(path, mmap_mode="r")
    settings = read_settings(["--config", str(finished / "config.yaml"), "--out", str(finished)])
    images = open_data(settings).train
    teacher = load(finished / "teacher")
    assert (kept.shape, kept.dtype) == ((len(images), 8, 8, 3), np.dtype("float16"))
    assert np.abs(kept).max(axis=(1, 2, 3)).tolist() == [1.0] * len(images)
    # Of many noisy copies, image by image, with noise of its own: the few of the run point roughly the same way.
    generator, similar = torch.Generator().manual_seed(99), []
    for i in range(0, len(images), 100):
        x = teacher.space.normalize(torch.from_numpy(images.images[i : i + 1]).permute(0, 3, 1, 2) / 255)
        total = torch.zeros_like(x)
        for _ in range(40):
            noisy = x + 0.08 / torch.tensor(teacher.space.std).view(1, 3, 1, 1) * torch.randn(
                x.shape, generator=generator
            )
            noisy.requires_grad_()
            teacher.network(noisy)[0, int(images.labels[i])].backward()
            assert noisy.grad is not None
            total += noisy.grad
        mine, oracle = torch.from_numpy(kept[i].astype(np.float32)).permute(2, 0, 1).flatten(), total.flatten()
        similar.append(float(mine @ oracle / (mine.norm() * oracle.norm())))
    assert min(similar) > 0.8
    assert sum(similar) / len(similar) > 0.95


def test_the_same_settings_give_the_same_weights(finished: Path, tmp_path: Path) -> None:
    train(tmp_path / "again", finished / "config.yaml")
    assert same_weights(finished, tmp_path / "again")


def _stop_in_the_second_epoch_of(monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    start = ClassifierModule.on_train_epoch_start

    def stop(self: ClassifierModule) -> None:
        if self.current_epoch == 1 and (self._objective.requirements.teacher is not None) == wanted:
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(ClassifierModule, "on_train_epoch_start", stop)


def test_resuming_goes_on_with_the_teacher(
    finished: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    _stop_in_the_second_epoch_of(monkeypatch, wanted=False)
    with pytest.raises(KeyboardInterrupt):
        train(out, config)
    monkeypatch.undo()
    assert (out / "config.yaml").is_file()
    assert not is_finished(out / "teacher")
    with pytest.raises(RunError, match="--resume"):
        train(out, config)
    resume(out)
    assert same_weights(finished, out)
    with (out / "teacher" / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_resuming_explains_all_images_where_that_was_interrupted(
    finished: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    calls: list[Tensor] = []

    def stop(self: SmoothGrad, model: Model, x: Tensor, target: Tensor | None = None) -> Tensor:
        calls.append(x)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return smoothgrad(self, model, x, target)

    smoothgrad = SmoothGrad.__call__
    monkeypatch.setattr(SmoothGrad, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        train(out, config)
    monkeypatch.undo()
    assert list((out / "cache").iterdir()) == []
    trained = (out / "teacher" / "model.safetensors").stat().st_mtime_ns
    resume(out)
    assert (out / "teacher" / "model.safetensors").stat().st_mtime_ns == trained
    assert same_weights(finished, out)


def test_resuming_goes_on_with_the_network_alone(
    finished: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    _stop_in_the_second_epoch_of(monkeypatch, wanted=True)
    with pytest.raises(KeyboardInterrupt):
        train(out, config)
    monkeypatch.undo()
    trained = (out / "teacher" / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(SmoothGrad, "__call__", lambda *_, **__: pytest.fail("the images were explained twice"))
    resume(out)
    assert (out / "teacher" / "model.safetensors").stat().st_mtime_ns == trained
    assert same_weights(finished, out)


def test_a_teacher_that_is_in_the_way_is_not_overwritten(config: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "teacher").mkdir(parents=True)
    (tmp_path / "run" / "teacher" / "config.yaml").write_text("epochs: 9\n")
    with pytest.raises(RunError, match=r"teacher already holds a run"):
        train(tmp_path / "run", config)
    assert (tmp_path / "run" / "teacher" / "config.yaml").read_text() == "epochs: 9\n"


class Square(torch.nn.Module):
    """Two logits, the sum of w x + x^2 over all entries and twice that: their gradients are w + 2 x and 2 w + 4 x."""

    def __init__(self, w: float = 0.5) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(w))

    def forward(self, x: Tensor) -> Tensor:
        total = (self.w * x + x.square()).flatten(1).sum(dim=1)
        return torch.stack([total, 2 * total], dim=1)


STD = (0.25, 0.125, 0.5)


def pictures(pixel: int | None = None) -> ImageSet:
    """Return five images of 4 x 4 pixels; the first pixel of the first may be given."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    if pixel is not None:
        pixels[0, 0, 0, 0] = pixel
    return ImageSet(pixels, np.array([0, 1, 0, 1, 0]), ("x", "y"), tuple("abcde"), np.zeros((5, 4, 4), np.uint8))


def explain(
    folder: Path, network: torch.nn.Module, images: ImageSet, *, sigma: float = 0.1, seed: int = 0, samples: int = 2
) -> np.ndarray[Any, Any]:
    objective = 0.5 * ExplanationDistillation(1.0, 0.1, samples=samples, sigma=sigma)
    settings = TrainSettings(out=folder, cache_dir=folder, objective=objective, batch_size=2, seed=seed)
    teacher = Classifier(network, InputSpace((0.5,) * 3, STD), ("x", "y"), 4).eval()
    return np.asarray(explanations(teacher, images, settings))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_teacher_of_another_precision_explains_as_one_in_single(dtype: torch.dtype, tmp_path: Path) -> None:
    exact = explain(tmp_path / "exact", Square(), pictures())
    rounded = explain(tmp_path / "rounded", Square().to(dtype), pictures())
    np.testing.assert_allclose(rounded, exact, atol=0.02)


def test_the_maps_are_mean_gradients_under_noise_of_a_share_of_the_range_from_black_to_white(tmp_path: Path) -> None:
    images = pictures()
    maps = explain(tmp_path, Square(), images, sigma=0.2, seed=7, samples=3)
    # The mean gradient of w x + x^2 is w + 2 (x + the mean noise): in model input, black and white are 1 / std apart.
    std, drawn = np.array(STD), torch.Generator().manual_seed(7)
    noise = np.stack([torch.randn(3, 4, 4, generator=drawn).numpy() for _ in range(3)]).mean(axis=0)
    for image, map in zip(images.images, maps, strict=True):
        gradient = 0.5 + 2 * ((image / 255 - 0.5) / std + 0.2 / std * noise.transpose(1, 2, 0))
        np.testing.assert_allclose(map, gradient / np.abs(gradient).max(), atol=1e-3)


def test_the_maps_are_kept_under_the_name_of_what_they_depend_on(tmp_path: Path) -> None:
    explain(tmp_path, Square(), pictures())
    (first,) = tmp_path.iterdir()
    content = first.read_bytes()
    explain(tmp_path, Square(), pictures())
    assert list(tmp_path.iterdir()) == [first]
    relabelled = replace(pictures(), labels=np.array([1, 1, 0, 1, 0]))
    changes: list[tuple[Square, ImageSet, dict[str, Any]]] = [
        (Square(), pictures(), {"sigma": 0.2}),
        (Square(), pictures(), {"samples": 3}),
        (Square(), pictures(), {"seed": 1}),
        (Square(0.6), pictures(), {}),
        (Square(), relabelled, {}),
        (Square(), pictures(pixel=17), {}),
    ]
    for files, (network, images, options) in enumerate(changes, start=2):
        explain(tmp_path, network, images, **options)
        assert len(list(tmp_path.iterdir())) == files
    first.write_bytes(content[:-10])  # damaged, so it counts as absent
    explain(tmp_path, Square(), pictures())
    assert first.read_bytes() == content


def test_other_images_under_the_same_names_get_maps_of_their_own(tmp_path: Path) -> None:
    before, after = (explain(tmp_path, Square(), pictures(pixel)) for pixel in (0, 255))
    assert not np.array_equal(before[0], after[0])
    assert np.array_equal(before[1:], after[1:])


def test_gradients_too_small_for_16_bits_keep_their_direction(tmp_path: Path) -> None:
    for scale in (1e-20, 0.0):
        linear = torch.nn.Linear(48, 2)
        torch.nn.init.constant_(linear.weight, scale)
        maps = explain(tmp_path, torch.nn.Sequential(torch.nn.Flatten(), linear), pictures())
        np.testing.assert_array_equal(maps, np.full_like(maps, float(scale > 0)))


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be kept in .*--cache-dir"):
        explain(tmp_path / "file", Square(), pictures())


def test_an_objective_without_a_teacher_explains_nothing(tmp_path: Path) -> None:
    settings = TrainSettings(out=tmp_path, objective=MaxEntropy(0.1))
    with pytest.raises(ArgumentError, match="wants no teacher"):
        explanations(Classifier(Square(), InputSpace((0.5,) * 3, STD), ("x", "y"), 4), pictures(), settings)


def test_the_stages_say_where_they_are(config: Path, tmp_path: Path) -> None:
    text = io.StringIO()
    words = [*FLAGS, "--epochs", "1", "--train-count", "256", "--config", str(config), "--out", str(tmp_path)]
    fit(read_settings(words), Reporter(Console(file=text, width=500)))
    lines = text.getvalue().splitlines()
    assert [line for line in lines if not line.startswith(("epoch", "to train", "about"))] == [
        "digits: 256 train, 143 val, 359 test images of 10 classes",
        f"first of three stages: the teacher, in {tmp_path / 'teacher'}",
        "second stage: its explanations of the training images",
        "explaining images: 256 of 256 images",
        "third stage: the network itself",
    ]
