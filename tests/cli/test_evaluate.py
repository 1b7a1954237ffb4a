"""`gradsculpt evaluate` of runs and of networks by name."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import shufflenet_v2_x0_5

from gradsculpt.attributions import SmoothGrad
from gradsculpt.cli.console import result_console
from gradsculpt.cli.evaluate import add_protocol, read_protocol, table
from gradsculpt.cli.main import main
from gradsculpt.cli.parser import command_parser
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Protocol, Scorecard, scoring
from gradsculpt.evaluation.protocol import GROUP_NAMES
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build, save

FEW = ["--draws", "1", "--attack-steps", "2", "--attack-images", "2", "--steps", "3", "--sanity-images", "2"]
NETWORK = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
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


def options(*words):
    parser = command_parser("evaluate", "")
    add_protocol(parser, words)
    return parser.build(parser.read(words))


def rows(folder):
    with (folder / "scorecard.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_without_flags_the_protocol_is_the_plain_one():
    assert read_protocol(options()) == Protocol()
    assert (options()["limit"], options()["batch_size"]) == (None, 64)


def test_quick_and_full_change_the_defaults_and_flags_override_them():
    assert read_protocol(options("--quick")) == Protocol.quick()
    assert read_protocol(options("--full")) == Protocol.full()
    assert (options("--quick")["limit"], options("--full")["limit"]) == (64, None)
    mine = options("--attack-steps", "7", "--quick", "--limit", "9", "--groups", "sanity", "accuracy", "--seed", "3")
    protocol = read_protocol(mine)
    assert (protocol.attack_steps, protocol.groups, protocol.seed, mine["limit"]) == (7, ("sanity", "accuracy"), 3, 9)
    assert protocol.rps_levels == Protocol.quick().rps_levels
    assert read_protocol(options("--quick", "--rps-levels", "2", "5.5")).rps_levels == (2.0, 5.5)
    assert read_protocol(options("--full", "--attack-levels")).attack_levels == ()
    with pytest.raises(ArgumentError, match="exclude each other"):
        options("--quick", "--full")


def test_the_maps_can_be_named_with_settings_or_as_a_class():
    assert read_protocol(options("--method", "smoothgrad:samples=3")).attribution == SmoothGrad(samples=3)
    assert "log_probability" in repr(read_protocol(options("--method", "gradient", "--output", "log_probability")))
    given = ["--attribution", "gradsculpt.attributions.SmoothGrad", "--attribution.samples", "4"]
    assert read_protocol(options(*given)).attribution == SmoothGrad(samples=4)


def test_quick_scores_every_group_of_a_run(place, tmp_path, capfd):
    assert main(["evaluate", str(place / "run"), "--quick", *FEW, "--out", str(tmp_path)]) == 0
    card = Scorecard.load(tmp_path / "scorecard.json")
    groups = {entry.group for entry in card.entries.values()}
    assert groups == set(GROUP_NAMES) - {"ground-truth"}
    assert card.settings["images"] == 12
    assert sorted(row["image"] for row in rows(tmp_path))[0].endswith("cat0.png")
    assert len(rows(tmp_path)) == 12
    said = capfd.readouterr()
    assert "scoring run: 12 of 12 images" in said.err
    assert "\x1b" not in said.err
    assert re.search(r"robustness-attack \(2 images\)", said.out)
    assert all(len(line) <= 80 for line in said.out.splitlines()[1:])


def test_a_run_keeps_its_own_scores(place):
    assert main(["evaluate", str(place / "run"), "--groups", "accuracy", "--limit", "5"]) == 0
    assert json.loads((place / "run" / "scorecard.json").read_text())["settings"]["images"] == 5
    assert len(rows(place / "run")) == 5


def test_a_limit_takes_images_of_every_class_and_the_same_ones_for_the_same_seed(place, tmp_path):
    words = ["evaluate", str(place / "run"), "--groups", "accuracy", "--limit", "7"]
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert main([*words, "--seed", seed, "--out", str(tmp_path / name)]) == 0
    names = [[row["image"] for row in rows(tmp_path / name)] for name in "abc"]
    assert names[0] == names[1] != names[2]
    assert len({"cat" in name for name in names[0]}) == 2
    assert (tmp_path / "a" / "scorecard.json").read_bytes() == (tmp_path / "b" / "scorecard.json").read_bytes()


@pytest.mark.parametrize("spelled", [[NETWORK], ["--model", NETWORK]])
def test_a_network_by_name_with_weights(place, tmp_path, spelled):
    words = ["evaluate", *spelled, "--weights", str(place / "w.pth"), "--image-size", "32"]
    data = ["--data", f"folder:{place / 'photos'}", "--limit", "3", "--groups", "accuracy", "sparsity"]
    assert main([*words, *data, "--out", str(tmp_path / "scores")]) == 0
    card = Scorecard.load(tmp_path / "scores" / "scorecard.json")
    assert (card.name, card.settings["images"]) == ("shufflenet_v2_x0_5", 3)


def test_an_interrupted_evaluation_says_how_to_go_on_and_gives_the_same_files(place, tmp_path, capfd, monkeypatch):
    words = ["evaluate", str(place / "run"), "--quick", *FEW, "--batch-size", "5"]
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    measured, calls = scoring._measured, []

    def interrupted(subject, protocol):
        calls.append(len(subject))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(subject, protocol)

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
        (["{run}", "--output", "probability"], "--output goes with --method"),
        (["{run}", "--limit", "0"], "--limit=0"),
        (["{run}", "--batch-size", "0"], "batch.size=0"),
        (["{run}", "--weights", "{w}"], "has its own weights"),
        (["{run}", "--attack-levels", "300"], "300.* is out of range"),
        (["{run}", "--stages", "0"], "stages=0"),
        (["{run}", "--out", "{w}"], "cannot be written to"),
        ([NETWORK, "--data", "{data}", "--out", "{tmp}"], "has no weights"),
        ([NETWORK, "--weights", "{w}", "--data", "{data}"], "no run with a folder.*--out"),
        ([NETWORK, "--weights", "{w}", "--out", "{tmp}"], "pass --data"),
        ([NETWORK, "--weights", "{w}", "--weights", "{w}", "--out", "{tmp}"], "2 --weights for one network"),
        (["nowhere"], "no run directory nowhere"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(place, tmp_path, capfd, words, said):
    places = {"run": place / "run", "w": place / "w.pth", "data": f"folder:{place / 'photos'}", "tmp": tmp_path / "o"}
    assert main(["evaluate", *(word.format(**places) for word in words)]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gradsculpt:")]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]


def test_data_of_other_classes_are_matched_by_name_or_refused(place, tmp_path, capfd, monkeypatch):
    from gradsculpt.cli import evaluate
    from gradsculpt.cli.networks import open_classifier
    from gradsculpt.cli.runs import NamedNetwork
    from gradsculpt.progress import Reporter

    opened = open_classifier(str(place / "run"))
    network = opened.classifier
    images = opened.data({"data": None, "data_dir": None, "cache_dir": None}, Reporter()).test
    network.classes = ("bird", "dog", "cat")
    found = evaluate._labelled(NamedNetwork("mine", network), images)
    assert [found.classes[i] for i in found.labels] == [images.classes[i] for i in images.labels]
    assert set(found.labels.tolist()) == {1, 2}
    network.classes = ("bird", "dog")
    with pytest.raises(ArgumentError, match=r"mine knows no class cat, so 1 of the 2 classes .* bird, dog"):
        evaluate._labelled(NamedNetwork("mine", network), images)
    network.classes = ("0", "1")
    assert evaluate._labelled(NamedNetwork("mine", network), images) is images


def test_the_table_groups_rows_and_says_what_is_over_fewer_images(place, tmp_path, capfd):
    words = ["evaluate", str(place / "run"), *FEW, "--out", str(tmp_path), "--limit", "4"]
    assert main([*words, "--groups", "robustness-attack", "fidelity", "accuracy"]) == 0
    capfd.readouterr()
    card = Scorecard.load(tmp_path / "scorecard.json")
    result_console().print(table([card, card], ["accuracy", "insertion", "adv_insertion", "never_measured"]))
    shown = capfd.readouterr().out
    assert shown.index("accuracy") < shown.index("fidelity") < shown.index("insertion ↑")
    assert re.search(r"adv insertion ↑ \(2 images\)", shown)
    assert not re.search(r" insertion ↑ \(4", shown)
    assert "never" not in shown
