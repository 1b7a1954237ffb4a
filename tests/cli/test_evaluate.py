"""`gradsculpt evaluate` of runs and of networks by name."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import shufflenet_v2_x0_5

from gradsculpt.attributions import SmoothGrad
from gradsculpt.cli.main import main
from gradsculpt.cli.opened import NamedNetwork
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.scoring import add_protocol, batch_size, read_protocol
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import (
    Accuracy,
    Column,
    EvaluationBatch,
    Fidelity,
    MetricGroup,
    Protocol,
    RobustnessAttack,
    RobustnessRandom,
    Sanity,
    Scorecard,
    ScoreGroup,
    scoring,
)
from gradsculpt.evaluation.per_image_values import Header
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import Score, metric, spearman
from gradsculpt.models import Classifier, build, save

FEW = [
    "--groups", "accuracy", "sparsity", "robustness-random:draws=1", "robustness-attack:steps=2,images=2",
    "fidelity:steps=3", "ground-truth", "sanity:images=2",
]  # fmt: skip
NETWORK = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    pixels = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / "photos" / part / name).mkdir(parents=True)
            for i in range(6):
                image = pixels.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / "photos" / part / name / f"{name}{i}.png")
    torch.manual_seed(0)
    torch.save(shufflenet_v2_x0_5(num_classes=2).state_dict(), folder / "w.pth")
    kind = {"model": "convnet", "num_classes": 2, "image_size": 16, "softplus": 3.0}
    classifier = Classifier(build("convnet", num_classes=2, image_size=16), InputSpace((0.5,) * 3, (0.5,) * 3), (), 16)
    classifier.classes = ("cat", "dog")
    save(folder / "run", classifier, build=kind)
    (folder / "run" / "config.yaml").write_text(f"data: folder:{folder / 'photos'}\n")
    return folder


def options(*words: str) -> dict[str, Any]:
    parser = command_parser("evaluate", "")
    add_protocol(parser, words)
    return parser.read(words)


@pytest.fixture(scope="module")
def subject() -> NamedNetwork:
    network = build("convnet", num_classes=2, image_size=16)
    return NamedNetwork("mine", Classifier(network, InputSpace((0.5,) * 3, (0.5,) * 3), ("cat", "dog"), 16))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "scorecard.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_without_flags_the_protocol_is_the_plain_one(subject: NamedNetwork) -> None:
    assert read_protocol(options(), subject) == Protocol()
    assert (options()["limit"], options()["batch_size"]) == (None, None)


def test_large_images_are_scored_few_at_once_and_small_ones_many() -> None:
    sizes = {32: (16, 64), 112: (16, 32), 224: (8, 8), 1024: (1, 1)}
    for side, expected in sizes.items():
        named = NamedNetwork("mine", Classifier(nn.Identity(), InputSpace((0.5,) * 3, (0.5,) * 3), ("a", "b"), side))
        assert tuple(batch_size(named, quick) for quick in (True, False)) == expected


def test_quick_and_full_choose_the_protocol_and_flags_override_it(subject: NamedNetwork) -> None:
    assert read_protocol(options("--quick"), subject) == Protocol.quick()
    assert read_protocol(options("--full"), subject) == Protocol.full()
    assert (options("--quick")["limit"], options("--full")["limit"]) == (64, None)
    mine = options("--quick", "--limit", "9", "--seed", "3", "--target", "predicted", "--groups", "sanity", "accuracy")
    # A group by name alone has the settings of the protocol.
    assert read_protocol(mine, subject) == Protocol(
        (Sanity(images=8, stages=10), Accuracy()), target="predicted", seed=3
    )
    assert mine["limit"] == 9
    with pytest.raises(ArgumentError, match="exclude each other"):
        read_protocol(options("--quick", "--full"), subject)


def test_settings_are_typed_with_their_group_and_the_rest_stays_that_of_the_protocol(subject: NamedNetwork) -> None:
    def groups(*words: str) -> tuple[object, ...]:
        return read_protocol(options(*words), subject).groups

    typed = "robustness-random:rps_levels=[2,5.5],eps=4"
    assert groups("--quick", "--groups", typed) == (RobustnessRandom(eps=4.0, rps_levels=(2.0, 5.5), draws=3),)
    assert groups("--full", "--groups", "robustness-attack:levels=[]") == (
        RobustnessAttack(levels=(), steps=100, images=500),
    )
    assert groups("--groups", "fidelity:steps=50", "robustness-attack") == (Fidelity(50), RobustnessAttack())
    assert groups("--groups", "spearman", "robustnessrandom(draws=2)") == (
        MetricGroup(spearman),
        RobustnessRandom(draws=2),
    )


def test_the_maps_can_be_named_with_settings(subject: NamedNetwork) -> None:
    smooth = read_protocol(options("--method", "smoothgrad:samples=3"), subject).attribution
    assert smooth == SmoothGrad(samples=3)
    for words in (["--method", "gradient"], []):
        protocol = read_protocol(options(*words, "--output", "log_probability"), subject)
        assert repr(protocol.attribution) == "Gradient(output='log_probability')"


@metric(Score("roughness", 0.0, float("inf"), "lower"))
def roughness(maps: torch.Tensor) -> torch.Tensor:
    """How much neighbours differ."""
    return maps.diff(dim=-1).abs().flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Strength(ScoreGroup):
    """The largest entry of the map."""

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield it."""
        yield Column(Score("strength", 0.0, float("inf"), "higher"), batch.maps.abs().flatten(1).amax(dim=1))


