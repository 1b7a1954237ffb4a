from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from gradsculpt.data.base import Request
from gradsculpt.data.sets import load_cifar10, load_imagenette
from gradsculpt.errors import DataError


class FakeCifar10:
    """What torchvision gives: pixels and labels in memory."""

    opened: list[bool]

    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        assert Path(root).is_dir()
        assert download
        self.opened.append(train)
        generator = np.random.default_rng(train)
        self.data = generator.integers(0, 256, (40 if train else 20, 32, 32, 3), dtype=np.uint8)
        self.targets = [index % 10 for index in range(len(self.data))]


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> type[FakeCifar10]:
    FakeCifar10.opened = []
    monkeypatch.setattr(datasets, "CIFAR10", FakeCifar10)
    return FakeCifar10


def test_cifar10(tmp_path: Path, cifar10: type[FakeCifar10]) -> None:
    data_dir = tmp_path / "data"
    for _ in range(2):
        splits = load_cifar10(Request(32, data_dir, tmp_path / "cache"))
        assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 10, 20)
        source = FakeCifar10(data_dir, train=False, download=True)
        np.testing.assert_array_equal(splits.test.images, source.data)
        assert splits.test.labels.tolist() == source.targets
    assert splits.train.classes[0] == "airplane"
    assert len(splits.train.classes) == 10
    # The set itself is opened once a part; then the cache serves.
    assert cifar10.opened == [True, False, False, False]


def test_cifar10_at_another_size(tmp_path: Path, cifar10: type[FakeCifar10]) -> None:
    calls: list[tuple[int, int | None]] = []

    def progress(done: int, total: int | None) -> None:
        calls.append((done, total))

    splits = load_cifar10(Request(16, tmp_path / "data", tmp_path / "cache", progress=progress))
    assert splits.train.images.shape[1:] == (16, 16, 3)
    assert calls == [(i, total) for total in (40, 20) for i in range(1, total + 1)]


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("File not found or corrupted."), OSError()])
def test_a_failing_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    for name, load in (("CIFAR10", load_cifar10), ("Imagenette", load_imagenette)):
        monkeypatch.setattr(datasets, name, fail)
        with pytest.raises(DataError, match=rf"{name.lower()} is not in .*data and cannot be downloaded.*folder:PATH"):
            load(Request(32, tmp_path / "data", tmp_path / "cache"))


@pytest.fixture
def imagenette(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for torchvision's class: an edition that is asked for and not there is 'downloaded'."""
    editions: list[str] = []

    def fake(root: Path, *, split: str, size: str, download: bool) -> SimpleNamespace:
        assert download
        editions.append(size)
        folder = Path(root) / ("imagenette2" if size == "full" else f"imagenette2-{size[:3]}")
        for part, count in (("train", 10), ("val", 3)):
            for label, wnid in enumerate(("n01440764", "n02102040")):
                (folder / part / wnid).mkdir(parents=True, exist_ok=True)
                for index in range(count):
                    Image.new("RGB", (20, 20), (label, 0, 0)).save(folder / part / wnid / f"{index}.JPEG")
        return SimpleNamespace(
            wnids=["n01440764", "n02102040"],
            classes=[("tench", "Tinca tinca"), ("English springer", "English springer spaniel")],
        )

    monkeypatch.setattr(datasets, "Imagenette", fake)
    return editions


def test_imagenette(tmp_path: Path, imagenette: list[str]) -> None:
    splits = load_imagenette(Request(16, tmp_path / "data", tmp_path / "cache"))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (18, 2, 6)
    assert splits.train.classes == splits.val.classes == splits.test.classes == ("tench", "English springer")
    assert splits.test.names[0] == "val/n01440764/0.JPEG"
    assert imagenette == ["160px"]


@pytest.mark.parametrize(("size", "edition"), [(128, "160px"), (161, "320px"), (224, "320px"), (400, "full")])
def test_smallest_edition_that_is_large_enough(tmp_path: Path, imagenette: list[str], size: int, edition: str) -> None:
    load_imagenette(Request(size, tmp_path / "data", tmp_path / "cache"))
    assert imagenette == [edition]


def test_an_edition_that_is_there_is_preferred(tmp_path: Path, imagenette: list[str]) -> None:
    (tmp_path / "imagenette2").mkdir()
    load_imagenette(Request(16, tmp_path, tmp_path / "cache"))
    assert imagenette == ["full"]


def test_the_real_classes_have_what_is_used_of_them() -> None:
    """The fakes above are only as good as this: arguments and attributes of torchvision itself."""
    import inspect

    assert {"train", "download"} <= set(inspect.signature(datasets.CIFAR10).parameters)
    assert {"split", "size", "download"} <= set(inspect.signature(datasets.Imagenette).parameters)
    assert "wnids (list)" in (datasets.Imagenette.__doc__ or "")
