"""Curves and reconstructions against the metric, and pictures of classes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gradsculpt.attributions import Gradient
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import insertion
from gradsculpt.studies.experiments import Features, Insertions
from gradsculpt.visualize import Ascent, class_features, plain
from tests.studies.experiments.by_hand import CLASSES, by_hand, images


def test_curves_are_of_insertion_and_pictures_are_filled_up(tmp_path: Path) -> None:
    given, data = by_hand(tmp_path), images()
    Insertions("gradient", "targeted:eps=2,steps=2", (0.0, 0.5, 1.0), steps=4, limit=100, count=2).run(given)
    card, arrays, notes = given.card, given.arrays(), given.notes
    assert list(card.curves) == [f"{name} ({kind})" for name in given.runs for kind in ("insertion", "adv-insertion")]
    x01, y = torch.from_numpy(data.images[:]).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(data.labels)
    for name in given.runs:
        classifier, curve = given.classifier(name), card.curves[f"{name} (insertion)"]
        x = classifier.space.normalize(x01)
        expected = insertion(classifier.network, x, y, Gradient()(classifier.network, x, y), 4).mean()
        assert sum(curve.mean) / 500 == pytest.approx(float(expected), abs=1e-4)
        assert curve.x == (0.0, 25.0, 50.0, 75.0, 100.0)
        # Empty and whole images are the same, whatever the order of their pixels.
        attacked = card.curves[f"{name} (adv-insertion)"]
        assert (attacked.mean[0], attacked.mean[-1]) == pytest.approx((curve.mean[0], curve.mean[-1]), abs=1e-4)
    assert notes["columns"] == ["image", "0% of the pixels", "50% of the pixels", "100% of the pixels"]
    first, second = notes["images"]
    true = CLASSES[data.labels[data.names.index(first)]]
    assert notes["rows"][:4] == [f"{true}\n{name}{end}" for name in given.runs for end in ("", ", attacked")]
    for i in range(8):
        image, empty, half, whole = arrays[f"pictures {i}"].astype(int)
        assert np.abs(image - data.images[data.names.index(first if i < 4 else second)]).max() == 0
        assert np.abs(whole - image).max() <= 1
        assert np.abs(empty - np.array([102, 128, 153])).max() <= 1
        kept = (np.abs(half - image).max(axis=2) <= 1).mean()
        assert 0.5 <= kept <= 0.6


def test_without_an_attack_there_are_clean_ones_alone(tmp_path: Path) -> None:
    given = by_hand(tmp_path)
    Insertions(attack=None, shares=(0.5,), steps=2, count=1, target="predicted").run(given)
    assert list(given.card.curves) == ["standard (insertion)", "L1 .05 (insertion)"]
    assert Insertions(attack=None).parts() == {"Attribution": ("gradient",), "Attack": ()}
    with pytest.raises(ArgumentError, match="shares"):
        Insertions(shares=(1.5,))
    with pytest.raises(ArgumentError, match="masking"):
        Insertions(masking="black")


def test_features_are_pictures_of_classes(tmp_path: Path) -> None:
    given = by_hand(tmp_path, seed=3)
    Features(count=2, ascent={"steps": 2}).run(given)
    arrays, notes = given.arrays(), given.notes
    assert (notes["rows"], notes["columns"]) == (["standard", "L1 .05"], list(CLASSES[:2]))
    for i, name in enumerate(given.runs):
        expected = class_features(given.classifier(name), [0, 1], ascent=Ascent(steps=2, seed=3))
        np.testing.assert_array_equal(arrays[f"pictures {i}"], np.stack(plain(expected.images)))
        probability = given.classifier(name).probabilities(expected.images)[1, 1]
        assert notes["captions"][i][1] == f"{float(probability):.0%}"
    Features(("c",), colours="data", ascent={"steps": 1}).run(given)
    assert given.notes["columns"] == ["c"]


def test_features_that_cannot_be_had() -> None:
    with pytest.raises(ArgumentError, match=r"ascent has no setting stepss; .* Did you mean steps"):
        Features(ascent={"stepss": 3})
    with pytest.raises(ArgumentError, match="steps"):
        Features(ascent={"steps": -1})
    with pytest.raises(ArgumentError, match="standard has no class b, so it has no picture of it; its classes are a"):
        Features(("b",)).run(by_hand(Path()))
