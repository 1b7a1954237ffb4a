"""DiffROAR on a trained network: what is retrained, what is kept, and that nothing is done twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gradsculpt.attributions import Gradient
from gradsculpt.evaluation import Retraining, Scorecard, diff_roar
from gradsculpt.evaluation import diff_roar as diff_roar_function
from gradsculpt.objectives import AdversarialTraining, CrossEntropy
from gradsculpt.penalties import L1
from gradsculpt.studies.experiments import DiffRoar
from gradsculpt.studies.experiments.diff_roar import TABLE
from gradsculpt.training import Optimization, TrainSettings
from tests.studies.experiments.test_stability import values
from tests.studies.experiments.trained import given, named_by, settings_of

SHORT = {"epochs": 1, "lr": 0.01}


def test_it_is_the_difference_of_retrainings_on_the_networks_own_images(runs: dict[str, Path], tmp_path: Path) -> None:
    each = given(tmp_path / "out", {"network": runs["0"]})
    experiment = DiffRoar(levels=(0.2, 0.6), seeds=(0, 3), retraining=SHORT)
    experiment.run(each)
    data, classifier = each.data(), each.classifier()
    train = Retraining(experiment.settings(settings_of(runs["0"]), "cpu"))
    expected = diff_roar(classifier, data.train, data.test, Gradient(), train, levels=(0.2,), seeds=(3,))
    found, card = values(tmp_path / "out"), Scorecard.load(tmp_path / "out")
    assert list(found) == ["k=0.2, seed 0", "k=0.2, seed 3", "k=0.6, seed 0", "k=0.6, seed 3"]
    scores = found["k=0.2, seed 3"]
    assert scores["top_accuracy"] == pytest.approx(float(expected.top))
    assert scores["bottom_accuracy"] == pytest.approx(float(expected.bottom))
    for row in found.values():
        assert row["diff_roar"] == pytest.approx(row["top_accuracy"] - row["bottom_accuracy"], abs=1e-6)
    differences = [row["diff_roar"] for row in found.values()]
    assert card["diff_roar"].mean == pytest.approx(sum(differences) / 4, abs=1e-6)
    curve = card.curves["diff_roar"]
    assert curve.x == (20.0, 60.0)
    assert curve.mean == pytest.approx([50 * sum(differences[:2]), 50 * sum(differences[2:])], abs=1e-4)
    assert curve.low == pytest.approx([100 * min(differences[:2]), 100 * min(differences[2:])], abs=1e-4)
    assert curve.high == pytest.approx([100 * max(differences[:2]), 100 * max(differences[2:])], abs=1e-4)
    assert card.settings["notes"] == {"model": "lenet", "epochs": 1, "train": 100, "test": len(data.test)}
    before = (tmp_path / "out" / TABLE).read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Retraining, "__call__", lambda *_: pytest.fail("retrained once more"))
        experiment.run(each)
    assert (tmp_path / "out" / TABLE).read_bytes() == before


def test_method_and_target_reach_the_maps(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def spy(*arguments: Any, **options: Any) -> Any:
        seen.append((arguments[3], options["target"]))
        zeros: Tensor = torch.zeros(1, 1)
        return type("Result", (), {"values": zeros, "top": zeros, "bottom": zeros})()

    monkeypatch.setattr("gradsculpt.studies.experiments.diff_roar.diff_roar", spy)
    experiment = DiffRoar((0.5,), (0,), "gradient:output=probability", "predicted")
    experiment.run(given(tmp_path / "out", {"network": runs["2"]}))
    assert seen == [(Gradient("probability"), "predicted")]
    assert diff_roar_function is not spy


TRAINED = TrainSettings(
    Path("run"),
    objective=AdversarialTraining(L1(0.1)),
    model="convnet",
    weights="some.pth",
    freeze=("features",),
    softplus=3.0,
    epochs=7,
    batch_size=16,
    optimization=Optimization(lr=0.3, betas=(0.5, 0.5)),
    shuffle_labels=True,
)


def test_retrainings_are_as_the_network_was_trained_but_plain_and_from_random_weights() -> None:
    made = DiffRoar().settings(TRAINED, "cuda:1")
    assert made.objective == CrossEntropy()
    assert (made.weights, made.freeze, made.shuffle_labels, made.device) == (None, (), False, "cuda")
    assert (made.model, made.softplus, made.epochs, made.batch_size) == ("convnet", 3.0, 7, 16)
    assert made.optimization == TRAINED.optimization
    assert DiffRoar(retraining={"model": None}).settings(TRAINED, "cpu").model == "convnet"
    other = DiffRoar(retraining={"model": "resnet34", "epochs": 150, "lr": 0.1, "betas": [0.9, 0.99], "clip": 1.0})
    made = other.settings(TRAINED, "cpu")
    assert (made.model, made.softplus, made.epochs, made.clip) == ("resnet34", None, 150, 1.0)
    assert made.optimization == Optimization(lr=0.1, betas=(0.9, 0.99))


def test_settings() -> None:
    assert DiffRoar().levels == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert (DiffRoar().seeds, DiffRoar().target, DiffRoar.takes) == ((0, 1, 2), "true", "network")
    assert DiffRoar(method="vargrad").parts() == {"Attribution": ("vargrad",)}
    listed: dict[str, Any] = {"levels": [0.5], "seeds": [4]}  # as files have them
    assert (DiffRoar(**listed).levels, DiffRoar(**listed).seeds) == ((0.5,), (4,))
    wrong: dict[str, Any]
    for wrong in ({"levels": ()}, {"levels": (0.0,)}, {"levels": (0.5, 1.0)}, {"levels": (0.5, 0.5)}, {"seeds": ()}):
        assert named_by(wrong, DiffRoar).startswith(f"{next(iter(wrong))}=")
    for wrong in ({"seeds": (1, 1)}, {"seeds": (-1,)}, {"target": "other"}, {"levels": 0.5}):
        assert named_by(wrong, DiffRoar).startswith(f"{next(iter(wrong))}=")
    assert "Did you mean epochs?" in named_by({"retraining": {"epoch": 3}}, DiffRoar)
    for name, value in (("epochs", 0), ("epochs", "many"), ("lr", -1.0), ("optimizer", "best"), ("batch_size", 0)):
        assert named_by({"retraining": {name: value}}, DiffRoar).startswith(f"{name}=")