def test_a_metric_and_a_group_of_ones_own_join_the_scorecard_and_the_page(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = [f"{__name__}.{name}" for name in ("roughness", "Strength")]
    words = [str(place / "run"), "--limit", "4", "--groups", "accuracy", *own]
    assert main(["evaluate", *words, "--out", str(tmp_path)]) == 0
    card = Scorecard.load(tmp_path / "scorecard.json")
    assert [(e.group, name) for name, e in card.entries.items()][-2:] == [("roughness",) * 2, ("strength",) * 2]
    values = [float(row["roughness"]) for row in rows(tmp_path)]
    assert len(values) == 4
    assert card["roughness"].mean == pytest.approx(np.mean(values)) != 0
    assert "roughness ↓" in capfd.readouterr().out
    assert main(["compare", *words, "--out", str(tmp_path / "page.html"), "--count", "1"]) == 0
    assert ">roughness&nbsp;" in re.sub(r"\s", "", (tmp_path / "page.html").read_text(encoding="utf-8"))


def test_quick_scores_every_group_of_a_run(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(place / "run"), "--quick", *FEW, "--out", str(tmp_path)]) == 0
    card = Scorecard.load(tmp_path / "scorecard.json")
    groups = {entry.group for entry in card.entries.values()}
    assert groups == {
        "accuracy", "sparsity", "robustness-random", "robustness-attack", "fidelity", "sanity"
    }  # fmt: skip
    assert card.settings["images"] == 12
    assert sorted(row["image"] for row in rows(tmp_path))[0].endswith("cat0.png")
    assert len(rows(tmp_path)) == 12
    said = capfd.readouterr()
    assert "scoring run: 12 of 12 images" in said.err
    assert "\x1b" not in said.err
    assert re.search(r"robustness-attack \(2 images\)", said.out)
    assert all(len(line) <= 80 for line in said.out.splitlines()[1:])


def test_a_run_keeps_its_own_scores(place: Path) -> None:
    assert main(["evaluate", str(place / "run"), "--groups", "accuracy", "--limit", "5"]) == 0
    assert json.loads((place / "run" / "scorecard.json").read_text())["settings"]["images"] == 5
    assert len(rows(place / "run")) == 5


def test_the_split_that_is_named_is_scored(place: Path, tmp_path: Path) -> None:
    counts, seen = {"test": 12, "train": 10, "val": 2}, list[set[bytes]]()
    for split, count in counts.items():
        out = tmp_path / split
        words = ["evaluate", str(place / "run"), "--groups", "sparsity", "--split", split, "--out", str(out)]
        assert main(words) == 0
        assert json.loads((out / "scorecard.json").read_text())["settings"]["split"] == split
        assert len(rows(out)) == count
        seen.append({row["image"].encode() for row in rows(out)})
    assert not seen[1] & seen[2]


