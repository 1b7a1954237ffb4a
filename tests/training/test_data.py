"""What a run makes of its data: fewer images, shuffled labels, attention beside the images."""

import io
import math
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from gradsculpt.cli.settings import read_settings
from gradsculpt.data import Augment, ImageSet, loader
from gradsculpt.errors import DataError
from gradsculpt.gradients import Model
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import CrossEntropy, Losses
from gradsculpt.progress import Reporter
from gradsculpt.training import ClassifierModule, Optimization, TrainSettings, fit, open_data
from gradsculpt.training.fitting import build_trainer
from gradsculpt.training.validation import Validated

DIGITS = ["--data", "digits", "--image-size", "8", "--batch-size", "64", "--threads", "1"]


def train(*words: str) -> str:
    text = io.StringIO()
    fit(read_settings(words), Reporter(Console(file=text, width=500)))
    return text.getvalue()


def test_flags_reach_the_data(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path)]
    plain = open_data(read_settings([*DIGITS, *out]))
    thin = open_data(read_settings([*DIGITS, *out, "--train-count", "60"]))
    shuffled = open_data(read_settings([*DIGITS, *out, "--shuffle-labels"]))
    assert (len(thin.train), len(thin.val)) == (60, len(plain.val))
    assert shuffled.train.names == plain.train.names
    assert shuffled.train.labels.tolist() != plain.train.labels.tolist()
    assert shuffled.test.labels.tolist() == plain.test.labels.tolist()
    swapped = open_data(read_settings([*DIGITS, *out, "--swap", "40"]))
    assert len({*swapped.train.names} & {*plain.test.names}) == len({*swapped.test.names} & {*plain.train.names}) == 40


@pytest.mark.parametrize("shuffle", [False, True])
def test_shuffled_labels_keep_the_last_epoch(tmp_path: Path, shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # A validation accuracy that falls from epoch to epoch.
    def worse(self: Validated, *_: Any, skipping: bool) -> dict[str, torch.Tensor]:
        return {"val_accuracy": torch.tensor(1.0 - next(epochs) / 10)}

    epochs = count()
    monkeypatch.setattr(Validated, "ended", worse)
    flags = ["--shuffle-labels"] if shuffle else []
    train(*DIGITS, "--train-count", "64", "--epochs", "3", "--out", str(tmp_path), *flags)
    saved = load_file(tmp_path / "model.safetensors")
    for name, kept in (("best", not shuffle), ("last", shuffle)):
        checkpoint = torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["epoch"] == (0 if name == "best" else 2)
        state = checkpoint["state_dict"]
        assert all(torch.equal(value, state[f"network.{key}"]) for key, value in saved.items()) == kept


class Watch(CrossEntropy):
    """Keeps what it is given."""

    def __call__(self, model: Model, x: Tensor, y: Tensor, attention: Tensor | None = None, **options: Any) -> Losses:
        seen.append((x, attention))
        return super().__call__(model, x, y, attention, **options)


seen: list[tuple[Tensor, Tensor | None]] = []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
def test_maps_with_channels_travel_from_the_set_to_the_objective(dtype: type[np.generic]) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    whole = ImageSet(images, np.arange(12) % 4, tuple("abcd"), tuple(map(str, range(12))), images.astype(dtype))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    module = ClassifierModule(network, Watch(), InputSpace((0.0,) * 3, (1.0,) * 3), Augment(), Optimization(), epochs=1)
    seen.clear()
    trainer = build_trainer(TrainSettings(out=Path(), epochs=1, device="cpu"), enable_checkpointing=False)
    trainer.fit(module, loader(whole, 6, shuffle=True, seed=0))
    assert len(seen) == 2
    for x, attention in seen:
        assert attention is not None
        assert attention.dtype == torch.float32
        # 8-bit maps are shares of 255, others are as they are.
        torch.testing.assert_close(attention, x if dtype == np.uint8 else 255 * x, atol=1e-4, rtol=0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of ten noisy pictures of 20 x 16 pixels."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(10):
            pixels = generator.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


def harmonize(photos: Path, out: Path) -> str:
    words = ["--recipe", "harmonize", "--epochs", "1", "--image-size", "16", "--model", "convnet", "--threads", "1"]
    return train("--data", f"folder:{photos}", "--out", str(out), *words)


def test_harmonization_follows_maps_and_boxes_beside_the_images(photos: Path, tmp_path: Path) -> None:
    (photos / "attention/cat").mkdir(parents=True)
    (photos / "attention/dog").mkdir()
    for index in range(10):
        grey = np.zeros((8, 10), np.uint8)
        grey[2:5, 3:6] = 255
        Image.fromarray(grey).save(photos / f"attention/cat/{index}.png")
        if index < 7:
            (photos / f"attention/dog/{index}.txt").write_text("4 4 12 12\n")
    text = harmonize(photos, tmp_path / "run")
    assert "note: 3 of 20 images have no attention map (the first is dog/7.png)" in text
    assert "unreadable" not in text
    assert math.isfinite(float((tmp_path / "run/metrics.csv").read_text().split("\n")[1].split(",")[1]))


def test_harmonization_without_attention_says_where_to_put_it(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"needs attention maps, and .* has none.*attention/train/cat/x\.png for train/cat/x\.jpg",
    ):
        harmonize(photos, tmp_path / "run")
