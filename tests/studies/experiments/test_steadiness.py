"""Maps before and after attacks and noise, beside the same done by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.attacks import RandomPerturbation, TopKAttack
from gradsculpt.attributions import Gradient, heatmap
from gradsculpt.cli.sized import attack_for, attribution_for
from gradsculpt.evaluation import Scorecard
from gradsculpt.models import load
from gradsculpt.studies.experiments.steadiness import Steadiness
from gradsculpt.training import open_data
from tests.studies.experiments.trained import QUIET, given, images_of, named_by, settings_of


def kept(folder: Path, run: Path, **settings: Any) -> Scorecard:
    parts = {"attack": attack_for, "attribution": attribution_for}
    Steadiness(count=3, steps=2, **settings).run(given(folder, {"network": run}, **parts))
    return Scorecard.load(folder)


def test_the_scores_are_those_of_maps_compared_by_hand(tmp_path: Path, runs: dict[str, Path]) -> None:
    data = open_data(settings_of(runs["0"]), QUIET)
    names = [data.test.names[i] for i in (5, 9)]
    card = kept(tmp_path / "a", runs["0"], sizes=(2.0,), images=tuple(names))
    classifier = load(runs["0"]).eval()
    images, labels = images_of(data, names)
    x = classifier.space.normalize(images)
    eps, entries = classifier.space.pixels(2 / 255), x[0].numel()
    bounds = classifier.space.bounds
    before = heatmap(Gradient()(classifier.network, x, labels), clip=100.0)
    attacks = {
        "attack": TopKAttack(eps * math.sqrt(entries), k=0.4, steps=2, bounds=bounds),
        "noise": RandomPerturbation(eps * math.sqrt(entries), kind="gaussian", bounds=bounds),
    }
    for change, attack in attacks.items():
        after = heatmap(
            Gradient()(classifier.network, attack(classifier.network, Gradient(), x, labels), labels), clip=100.0
        )
        unit = [each.flatten(1) / each.flatten(1).norm(dim=1, keepdim=True) for each in (before, after)]
        wanted = float((unit[0] - unit[1]).norm(dim=1).mean())
        assert card[f"distance_{change}_2"].mean == pytest.approx(wanted, rel=1e-4)
        top = []
        for a, b in zip(before.flatten(1), after.flatten(1), strict=True):
            count = round(0.4 * int((a != 0).sum()))
            top.append(len(set(a.topk(count).indices.tolist()) & set(b.topk(count).indices.tolist())) / count)
        assert card[f"topk_{change}_2"].mean == pytest.approx(sum(top) / len(top), abs=0.05)
        assert card[f"ssim_{change}_2"].images == 2


def test_nothing_happens_at_size_0_and_more_at_larger_sizes(tmp_path: Path, runs: dict[str, Path]) -> None:
    card = kept(tmp_path / "a", runs["0"], sizes=(0.0, 4.0, 40.0))
    for change in ("attack", "noise"):
        assert card[f"topk_{change}_0"].mean == card[f"ssim_{change}_0"].mean == pytest.approx(1)
        assert card[f"distance_{change}_0"].mean == pytest.approx(0, abs=1e-6)
        curve = card.curves[f"distance_{change}"]
        assert curve.x == (0.0, 4.0, 40.0)
        assert curve.mean[0] < curve.mean[1] < curve.mean[2] <= math.sqrt(2)
    assert card["distance_attack_4"].mean > card["distance_noise_4"].mean


def test_a_second_run_gives_the_same(tmp_path: Path, runs: dict[str, Path]) -> None:
    method = "smoothgrad:samples=2"
    first, second = (kept(tmp_path / name, runs["0"], sizes=(3.0,), method=method) for name in "ab")
    assert first.entries == second.entries
    assert Steadiness(method=method).parts() == {"Attribution": (method,)}
    assert first.settings["notes"]["method"] == method
    assert first.curves["ssim_noise"].mean[0] == pytest.approx(first["ssim_noise_3"].mean)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"sizes": ()}, "sizes"), ({"sizes": (300.0,)}, "sizes"), ({"steps": 0}, "steps"), ({"k": 0.0}, "k")],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], named: str) -> None:
    assert named_by(wrong, Steadiness).startswith(named)
