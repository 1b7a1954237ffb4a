"""Training in three stages, from one command: a teacher, its explanations, the network."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

import gradsculpt.training.distillation as stages
from gradsculpt.cli.train import read_settings
from gradsculpt.data import ImageSet
from gradsculpt.errors import DataError, RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, load
from gradsculpt.objectives import CrossEntropy, ExplanationDistillation, TeacherSpecification
from gradsculpt.training import fit, open_data
from gradsculpt.training.distillation import explanations, smoothgrad
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
    settings, text = read_settings([*FLAGS, "--epochs", "2", "--config", str(config), "--out", str(out), *flags])
    return fit(settings, text, Console(quiet=True))


def resume(out: Path) -> Classifier:
    settings, text = read_settings(["--out", str(out), "--resume"])
    return fit(settings, text, Console(quiet=True))


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
    settings, text = read_settings([*FLAGS, "--epochs", "2", "--out", str(tmp_path / "plain")])
    fit(settings, text, Console(quiet=True))
    assert same_weights(finished / "teacher", tmp_path / "plain")
    assert not same_weights(finished, finished / "teacher")
    own, _ = read_settings(["--config", str(finished / "teacher" / "config.yaml"), "--out", "x"])
    assert (own.objective, own.epochs, own.model) == (CrossEntropy(), 2, settings.model)
    assert own.recipe is None


def test_the_explanations_are_the_teachers_smoothgrad_maps(finished: Path) -> None:
    (path,) = (finished / "cache").iterdir()
    kept = np.load(path, mmap_mode="r")
    settings, _ = read_settings(["--config", str(finished / "config.yaml"), "--out", str(finished)])
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
    assert not (out / "teacher" / "model.json").exists()
    with pytest.raises(RunError, match="--resume"):
        train(out, config)
    resume(out)
    assert same_weights(finished, out)
    with (out / "teacher" / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_resuming_explains_all_images_where_that_was_interrupted(
    finished: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "stopped", []

    def stop(*args: object, **kwargs: object) -> Tensor:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return smoothgrad(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "smoothgrad", stop)
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
    monkeypatch.setattr(stages, "smoothgrad", lambda *_, **__: pytest.fail("the images were explained twice"))
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
    """Two logits, the sum of squares and twice that: their gradients are 2 x and 4 x."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.square().flatten(1).sum(dim=1)
        return torch.stack([total, 2 * total], dim=1)


def test_smoothgrad_is_the_mean_gradient_of_noisy_copies() -> None:
    x, y = torch.rand(3, 2, 4, 4), torch.tensor([0, 1, 1])
    sigma = torch.tensor([0.5, 0.1]).view(1, 2, 1, 1)
    found = smoothgrad(Square(), x, y, samples=3, sigma=sigma, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    noise = [torch.empty(x.shape).normal_(generator=generator) for _ in range(3)]
    for i, factor in enumerate((2, 4, 4)):
        expected = sum(factor * (x[i] + sigma[0] * n[i]) for n in noise) / 3
        torch.testing.assert_close(found[i], expected)
    once = smoothgrad(Square(), x, y, samples=1, sigma=0 * sigma, generator=generator)
    torch.testing.assert_close(once, torch.tensor([2.0, 4, 4]).view(3, 1, 1, 1) * x)


def _explained(folder: Path, *, sigma: float = 0.1, seed: int = 0, label: int = 0, scale: float = 1.0) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    labels = np.array([label, 1, 0, 1, 0])
    names, attention = tuple("abcde"), np.zeros((5, 4, 4), np.uint8)
    image_set = ImageSet(images, labels, ("x", "y"), names, attention)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    torch.nn.init.constant_(network[1].weight, scale)
    torch.nn.init.zeros_(network[1].bias)
    teacher = Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("x", "y"), 4)
    lesson = TeacherSpecification(CrossEntropy(), None, 2, sigma)
    before = set(folder.iterdir()) if folder.is_dir() else set()
    maps = explanations(teacher, image_set, folder, lesson, batch_size=2, seed=seed, device=torch.device("cpu"))
    assert maps.shape == (5, 4, 4, 3)
    (new,) = set(folder.iterdir()) - before or {folder}
    return new


def test_the_explanations_are_kept_under_the_name_of_what_they_depend_on(tmp_path: Path) -> None:
    first = _explained(tmp_path)
    assert _explained(tmp_path) == tmp_path  # nothing new
    for change in ({"sigma": 0.2}, {"seed": 1}, {"label": 1}, {"scale": 2.0}):
        assert _explained(tmp_path, **change) not in (first, tmp_path)  # type: ignore[arg-type]
    content = first.read_bytes()
    first.write_bytes(content[:-10])  # damaged, so it counts as absent
    _explained(tmp_path)
    assert first.read_bytes() == content


def test_the_noise_is_that_of_the_seed(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    image_set = ImageSet(images, np.array([0, 1, 0, 1, 0]), ("x", "y"), tuple("abcde"))
    teacher = Classifier(Square(), InputSpace((0.5,) * 3, (0.25,) * 3), ("x", "y"), 4)
    found = [
        explanations(
            teacher,
            image_set,
            tmp_path / name,
            TeacherSpecification(CrossEntropy(), None, 2, 0.1),
            batch_size=2,
            seed=seed,
            device=torch.device("cpu"),
        )
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    ]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    x = (images / 255 - 0.5) / 0.25
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(found[0].astype(float), x, strict=True)]
    assert min(alike) > 0.9  # each the map of its own image


def test_gradients_too_small_for_16_bits_keep_their_direction(tmp_path: Path) -> None:
    small = np.load(_explained(tmp_path, scale=1e-20))
    np.testing.assert_array_equal(small, np.ones_like(small))
    nothing = np.load(_explained(tmp_path, scale=0.0))
    np.testing.assert_array_equal(nothing, np.zeros_like(nothing))


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be kept in .*--cache-dir"):
        _explained(tmp_path / "file")


def test_the_teachers_settings_are_found_in_any_composition() -> None:
    objective = ExplanationDistillation(1.0, 0.1)
    assert objective.requirements.teacher == TeacherSpecification(CrossEntropy(), None, 10, 0.08)
    settings, text = read_settings([*FLAGS, "--out", "x"])
    own = stages._teachers(settings, objective.requirements.teacher)
    assert own.epochs == settings.epochs
    assert stages._config("", own) == ""
    assert "objective" not in stages._config("epochs: 3", own)
    assert "data: digits" in stages._config(text, own)
