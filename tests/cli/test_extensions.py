"""Parts from outside the package work from the command line, and do what they say."""

import ast
import csv
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gradsculpt.cli.main import main
from gradsculpt.data import load_data
from gradsculpt.models import Classifier, load
from tests.extensions import mine

MINE = "tests.extensions.mine"
TINY = ["--data", f"python:{MINE}:halves", "--model", f"python:{MINE}:network", "--epochs", "2", "--batch-size", "10"]


def train(out: Path, *words: str) -> Classifier:
    assert main(["train", *TINY, "--threads", "1", "--out", str(out), *words]) == 0
    return load(out, trust_code=["tests"])


def same(a: Classifier, b: Classifier) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def index(folder: Path, name: str = "index.csv") -> list[dict[str, str]]:
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "plain"
    train(out)
    return out


@pytest.fixture(scope="module")
def clean(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("maps")
    assert main(["explain", str(run), "--data", f"python:{MINE}:halves", "--count", "2", "--out", str(out)]) == 0
    return out


def test_each_is_at_most_ten_lines() -> None:
    text = Path(mine.__file__).read_text()
    lines = text.splitlines()
    parts = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert {
        "Huber",
        "LogitDecay",
        "HalfStep",
        "Mirrored",
        "Brighter",
        "roughness",
        "Contrast",
        "halves",
        "network",
    } <= {node.name for node in parts}
    for node in parts:
        assert sum(bool(line.strip()) for line in lines[node.lineno - 1 : node.end_lineno]) <= 10, node.name


def test_data_and_a_model(run: Path) -> None:
    classifier = load(run, trust_code=["tests"])
    assert isinstance(classifier.network, torch.nn.Sequential)
    assert (classifier.classes, classifier.image_size) == (("0", "1"), 16)
    rows = [row for row in index(run, "metrics.csv") if row["val_accuracy"]]
    assert 0 <= float(rows[-1]["val_accuracy"]) <= 1
    images = (mine.halves(None)[0][0] / 255).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(classifier.space.mean, images, atol=0.02)
    assert main(["evaluate", str(run), "--data", f"python:{MINE}:halves", "--limit", "8"]) == 0
    assert json.loads((run / "scorecard.json").read_text())["settings"]["data"] == f"python:{MINE}:halves"


def test_a_penalty(tmp_path: Path) -> None:
    def trained(name: str, penalty: str) -> Classifier:
        return train(tmp_path / name, "--objective", f"adversarialtraining:penalty={penalty}")

    wide = trained("wide", f"{MINE}.Huber(weight=1000)")
    assert same(wide, trained("squares", "squared-l2(0.5)"))  # where nothing is cut off, it is half of the squares
    assert not same(wide, trained("narrow", f"{MINE}.Huber(weight=0.001)"))
    assert same(wide, trained("function", f"functionpenalty(fn={MINE}.half_squares)"))


def test_the_penalty_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.search(r"```python\n([^`]*class Huber[^`]*)```", (Path(__file__).parents[2] / "README.md").read_text())
    assert shown is not None
    (tmp_path / "shown_in_the_readme.py").write_text(shown[1])
    monkeypatch.syspath_prepend(tmp_path)
    runs = [
        train(tmp_path / str(number), "--objective", f"adversarialtraining:penalty={module}.Huber(weight=0.01)")
        for number, module in enumerate((MINE, "shown_in_the_readme"))
    ]
    assert same(*runs)
    shipped = importlib.import_module("shown_in_the_readme").Huber(0.5)
    g = torch.linspace(-2, 2, 12).view(3, 4)
    for step in (0.1, 3.0):
        torch.testing.assert_close(shipped.prox(g, step), minimiser(shipped, g, step), atol=2e-3, rtol=0)
    torch.testing.assert_close(shipped.value(g) + shipped.conjugate(shipped.dual(g)), (g * shipped.dual(g)).sum(dim=1))


def minimiser(penalty: mine.Huber, v: torch.Tensor, step: float) -> torch.Tensor:
    """Find the proximal map of every entry on a grid."""
    grid = torch.linspace(-2, 2, 4001)
    cost = torch.stack([penalty.value(u.view(1, 1))[0] for u in grid]) + (grid - v[..., None]).square() / (2 * step)
    return grid[cost.argmin(dim=-1)]


def test_an_objective_has_its_column_and_its_effect(tmp_path: Path) -> None:
    strong, weak = (train(tmp_path / str(w), "--objective", f"{MINE}.LogitDecay:weight={w}") for w in (10, 0))
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert strong(x).square().mean() < 0.5 * weak(x).square().mean()
    assert any(row["train_logit_decay"] for row in index(tmp_path / "10", "metrics.csv"))


def test_a_perturbation_beside_shipped_parts(tmp_path: Path) -> None:
    half = f"adversarial-training(penalty=SquaredL2(weight=2), perturbation={MINE}.HalfStep)"
    assert same(train(tmp_path / "half", "--objective", half), train(tmp_path / "one", "--objective", ONE))
    assert not same(
        load(tmp_path / "half", trust_code=["tests"]), train(tmp_path / "two", "--objective", ONE.replace("1", "2"))
    )


ONE = "adversarialtraining:penalty=squaredl2(weight=1)"


def test_a_file_takes_the_same_texts_and_the_run_repeats_them(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(f"objective:\n  class_path: Sum\n  init_args:\n    objectives: [{MINE}.LogitDecay:0.5, '{ONE}']\n")
    typed = f"sum:objectives=[{MINE}.LogitDecay(weight=0.5),{ONE.replace(':', '(', 1)})]"
    first = train(tmp_path / "typed", "--objective", typed)
    assert same(first, train(tmp_path / "file", "--config", str(file)))
    written = yaml.safe_load((tmp_path / "typed" / "config.yaml").read_text())["objective"]["init_args"]["objectives"]
    assert written[0]["class_path"] == f"{MINE}.LogitDecay"
    assert written[0]["init_args"]["weight"] == 0.5
    again = ["train", "--config", str(tmp_path / "typed" / "config.yaml"), "--out", str(tmp_path / "again")]
    assert main(again) == 2  # the file alone makes no code run
    assert not (tmp_path / "again").exists()
    assert main([*again, "--trust-code", "tests"]) == 0
    assert same(first, load(tmp_path / "again", trust_code=["tests"]))


@pytest.mark.parametrize("method", [f"{MINE}.Mirrored", f"{MINE}.Mirrored:base=gradient(logit)", f"{MINE}.mirrored"])
def test_an_attribution(run: Path, clean: Path, tmp_path: Path, method: str) -> None:
    words = ["explain", str(run), "--data", f"python:{MINE}:halves", "--count", "2", "--out", str(tmp_path)]
    assert main([*words, "--method", method]) == 0
    for plain, own in zip(index(clean), index(tmp_path), strict=True):
        assert own["method"].startswith(f"{MINE}.")
        np.testing.assert_array_equal(np.load(tmp_path / own["array"]), np.load(clean / plain["array"])[..., ::-1])


def test_an_attribution_in_a_shipped_one_and_the_other_way_round(run: Path, clean: Path, tmp_path: Path) -> None:
    words = ["explain", str(run), "--data", f"python:{MINE}:halves", "--count", "2", "--out", str(tmp_path)]
    methods = [
        "sparsified:keep=0.1",
        f"sparsified:base={MINE}.Mirrored,keep=0.1",
        f"{MINE}.Mirrored(sparsified(keep=0.1))",
    ]
    assert main([*words, "--method", *methods]) == 0
    rows = [row for row in index(tmp_path) if row["image"] == index(tmp_path)[0]["image"]]
    shipped, inside, outside = (np.load(tmp_path / row["array"]) for row in rows)
    np.testing.assert_array_equal(inside, shipped[..., ::-1])
    np.testing.assert_array_equal(outside, shipped[..., ::-1])


@pytest.mark.parametrize(("attack", "levels"), [("Brighter", 4.0), ("Brighter:share=0.5", 2.0)])
def test_an_attack(run: Path, tmp_path: Path, attack: str, levels: float) -> None:
    words = ["attack", str(run), "--data", f"python:{MINE}:halves", "--count", "2", "--out", str(tmp_path)]
    assert main([*words, "--eps", "4", "--attack", f"{MINE}.{attack}"]) == 0
    test = load_data(f"python:{MINE}:halves", data_dir=tmp_path, cache_dir=tmp_path, image_size=16).test
    for row in index(tmp_path):
        number = test.names.index(next(name for name in test.names if name.replace("/", "_") == row["image"]))
        expected = np.minimum(test.images[number].transpose(2, 0, 1) / 255 + levels / 255, 1)
        np.testing.assert_allclose(np.load(tmp_path / f"{row['image']}.attacked.npy"), expected, atol=1e-5)


def test_a_metric_joins_the_scorecard(run: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(run), "--limit", "8", "--out", str(tmp_path)]
    assert main([*words, "--groups", "accuracy", f"{MINE}.roughness"]) == 0
    scores = json.loads((tmp_path / "scorecard.json").read_text())["scores"]
    assert {"accuracy", "roughness"} <= set(scores)
    assert scores["roughness"]["mean"] > 0


def test_a_group_of_scores_with_its_setting(run: Path, tmp_path: Path) -> None:
    def share(*groups: str) -> float:
        words = ["evaluate", str(run), "--limit", "8", "--out", str(tmp_path), "--groups"]
        assert main([*words, *groups]) == 0
        return float(json.loads((tmp_path / "scorecard.json").read_text())["scores"]["strong_pixels"]["mean"])

    assert share("accuracy", f"{MINE}.Contrast:threshold=-1") == 1
    assert 0 < share("accuracy", f"{MINE}.Contrast:threshold=0.2") < 1
    assert share(f"{MINE}.Contrast:threshold=1") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objective", "nowhere.Mine"], "objective nowhere.Mine cannot be imported: there is no module 'nowhere'"),
        (["--objective", f"{MINE}.LogitDecai:weight=1"], "has no object 'LogitDecai'. Did you mean LogitDecay?"),
        (
            ["--objective", f"{MINE}.Huber:weight=1"],
            "is no Objective; derive a class from gradsculpt.objectives.Objective",
        ),
        (
            ["--objective", f"{MINE}.LogitDecay:wait=1"],
            "no setting 'wait'; its settings are weight. Did you mean weight?",
        ),
        (["--objective", f"{MINE}.LogitDecay:weight=a"], "weight=a cannot be used; it takes a number."),
        (["--objective", f"{MINE}.mirrored"], "is no Objective"),
        (["--objective", "adversarial"], "objective adversarial is not known; choose from crossentropy, "),
        (["--data", f"python:{MINE}:halve"], "has no callable 'halve'. Did you mean halves?"),
    ],
    ids=lambda value: value[-1][-30:] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), *words]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.Huber", "nowhere.Huber is code of the module 'nowhere', which only a file names"),
        ("tests.nowhere.Huber", "tests.nowhere.Huber cannot be imported: there is no module 'tests.nowhere'"),
        (f"{MINE}.Hubr", "has no object 'Hubr'. Did you mean Huber?"),
        ("gradsculpt.penalties.ElasticNt", "Did you mean gradsculpt.penalties.ElasticNet?"),
    ],
)
def test_a_class_path_of_a_file_that_leads_nowhere_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], path: str, said: str
) -> None:
    penalty = {"class_path": path, "init_args": {"weight": 0.1}}
    training = {"class_path": "gradsculpt.objectives.AdversarialTraining", "init_args": {"penalty": penalty}}
    whole = {"class_path": "gradsculpt.objectives.Sum", "init_args": {"objectives": [training]}}
    for objective in (training, whole):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"objective": objective}))
        assert main(["train", *TINY, "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run")]) == 2
        lines = capfd.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert said in lines[0]
