"""Networks trained for a moment, and what experiments on them are given, as the command gives it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from gradsculpt.cli.parts import attribution
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import Splits, to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.models import Classifier
from gradsculpt.progress import Reporter
from gradsculpt.studies.experiments import Given
from gradsculpt.training import TrainSettings, fit

QUIET = Reporter(Console(quiet=True))
_WORDS = ["--data", "digits", "--image-size", "8", "--model", "lenet", "--threads", "1"]


def train(folder: Path, *words: str) -> Path:
    """Train a small network on a few digits, and return its run directory."""
    fit(read_settings([*_WORDS, "--epochs", "1", "--train-count", "100", *words, "--out", str(folder)]), QUIET)
    return folder


def settings_of(run: Path) -> TrainSettings:
    return read_settings(["--config", str(run / "config.yaml"), "--out", str(run)])


def given(folder: Path, runs: dict[str, Path], **others: Any) -> Given:
    """Return what an experiment is given, its results going to a folder."""
    folder.mkdir(exist_ok=True)
    parts: dict[str, Any] = {"attribution": lambda text, classifier: attribution(text), "attack": _no_attack}
    return Given(folder, runs, others.pop("seed", 0), "cpu", QUIET, settings_of, **parts | others)


def _no_attack(text: str, classifier: Classifier) -> Any:
    raise AssertionError


def images_of(splits: Splits, names: list[str]) -> tuple[Tensor, Tensor]:
    """Return test images in [0, 1] by name, and their classes, read one by one."""
    rows = [splits.test.names.index(name) for name in names]
    pixels = np.stack([splits.test.images[row] for row in rows])
    return to_float(torch.from_numpy(pixels).permute(0, 3, 1, 2)), torch.from_numpy(splits.test.labels[rows])


def named_by(wrong: dict[str, Any], make: Callable[..., Any]) -> str:
    """Return the message of the error that wrong settings raise; it has to be one line that begins with the setting."""
    with pytest.raises(ArgumentError) as raised:
        make(**wrong)
    assert "\n" not in str(raised.value)
    return str(raised.value)
