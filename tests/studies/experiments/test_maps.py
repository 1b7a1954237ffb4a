"""Maps and attacked maps against attributions and attacks that are called by themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradsculpt.attributions import Gradient, SmoothGrad, heatmap
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.metrics import ssim, topk_intersection
from gradsculpt.studies.experiments import AttackedMaps, Maps
from tests.studies.experiments.by_hand import CLASSES, ByHand, by_hand, images


def shown(given: ByHand) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images that were shown, in [0, 1], and their classes."""
    data = images()
    rows = [data.names.index(name) for name in given.notes["images"]]
    pixels = torch.from_numpy(np.asarray(data.images[rows])).permute(0, 3, 1, 2).float() / 255
    return pixels, torch.from_numpy(data.labels[rows])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("target", ["true", "predicted"])
def test_maps_are_those_of_the_attributions_up_to_scale(tmp_path: Path, signed: bool, target: Any) -> None:
    given = by_hand(tmp_path)
    Maps(("gradient", "smoothgrad:samples=2"), signed, count=5, target=target).run(given)
    x01, y = shown(given)
    arrays, notes = given.arrays(), given.notes
    assert (notes["methods"], list(notes["networks"])) == (["gradient", "smoothgrad:samples=2"], ["standard", "L1 .05"])
    assert notes["true"] == [CLASSES[label] for label in y.tolist()]
    np.testing.assert_array_equal(arrays["images"], (x01 * 255).round().permute(0, 2, 3, 1).byte().numpy())
    for i, name in enumerate(given.runs):
        classifier = given.classifier(name)
        probabilities = classifier.probabilities(x01)
        best = probabilities.argmax(dim=1)
        assert notes["networks"][name]["predicted"] == [CLASSES[label] for label in best.tolist()]
        assert notes["networks"][name]["probability"] == pytest.approx(probabilities.amax(dim=1).tolist(), abs=1e-4)
        asked = y if target == "true" else best
        for m, attribution in enumerate((Gradient(), SmoothGrad(2))):
            maps = attribution(classifier.network, classifier.space.normalize(x01), asked)
            expected = (maps if signed else maps.abs()).sum(dim=1)
            expected = expected / expected.abs().amax(dim=(1, 2), keepdim=True)
            np.testing.assert_allclose(arrays[f"maps {i}"][m].astype(np.float32), expected.numpy(), atol=2e-3)


def test_methods_go_by_the_names_that_they_are_given(tmp_path: Path) -> None:
    given = by_hand(tmp_path)
    kept = []
    for methods in ({"ours": "smoothgrad:samples=2", "plain": "gradient"}, ["smoothgrad:samples=2", "gradient"]):
        Maps(methods, count=2).run(given)  # type: ignore[arg-type]
        kept.append((given.notes["methods"], given.arrays()["maps 1"]))
    assert [names for names, _ in kept] == [["ours", "plain"], ["smoothgrad:samples=2", "gradient"]]
    np.testing.assert_array_equal(kept[0][1], kept[1][1])


def test_truth_is_kept_where_there_is_one(tmp_path: Path) -> None:
    given = by_hand(tmp_path, {"one": images(truth=True)})
    Maps(count=3).run(given)
    data = images(truth=True)
    assert data.attention is not None
    truth = data.attention[[data.names.index(name) for name in given.notes["images"]]].astype(np.float32)
    expected = truth / truth.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(given.arrays()["truth"].astype(np.float32), expected, atol=1e-3)


def test_an_attack_of_no_size_changes_nothing(tmp_path: Path) -> None:
    given = by_hand(tmp_path)
    AttackedMaps(attack="targeted:eps=0,steps=1", count=3).run(given)
    arrays = given.arrays()
    for i, said in enumerate(given.notes["networks"].values()):
        np.testing.assert_array_equal(arrays[f"maps {i}"], arrays[f"attacked {i}"])
        np.testing.assert_array_equal(arrays[f"changed {i}"][0], arrays["images"])
        assert said["ssim"] == [pytest.approx([1.0] * 3, abs=1e-4)]
        assert said["topk"] == [[1.0] * 3]


@pytest.mark.parametrize("attack", ["targeted:steps=4,eps=4", "untargeted:eps=4,steps=2"])
def test_attacked_images_stay_near_and_figures_are_of_the_maps_that_are_kept(tmp_path: Path, attack: str) -> None:
    given = by_hand(tmp_path)
    AttackedMaps(("gradient", "inputxgradient"), attack, 0.3, count=4).run(given)
    arrays, notes = given.arrays(), given.notes
    assert (notes["attack"], notes["k"]) == (attack, 0.3)
    for i, said in enumerate(notes["networks"].values()):
        moved = np.abs(arrays[f"changed {i}"].astype(int) - arrays["images"].astype(int))
        assert 1 <= moved.max() <= 4
        for m in range(2):
            before, after = (
                torch.from_numpy(arrays[f"{kind} {i}"][m].astype(np.float32)) for kind in ("maps", "attacked")
            )
            heat = heatmap(before, 100.0), heatmap(after, 100.0)
            assert said["ssim"][m] == pytest.approx(ssim(*heat).tolist(), abs=5e-3)
            assert said["topk"][m] == pytest.approx(topk_intersection(*heat, 0.3, nonzero=True).tolist(), abs=0.05)


def test_what_cannot_be_explained_or_attacked_is_told_by_network_and_method(tmp_path: Path) -> None:
    given = by_hand(tmp_path)
    with pytest.raises(ModelError, match="gradcam:layer=nothing cannot explain standard: "):
        Maps(("gradcam:layer=nothing",), count=2).run(given)
    with pytest.raises(ModelError, match="maps of standard by gradcam:layer=nothing cannot be attacked: "):
        AttackedMaps(("gradcam:layer=nothing",), count=2).run(given)
    for kind in (Maps, AttackedMaps):
        with pytest.raises(ArgumentError, match="methods names none"):
            kind(())
        with pytest.raises(ArgumentError, match="count"):
            kind(count=0)
        with pytest.raises(ArgumentError, match="names one twice"):
            kind(("gradient", "gradient"))
        with pytest.raises(ArgumentError, match="methods has ours=3; pass an attribution"):
            kind({"ours": 3})  # type: ignore[dict-item]
    with pytest.raises(ArgumentError, match="target='both'"):
        Maps(target="both")  # type: ignore[arg-type]


def test_parts_are_named_for_those_who_look_at_them_first() -> None:
    assert Maps(("gradient", "relex")).parts() == {"Attribution": ("gradient", "relex")}
    assert Maps({"ours": "relex", "plain": "gradient"}).parts() == {"Attribution": ("relex", "gradient")}
    assert AttackedMaps(attack="topk:eps=2").parts() == {"Attribution": ("gradient",), "Attack": ("topk:eps=2",)}
