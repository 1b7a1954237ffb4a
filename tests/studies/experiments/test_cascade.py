"""A cascade on a trained network against the function that it calls, and the pictures that it keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradsculpt.attributions import SmoothGrad
from gradsculpt.evaluation import Scorecard, randomization
from gradsculpt.studies.experiments import Cascade
from gradsculpt.studies.experiments.base import ARRAYS
from gradsculpt.visualize import colour, plain
from tests.studies.experiments.test_stability import values
from tests.studies.experiments.trained import given, images_of, named_by


@pytest.mark.parametrize("target", ["true", "predicted"])
def test_scores_curves_and_pictures_are_those_of_the_cascade(
    runs: dict[str, Path], tmp_path: Path, target: Any
) -> None:
    each = given(tmp_path / "out", {"network": runs["2"]}, seed=3)
    Cascade(images=9, method="smoothgrad:samples=2", target=target, rows=3, columns=2, k=0.3).run(each)
    found, card = values(tmp_path / "out"), Scorecard.load(tmp_path / "out")
    notes = card.settings["notes"]
    images01, y = images_of(each.data(), notes["images"])
    classifier = each.classifier()
    asked = y if target == "true" else classifier.probabilities(images01).argmax(dim=1)
    x = classifier.space.normalize(images01)
    cascade = randomization(classifier.network, SmoothGrad(2), x, asked, 3, k=0.3, keep=3)
    assert list(found) == notes["images"]
    assert len(set(notes["images"])) == len(set(y.tolist())) == 9
    for name in ("ssim", "spearman", "topk_intersection", "blank"):
        expected = cascade[name].mean(dim=0)
        torch.testing.assert_close(torch.tensor([found[i][name] for i in found]), expected, rtol=1e-4, atol=1e-5)
        scale = 100 if name in ("topk_intersection", "blank") else 1
        assert card.curves[name].x == cascade.stages
        assert card.curves[name].mean == pytest.approx([scale * float(v) for v in cascade.means()[name]], abs=1e-3)
        curve = card.curves[name]
        assert all(low <= mean <= high for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True))
    middle, last = round(len(cascade.stages) / 2) - 1, len(cascade.stages) - 1
    assert notes["columns"] == ["image", "map", cascade.stages[middle], cascade.stages[last]]
    assert notes["rows"] == [classifier.classes[label] for label in y[:3].tolist()]
    assert notes["stages"] == list(cascade.stages)
    with np.load(tmp_path / "out" / ARRAYS) as arrays:
        assert sorted(arrays) == ["pictures 0", "pictures 1", "pictures 2"]
        for i in range(3):
            maps = [cascade.original, cascade.maps[middle], cascade.maps[last]]
            expected_row = [plain(images01)[i], *(colour(one)[i] for one in maps)]
            np.testing.assert_allclose(arrays[f"pictures {i}"].astype(int), np.stack(expected_row).astype(int), atol=2)


def test_the_output_comes_first_and_a_network_is_no_better_than_its_weights(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    each = given(tmp_path / "out", {"network": runs["2"]})
    Cascade(images=500, stages=2, rows=0).run(each)
    card = Scorecard.load(tmp_path / "out")
    stages = card.settings["notes"]["stages"]
    named = [name for name, _ in each.classifier().network.named_modules()]
    assert len(stages) == 2
    assert named.index(stages[0]) > named.index(stages[1])
    assert card["ssim"].mean < 0.9
    assert card["ssim"].images == len(each.data().test)
    Cascade(images=20, stages=2, rows=5).run(each)
    assert len(set(Scorecard.load(tmp_path / "out").settings["notes"]["rows"])) == 5


def test_settings() -> None:
    assert (Cascade().images, Cascade().k, Cascade.takes) == (64, 0.4, "network")
    assert Cascade(method="vargrad").parts() == {"Attribution": ("vargrad",)}
    wrong: dict[str, Any]
    for wrong in ({"images": 0}, {"k": 0.0}, {"stages": 0}, {"columns": 0}, {"rows": -1}, {"target": "other"}):
        assert named_by(wrong, Cascade).startswith(f"{next(iter(wrong))}=")
