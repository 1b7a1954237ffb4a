"""Whatever a command writes into has one writer, and what a run holds is changed by no other command."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradsculpt.cli import demo
from gradsculpt.cli.main import main
from gradsculpt.evaluation import Scorecard, scoring
from gradsculpt.locks import LOCK, locked
from gradsculpt.training import run as training
from gradsculpt.training.module import ClassifierModule

FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "64", "--train-count", "128", "--threads", "1"]


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def aside(work: Callable[[], Any]) -> Any:
    """Return what another thread returns."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("writers") / "run"
    assert main(["train", *FLAGS, "--epochs", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


WRITERS = {
    "train": ["train", *FLAGS, "--epochs", "1", "--out", "{held}"],
    "evaluate": ["evaluate", "{run}", "--limit", "2", "--out", "{held}"],
    "explain": ["explain", "{run}", "{image}", "--out", "{held}"],
    "attack": ["attack", "{run}", "{image}", "--steps", "1", "--out", "{held}"],
    "features": ["features", "{run}", "--classes", "3", "--steps", "1", "--out", "{held}"],
    "compare": ["compare", "{run}", "--limit", "2", "--out", "{page}"],
    "demo": ["demo", "--out", "{held}"],
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_being_written_to_is_left_alone(
    name: str, run: Path, image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = tmp_path / "held-scores"
    places = {"run": run, "image": image, "held": held, "page": tmp_path / "held.html"}
    words = [word.format(**places) for word in WRITERS[name]]
    held.mkdir()
    (held / "note.txt").write_text("of the first")
    with locked(held, "train"):
        before = tree(held)
        assert aside(lambda: main(words)) == 2
        lines = capfd.readouterr().err.splitlines()
        assert re.search(r"is being written to \(train by process \d+ on .* since .*pass another --out", lines[-1])
        assert sum(line.startswith("gradsculpt:") for line in lines) == 1
        assert tree(held) == before
    assert not places["page"].exists()


def test_a_run_that_is_being_trained_is_neither_trained_nor_scored_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, start, calls = tmp_path / "run", ClassifierModule.on_train_epoch_start, list[int]()

    def others(self: ClassifierModule) -> None:
        if not calls:
            calls.append(aside(lambda: main(["train", *FLAGS, "--epochs", "2", "--resume", "--out", str(out)])))
            calls.append(aside(lambda: main(["train", "--resume", "--out", str(out)])))
        start(self)

    monkeypatch.setattr(ClassifierModule, "on_train_epoch_start", others)
    assert main(["train", *FLAGS, "--epochs", "2", "--out", str(out)]) == 0
    assert calls == [2, 2]
    assert "is being written to (train by" in capfd.readouterr().err
    assert (out / "metrics.csv").read_text().count("\n") == 3
    assert not (out / LOCK).exists()


def test_of_two_trainings_that_start_together_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words, opened = ["train", *FLAGS, "--epochs", "1", "--out", str(tmp_path / "run")], training.open_data
    calls: list[int | None] = []

    def together(*given: Any) -> Any:
        if not calls:
            calls.append(None)
            calls.append(aside(lambda: main([*words, "--lr", "0.5"])))
        return opened(*given)

    monkeypatch.setattr(training, "open_data", together)
    assert main(words) == 0
    assert calls == [None, 2]
    assert "is being written to" in capfd.readouterr().err
    assert "lr: 0.001" in (tmp_path / "run" / "config.yaml").read_text()


def test_of_two_evaluations_of_a_run_one_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    copy, measured, calls = shutil.copytree(run, tmp_path / "run"), scoring._measured, list[int]()
    words = ["evaluate", str(copy), "--limit", "81", "--groups", "accuracy", "--batch-size", "20"]

    def together(*given: Any, **named: Any) -> Any:
        if not calls:
            calls.append(aside(lambda: main(words)))
        return measured(*given, **named)

    monkeypatch.setattr(scoring, "_measured", together)
    assert main(words) == 0
    assert calls == [2]
    assert "is being written to (evaluate by" in capfd.readouterr().err
    assert len((copy / "scorecard.csv").read_text().splitlines()) == 82  # with the heading
    assert Scorecard.load(copy / "scorecard.json").settings["images"] == 81


def test_a_run_that_may_only_be_read_is_scored_elsewhere(run: Path, tmp_path: Path) -> None:
    before = tree(run)
    assert main(["evaluate", str(run), "--limit", "2", "--out", str(tmp_path / "scores")]) == 0
    assert tree(run) == before


def test_a_run_that_was_moved_makes_no_folder_where_its_cache_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--data", "cells", "--train-count", "40", "--image-size", "16", "--threads", "1", "--epochs", "1"]
    assert main(["train", *flags, "--cache-dir", "shared", "--out", "run"]) == 0
    assert not (tmp_path / "run" / "cache").exists()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["evaluate", str(tmp_path / "run"), "--limit", "2", "--groups", "accuracy"]) == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_comparison_leaves_the_scores_of_the_runs_as_they_are(run: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(run), "--limit", "8"]) == 0
    (run / "scorecard.part.csv").write_text("of an evaluation that was interrupted\n")
    before, page = tree(run), tmp_path / "page.html"
    assert main(["compare", str(run), str(run), "--limit", "4", "--count", "1", "--out", str(page)]) == 0
    assert tree(run) == before
    cards = sorted((tmp_path / "page-scores").rglob("scorecard.json"))
    assert [card.parent.name for card in cards] == ["run", "run-2"]
    assert {Scorecard.load(card).settings["images"] for card in cards} == {4}
    (run / "scorecard.part.csv").unlink()


@pytest.mark.parametrize("name", ["page.png", "folder"])
def test_a_page_takes_the_place_of_nothing_else(
    name: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    assert main(["compare", str(run), "--limit", "2", "--out", str(tmp_path / name)]) == 2
    assert "no page can be written there" in capfd.readouterr().err


def test_a_demo_removes_the_run_of_nobody_else(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_COMMON", "--data cells --epochs 1")
    shutil.copytree(run, tmp_path / "elastic-net")
    before = tree(tmp_path)
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "elastic-net holds a run that is no demo's" in capfd.readouterr().err
    assert tree(tmp_path) == before


def test_files_of_a_run_hold_strict_json(run: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert main(["evaluate", str(run), "--quick", "--limit", "4", "--groups", "accuracy", "sparsity"]) == 0
    read = {path.name: json.loads(path.read_text(), parse_constant=refuse) for path in run.rglob("*.json")}
    assert {"model.json", "scorecard.json"} <= read.keys()
    assert read["scorecard.json"]["scores"]["negative_log_likelihood"]["score"]["high"] is None
    assert Scorecard.load(run / "scorecard.json")["negative_log_likelihood"].score.high == float("inf")


IDLE = [
    (["evaluate", "{run}", "--method", "lrp", "--attribution", "X"], "attribution"),
    (["evaluate", "{run}", "--meth", "lrp"], "--meth"),
    (["evaluate", "{run}", "--groups", "accuracy", "--groups", "sparsity"], "--groups is given twice"),
    (["explain", "{run}", "{image}", "--method", "gradient", "--method", "lrp", "--out", "{o}"], "given twice"),
    (["explain", "{run}", "{image}", "--count", "3", "--out", "{o}"], "--count has no effect on image files"),
    (["explain", "{run}", "{image}", "--split", "val", "--out", "{o}"], "--split has no effect on image files"),
    (["explain", "{run}", "{image}", "--data-dir=x", "--out", "{o}"], "--data-dir has no effect on image files"),
    (["explain", "{run}", "{image}", "--cache-dir", "x", "--out", "{o}"], "--cache-dir has no effect on image files"),
    (["attack", "{run}", "{image}", "--count", "3", "--out", "{o}"], "--count has no effect on image files"),
    (["attack", "{run}", "{image}", "--attack", "topk:steps=2", "--steps", "3", "--out", "{o}"], "steps.*twice"),
    (["explain", "{run}", "{image}", "--method", "gradient:output=logit", "--output", "probability", "--out", "{o}"],
     "output.*twice"),
    (["explain", "{run}", "--data", "digits", "--count", "0", "--out", "{o}"], "--count=0"),
    (["features", "{run}", "--data", "digits", "--out", "{o}"], "--data has no effect without --colours data"),
    (["train", "--out", "{o}", "--optimizer", "adam", "--momentum", "0.5"], "--momentum has no effect without"),
    (["train", "--out", "{o}", "--optimizer", "sgd", "--betas", "[0.5,0.6]"], "--betas has no effect with"),
    (["train", "--out", "{o}", "--milestones", "[1]"], "--milestones has no effect without --schedule step"),
    (["train", "--out", "{o}", "--schedule", "cosine", "--gamma", "0.5"], "--gamma has no effect without"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), IDLE, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_an_option_that_would_be_ignored_is_refused(
    words: list[str], said: str, run: Path, image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(run=run, image=image, o=tmp_path / "o") for word in words]) == 2
    assert re.search(said, capfd.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "o").exists()


def test_pictures_of_an_earlier_call_are_told_of(
    run: Path, image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["explain", str(run), str(image), "--out", str(tmp_path / "maps")]
    assert main(words) == main(words) == 0
    assert "other pictures" not in capfd.readouterr().err
    assert main([*words, "--method", "inputxgradient"]) == 0
    assert "3 other files there, .png or .npy, not of this call" in capfd.readouterr().err


def test_several_files_of_settings_count_in_their_order(tmp_path: Path) -> None:
    from gradsculpt.cli.settings import read_settings

    (tmp_path / "a.yaml").write_text("recipe: l1\nlr: 0.5\nepochs: 3\n")
    (tmp_path / "b.yaml").write_text("lr: 0.25\n")
    files = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    settings = read_settings([*files, "--out", "x"])
    assert (settings.recipe, settings.epochs, settings.optimization.lr) == ("l1", 3, 0.25)
    assert "L1" in repr(settings.objective)
