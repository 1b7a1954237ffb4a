"""Stability between trainings against a loop over images, and which images it may look at."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.data import ImageSet
from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.evaluation import Scorecard
from gradsculpt.gradients import Model
from gradsculpt.metrics import stability
from gradsculpt.studies.experiments import Stability
from gradsculpt.studies.experiments.stability import common
from tests.studies.experiments.trained import given, images_of, named_by


def values(folder: Path) -> dict[str, dict[str, float]]:
    """Return the score of every image by name of the image."""
    with (folder / "scorecard.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        row["image"]: {name: float(value) for name, value in row.items() if value and name != "image"} for row in rows
    }


@pytest.mark.parametrize("target", ["true", "predicted"])
def test_scores_are_those_of_each_pair_image_by_image(runs: dict[str, Path], tmp_path: Path, target: Any) -> None:
    each = given(tmp_path / "out", runs)
    Stability(images=12, k=0.3, target=target, batch_size=5).run(each)
    found = values(tmp_path / "out")
    assert len(found) == 12
    networks = {seed: each.classifier(seed) for seed in runs}
    data = {seed: each.data(seed) for seed in runs}
    for name, scores in found.items():
        maps = []
        for seed, classifier in networks.items():
            images01, y = images_of(data[seed], [name])
            classes = y if target == "true" else classifier.probabilities(images01).argmax(dim=1)
            maps.append(Gradient()(classifier.network, classifier.space.normalize(images01), classes))
        pairs = [stability(maps[i], maps[j], 0.3) for i, j in ((0, 1), (0, 2), (1, 2))]
        for score in ("ssim", "topk_dice"):
            assert scores[score] == pytest.approx(sum(float(pair[score]) for pair in pairs) / 3, abs=1e-5)
    card = Scorecard.load(tmp_path / "out")
    assert card["ssim"].mean == pytest.approx(np.mean([scores["ssim"] for scores in found.values()]), abs=1e-5)
    assert "zero_map" not in card.entries


def test_images_are_common_to_all_trainings_and_learnt_by_none(runs: dict[str, Path], tmp_path: Path) -> None:
    each = given(tmp_path / "out", runs)
    Stability(images=10_000).run(each)
    data = {seed: each.data(seed) for seed in runs}
    tested = set.intersection(*(set(splits.test.names) for splits in data.values()))
    assert set(values(tmp_path / "out")) == tested
    assert not tested & {name for splits in data.values() for name in splits.train.names}
    assert len(tested) < len(data["2"].test) - 40
    notes = Scorecard.load(tmp_path / "out").settings["notes"]
    learnt = [set(splits.train.names) for splits in data.values()]
    assert notes["train_differs"] == max(len(a - b) for a in learnt for b in learnt)
    assert (notes["images"], notes["train"], notes["seeds"]) == (len(tested), 100, ["0", "1", "2"])


def test_a_training_compared_with_itself_is_stable(runs: dict[str, Path], tmp_path: Path) -> None:
    Stability(images=6).run(given(tmp_path / "out", {"0": runs["0"], "7": runs["0"]}))
    card = Scorecard.load(tmp_path / "out")
    assert card["ssim"].mean == pytest.approx(1.0)
    assert card["topk_dice"].mean == 1.0
    assert card.settings["notes"]["train_differs"] == 0


class Zero(Attribution):
    """Sees nothing in any image."""

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        return torch.zeros_like(x)


def test_maps_of_zeros_are_told(runs: dict[str, Path], tmp_path: Path) -> None:
    Stability(images=6).run(given(tmp_path / "out", runs, attribution=lambda text, classifier: Zero()))
    assert "ALL 6 MAPS ARE ZERO" in Scorecard.load(tmp_path / "out").warning


def test_a_single_seed_and_sets_without_a_common_image_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="there is only seed 0; name two seeds"):
        Stability().run(given(tmp_path / "out", {"0": runs["0"]}))
    one, other = (
        ImageSet(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64), ("a",), (name,)) for name in ("x", "y")
    )
    with pytest.raises(DataError, match="seeds 0, 1 have no test image in common"):
        common({"0": one, "1": other}, 5, 0)


def test_images_are_drawn_by_the_seed() -> None:
    names = tuple(f"{i}" for i in range(50))
    sets = {str(s): ImageSet(np.zeros((50, 8, 8, 3), np.uint8), np.zeros(50, np.int64), ("a",), names) for s in (0, 1)}
    assert common(sets, 7, 3) == common(sets, 7, 3) != common(sets, 7, 4)
    assert set(common(sets, 7, 3)) < set(common(sets, 20, 3))
    assert common(sets, 100, 3) == list(names)


def test_settings() -> None:
    assert (Stability().images, Stability().k, Stability.takes) == (500, 0.4, "seeds")
    assert Stability(method="vargrad").parts() == {"Attribution": ("vargrad",)}
    wrong: dict[str, Any]
    for wrong in ({"images": 0}, {"k": 0.0}, {"k": 1.5}, {"batch_size": 0}, {"target": "other"}, {"images": "many"}):
        assert named_by(wrong, Stability).startswith(f"{next(iter(wrong))}=")