def test_a_limit_takes_images_of_every_class_and_the_same_ones_for_the_same_seed(place: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(place / "run"), "--groups", "accuracy", "--limit", "7"]
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert main([*words, "--seed", seed, "--out", str(tmp_path / name)]) == 0
    names = [[row["image"] for row in rows(tmp_path / name)] for name in "abc"]
    assert names[0] == names[1] != names[2]
    assert len({"cat" in name for name in names[0]}) == 2
    assert (tmp_path / "a" / "scorecard.json").read_bytes() == (tmp_path / "b" / "scorecard.json").read_bytes()


@pytest.mark.parametrize("spelled", [[NETWORK], ["--model", NETWORK]])
def test_a_network_by_name_with_weights(place: Path, tmp_path: Path, spelled: list[str]) -> None:
    words = ["evaluate", *spelled, "--weights", str(place / "w.pth"), "--image-size", "32"]
    data = ["--data", f"folder:{place / 'photos'}", "--limit", "3", "--groups", "accuracy", "sparsity"]
    assert main([*words, *data, "--out", str(tmp_path / "scores")]) == 0
    card = Scorecard.load(tmp_path / "scores" / "scorecard.json")
    assert (card.name, card.settings["images"]) == ("shufflenet_v2_x0_5", 3)


def test_an_interrupted_evaluation_says_how_to_go_on_and_gives_the_same_files(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["evaluate", str(place / "run"), "--quick", *FEW, "--batch-size", "5"]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    measured, calls = scoring._measured, list[int]()

    def interrupted(batch: EvaluationBatch, **given: Any) -> dict[Header, torch.Tensor]:
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(batch, **given)

    monkeypatch.setattr(scoring, "_measured", interrupted)
    capfd.readouterr()
    assert main([*words, "--out", str(tmp_path / "parts")]) == 130
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gradsculpt:")]
    assert said == ["gradsculpt: interrupted. What was finished is kept; the same command goes on where it stopped."]
    assert main([*words, "--out", str(tmp_path / "parts")]) == 0
    assert calls == [5, 5, 5, 2]
    for name in ("scorecard.json", "scorecard.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    leftovers = {path.name for path in (tmp_path / "parts").iterdir()}
    assert leftovers == {path.name for path in (tmp_path / "whole").iterdir()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no network is named"),
        (["{run}", "--model", NETWORK], "two networks are named"),
        (["{run}", "--groups", "acuracy"], "acuracy"),
        (["{run}", "--quick", "--full"], "exclude each other"),
        (["{run}", "--method", "smothgrad"], "smothgrad is not known.*Did you mean smoothgrad"),
        (["{run}", "--method", "lrp", "--output", "probability"], "lrp reads the logit and nothing else"),
        (["{run}", "--attribution", "gradient"], "attribution"),
        (["{run}", "--limit", "0"], "--limit=0"),
        (["{run}", "--batch-size", "0"], "batch.size=0"),
        (["{run}", "--weights", "{w}"], "has its own weights"),
        (["{run}", "--groups", "robustness-attack:levels=[300]"], "300.* is out of range"),
        (["{run}", "--groups", "sanity:stages=0"], "stages=0"),
        (["{run}", "--groups", "sanity:stags=0"], "no setting 'stags'.*Did you mean stages"),
        (["{run}", "--groups", "sanity", "sanity"], "two groups are called sanity"),
        (["{run}", "--groups", "sparsity", "gini"], "gini is measured by sparsity and by gini"),
        (["{run}", "--groups", "linearization_error"], "linearization_error needs eps"),
        (["{run}", "--groups", "nowhere.at.all"], "nowhere.at.all"),
        (["{run}", "--out", "{w}"], "cannot be a folder"),
        ([NETWORK, "--data", "{data}", "--out", "{tmp}"], "has no weights"),
        ([NETWORK, "--weights", "{w}", "--data", "{data}"], "no run with a folder.*--out"),
        ([NETWORK, "--weights", "{w}", "--out", "{tmp}"], "pass --data"),
        (
            [NETWORK, "--weights", "{w}", "--weights", "{w}", "--data", "cells", "--out", "{tmp}"],
            "2 --weights for one network",
        ),
        (["nowhere"], "no run directory nowhere"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    places = {"run": place / "run", "w": place / "w.pth", "data": f"folder:{place / 'photos'}", "tmp": tmp_path / "o"}
    assert main(["evaluate", *(word.format(**places) for word in words)]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gradsculpt:")]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]
