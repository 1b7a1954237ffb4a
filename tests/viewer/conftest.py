"""A run of digits that was never trained, photographs, and what the page makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, save
from gradsculpt.viewer.context import Context
from gradsculpt.viewer.subjects import Subjects, named_subjects
from gradsculpt.viewer.work import Desk

CLASSES = tuple(map(str, range(10)))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs, `one` and `two`."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        kind = {"model": "lenet", "num_classes": 10, "image_size": 32, "softplus": None}
        network = build("lenet", num_classes=10, image_size=32)
        save(folder / name, Classifier(network, InputSpace((0.5,) * 3, (0.5,) * 3), CLASSES, 32), build=kind)
        (folder / name / "config.yaml").write_text("data: digits\n")
    return folder


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "my cat.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Return what `gradsculpt view` hands to the page when nothing is typed."""
    named = {"weights": None, "mean": [], "std": [], "image_size": None, "device": "cpu"}
    return {**named, "data": None, "data_dir": None, "out": tmp_path, "cache_dir": tmp_path / "cache", "kept": tmp_path}


@pytest.fixture
def subjects(runs: Path, options: dict[str, Any]) -> Subjects:
    return named_subjects([str(runs / "one"), str(runs / "two")], options)


@pytest.fixture
def context(subjects: Subjects, tmp_path: Path) -> Context:
    return Context(subjects, tmp_path, Desk(seconds=600), device="cpu")
