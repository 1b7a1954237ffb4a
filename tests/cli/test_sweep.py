"""`gradsculpt sweep`: what is typed becomes trainings, which are done once, judged, and chosen from."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradsculpt.cli import sweep
from gradsculpt.cli.main import main
from gradsculpt.evaluation import Scorecard
from gradsculpt.studies.engine.store import TASKS
from gradsculpt.studies.sweep import BASELINE, Judged

SMALL = ["--data", "cells", "--model", "convnet", "--image-size", "32", "--epochs", "1", "--train-count", "60"]


def told(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Return the one line by which a mistake is refused, before anything is done."""
    assert main(["sweep", *words]) == 2
    message = capfd.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no settings are given to try; pass --grid"),
        ("--grid lr=.1 --list lr=.2", "--grid and --list exclude each other"),
        ("--grid lr", "--grid lr sets nothing"),
        ("--grid lr=", "--grid lr= sets nothing"),
        ("--grid lr=.1,,.2", "empty value"),
        ("--grid lr=.1 lr=.2", "sets lr twice"),
        ("--grid lr=.1..1", "a range, of which a grid cannot try every number"),
        ("--grid seed=1,2", "pass --seeds"),
        ("--grid device=cpu,cuda", "device does not decide"),
        ("--grid lrr=.1", "lrr"),
        ("--grid lr=.1,-1", "lr=-1"),
        ("--recipe aga-l2 --grid objective.l3=1", "no setting 'l3'"),
        ("--recipe aga-l2 --grid objective.l2=1,-2", "l2=-2.0 is out of range"),
        ("--recipe nope --grid lr=.1", "no recipe 'nope'"),
        ("--list 'lr=.1' 'lr'", "--list lr sets nothing"),
        ('--list "lr=\'.1"', "cannot be read"),
        ("--list ' '", "an empty setting"),
        ("--grid lr=.1 --groups fidelty", "mean fidelity"),
        ("--grid lr=.1 --method gradent", "gradent"),
        ("--grid lr=.1 --within -1", "--within=-1"),
        ("--grid lr=.1 --baseline lr", "--baseline lr sets nothing"),
        ("--grid lr=.1 --baseline lr=-1", "lr=-1"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    line: str, message: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in told(shlex.split(line), capfd)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--search 3", "--search looks within --grid"),
        ("--search 3 --list lr=.1", "takes no --list"),
        ("--search 3 --grid lr=.1..1,2", "mixes the range .1..1"),
        ("--search 3 --grid lr=1..0", "no number between its ends"),
        ("--search 3 --grid lr=0..1:log", "powers of ten"),
        ("--search 3 --grid lr=-1..1", "lr=-1"),
        ("--search 3 --recipe aga-l2 --grid objective.l2=0..1 optimizer=adam,adan", "adan"),
        ("--search 0 --grid lr=.1", "--search=0"),
    ],
)
def test_mistakes_of_a_search_are_told_before_anything_is_trained(
    line: str, message: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gradsculpt.studies.search.check_installed", lambda: None)
    assert message in told(shlex.split(line), capfd)


def test_a_search_without_optuna_says_what_to_install(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gradsculpt.studies.search.find_spec", lambda name: None)
    message = told(shlex.split("--search 3 --grid lr=1e-3..1e-2"), capfd)
    assert "pip install 'gradsculpt[sweep]'" in message


class _BeganError(Exception):
    """The words were understood, and the work would begin."""


@pytest.mark.parametrize("example", sweep._EXAMPLES)
def test_the_examples_of_the_help_are_understood(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def began(*given: object) -> None:
        raise _BeganError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "prepare", began)
    monkeypatch.setattr("gradsculpt.studies.search.check_installed", lambda: None)
    with pytest.raises(_BeganError):
        main(shlex.split(example)[1:])


def tried(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Return the settings of the trainings of a command line by row, without doing them."""
    plans: list[Any] = []

    class Watched(sweep._Sweep):
        def _measure_baseline(self) -> None:
            pass

        def _try(self) -> None:
            plans.append(self._plan())

        def tell(self) -> None:
            pass

    monkeypatch.setattr(sweep, "_Sweep", Watched)
    monkeypatch.chdir(folder)
    assert main(["sweep", *shlex.split(line)]) == 0
    return {row: dict(task.settings) for (row, _), task in plans[-1].trainings.items()}


def test_a_grid_changes_what_it_names_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tried("--recipe aga-l2-cos --epochs 3 --grid objective.l2=.1,.2 lr=1e-2", tmp_path, monkeypatch)
    assert list(found) == [BASELINE, "l2=.1 lr=1e-2", "l2=.2 lr=1e-2"]
    for l2 in (0.1, 0.2):
        settings = found[f"l2={l2:g} lr=1e-2".replace("0.", ".")]
        assert settings["objective"]["init_args"]["l2"] == l2
        assert settings["objective"]["init_args"]["cosine"] == 1.0
        assert (settings["lr"], settings["epochs"], settings["softplus"]) == (0.01, 3, 3)
    baseline = found[BASELINE]
    assert baseline["objective"]["class_path"].endswith("CrossEntropy")
    assert (baseline["lr"], baseline["epochs"], baseline["softplus"]) == (1e-3, 3, 3)


def test_values_may_hold_commas_in_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--grid 'objective=gradientpenalty(elasticnet(0.01,0.02)),crossentropy' milestones=[7,10] --schedule step"
    found = tried(line, tmp_path, monkeypatch)
    assert len(found) == 3
    penalty = next(each for name, each in found.items() if "elasticnet" in name)["objective"]["init_args"]["penalty"]
    assert penalty["init_args"] == {"l1": 0.01, "l2": 0.02}
    assert list(found["objective=crossentropy milestones=[7,10]"]["milestones"]) == [7, 10]


def test_recipes_are_swept_and_the_baseline_is_trained_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tried("--list recipe=aga-l2 'recipe=l1 lr=1e-2'", tmp_path, monkeypatch)
    assert list(found) == [BASELINE, "recipe=aga-l2", "recipe=l1 lr=1e-2"]
    assert found[BASELINE]["softplus"] == 3
    assert found[BASELINE]["objective"]["class_path"].endswith("CrossEntropy")
    assert found["recipe=l1 lr=1e-2"]["objective"]["class_path"].endswith("AdversarialTraining")


def test_a_baseline_drops_settings_of_the_objective_that_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tried("--recipe aga-l2 --objective.l2 3 --grid lr=1e-2", tmp_path, monkeypatch)
    assert found["lr=1e-2"]["objective"]["init_args"]["l2"] == 3
    assert found[BASELINE]["objective"]["class_path"].endswith("CrossEntropy")
    other = tried("--recipe aga-l2 --grid lr=1e-2 --baseline 'objective.l2=0 lr=.5'", tmp_path, monkeypatch)
    assert (other[BASELINE]["objective"]["init_args"]["l2"], other[BASELINE]["lr"]) == (0, 0.5)


def test_a_folder_of_images_may_be_named_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    options = sweep._parser().read(["--data", "folder:photos", "--grid", "lr=.1"])
    monkeypatch.chdir(tmp_path)
    common = sweep._common(["--data", "folder:photos", "--grid", "lr=.1"], options)
    assert common == {"data": f"folder:{tmp_path / 'photos'}"}


def test_a_sweep_trains_scores_chooses_and_goes_on_where_it_stopped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every network is judged on validation images; a second call, and a greater grid, do only what is new."""
    words = ["sweep", *SMALL, "--recipe", "aga-l2", "--grid", "objective.l2=.1", "--out", str(tmp_path)]
    words += ["--groups", "accuracy", "sparsity", "--best", "gini", "--within", "1"]
    assert main(words) == 0
    out = capfd.readouterr().out
    assert "l2=.1: gini" in out
    cards = [Scorecard.load(path) for path in tmp_path.glob(f"{TASKS}/evaluate-*/scorecard.json")]
    assert [card.settings["split"] for card in cards] == ["val", "val"]
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["objective"]["init_args"]["l2"] == 0.1
    assert all(name in (tmp_path / "README.md").read_text() for name in ("within 1 of the baseline", "l2=.1: gini"))
    assert (tmp_path / "pareto.png").is_file()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{TASKS}/*/done.json")}
    assert len(times) == 4
    assert main([*words, "--least", "2"]) == 0  # an accuracy that no network has
    assert "None of 1 setting is allowed" in capfd.readouterr().out
    assert not (tmp_path / "best.yaml").exists()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{TASKS}/*/done.json")} == times
    assert main([word.replace("gini", "ginni") for word in words]) == 2
    assert "ginni is not measured. Did you mean gini?" in capfd.readouterr().err


def test_a_search_is_told_how_its_settings_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for is trained and judged, each point in its place."""
    answers: list[Judged | None] = []

    def search(space: Any, trials: int, direction: str, measure: Any, **options: Any) -> None:
        assert (trials, direction, options) == (2, "higher", {"seed": 0, "at_once": 1})
        assert list(space) == ["objective.l2"]
        answers.extend(measure([{"objective.l2": "0.2"}]))

    monkeypatch.setattr("gradsculpt.studies.search.check_installed", lambda: None)
    monkeypatch.setattr("gradsculpt.studies.search.search", search)
    words = [*SMALL, "--recipe", "aga-l2", "--search", "2", "--grid", "objective.l2=.1..1", "--out", str(tmp_path)]
    assert main(["sweep", *words, "--groups", "accuracy", "sparsity", "--best", "gini"]) == 0
    (judged,) = answers
    assert judged is not None
    assert f"{judged.value:.4g}" in (tmp_path / "README.md").read_text()
