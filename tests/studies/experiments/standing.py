"""A network and images in memory, in the place of a training, for experiments that score test images."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import nn

from gradsculpt.cli.sized import attack_for, attribution_for
from gradsculpt.data import ImageSet, Splits
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from gradsculpt.progress import Reporter
from gradsculpt.studies.experiments import Given

SPACE = InputSpace((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))


@dataclass(frozen=True)
class Standing(Given):
    """What an experiment is given: a network, and images to test it on; lines that are told are kept."""

    network: nn.Module = field(kw_only=True)
    tested: ImageSet = field(kw_only=True)

    def classifier(self, name: str = "network") -> Classifier:
        return Classifier(self.network, SPACE, self.tested.classes, self.tested.images.shape[1]).eval()

    def data(self, name: str = "network") -> Splits:
        return Splits(self.tested, self.tested, self.tested)


def standing(folder: Path, network: nn.Module, tested: ImageSet, seed: int = 0) -> Standing:
    def settings(run: Path) -> Any:
        raise AssertionError(run)

    quiet = Reporter(Console(quiet=True))
    return Standing(
        folder, {}, seed, "cpu", quiet, settings, attribution_for, attack_for, network=network, tested=tested
    )


def photos(count: int, side: int = 10, classes: int = 3) -> ImageSet:
    """Return images of noise, of which each class has as many as any other, up to one."""
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    labels = np.arange(count) % classes
    names = tuple(f"image {i}" for i in range(count))
    return ImageSet(pixels, labels, tuple("abc"[:classes]), names)


def values(folder: Path) -> dict[str, dict[str, float]]:
    """Return the score of every image by name of the image."""
    with (folder / "scorecard.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        row["image"]: {name: float(value) for name, value in row.items() if name != "image" and value} for row in rows
    }
