"""What experiments are given, without trainings: small networks and images made by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gradsculpt.cli.sized import attack_for, attribution_for
from gradsculpt.data import ImageSet, Splits
from gradsculpt.evaluation import Scorecard
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from gradsculpt.progress import Reporter
from gradsculpt.studies.experiments import Given
from gradsculpt.studies.experiments.base import ARRAYS

CLASSES = ("a", "n02102040", "c")
SIDE = 12


def network(seed: int, side: int = SIDE) -> Classifier:
    """Return a small smooth network of three classes."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(3), nn.Flatten(), nn.Linear(4 * (side - 2) ** 2, 3))
    return Classifier(layers, InputSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)), CLASSES, side).eval()


def images(count: int = 14, *, truth: bool = False, order: Any = None) -> ImageSet:
    """Return noise of three classes; the first is rare. Names go with pixels, in whatever order they are."""
    random = np.random.default_rng(0)
    labels = np.array(([0] + [1, 2] * count)[:count])
    pixels = random.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    attention = random.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8) if truth else None
    given = ImageSet(pixels, labels, CLASSES, tuple(f"i{i}" for i in range(count)), attention)
    return given if order is None else given.subset(np.asarray(order))


@dataclass(frozen=True)
class ByHand(Given):
    """Networks and images by name, in place of runs."""

    classifiers: Mapping[str, Classifier] = field(default_factory=dict)
    sets: Mapping[str, ImageSet] = field(default_factory=dict)

    def classifier(self, name: str = "network") -> Classifier:
        return self.classifiers[name]

    def data(self, name: str = "network") -> Splits:
        return Splits(self.sets[name], self.sets[name], self.sets[name])

    def arrays(self) -> dict[str, Any]:
        with np.load(self.folder / ARRAYS) as file:
            return {name: file[name] for name in file.files}

    @property
    def card(self) -> Scorecard:
        return Scorecard.load(self.folder)

    @property
    def notes(self) -> Any:
        return self.card.settings["notes"]


def by_hand(folder: Path, sets: Mapping[str, ImageSet] | None = None, seed: int = 0) -> ByHand:
    """Return two networks with sets of images, by default the same."""
    sets = sets or {"standard": images(), "L1 .05": images()}
    classifiers = {name: network(i) for i, name in enumerate(sets)}
    runs = dict.fromkeys(sets, folder)
    return ByHand(folder, runs, seed, "cpu", Reporter(), _no_settings, attribution_for, attack_for, classifiers, sets)


def _no_settings(run: Path) -> Any:
    raise AssertionError("made by hand, these have no settings")
