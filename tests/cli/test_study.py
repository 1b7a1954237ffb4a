"""`gradsculpt study`: lists, shows, runs, skips what is done, and says in a line what is wrong."""

from pathlib import Path

import pytest

from gradsculpt.cli.main import main
from gradsculpt.studies import study as studies
from tests.studies.test_study import write

TINY = {
    "train": {"data": "cells", "model": "convnet", "image_size": 32, "epochs": 1, "train_count": 60, "recipe": None},
    "measure": {"scores": {"evaluate": {"groups": ["sparsity"], "limit": 4}}},
    "claims": [{"says": "smoothing makes maps sparser", "score": "scores.gini", "above": "plain"}],
    "scales": {},
}


def test_a_study_is_run_once_and_then_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call does nothing, and its page is the same; `show` tells what is done, without doing anything."""
    file, out = write(tmp_path, **TINY), tmp_path / "out"
    assert main(["study", "show", file, "--out", str(out)]) == 0
    assert "train      plain: -" in capsys.readouterr().out
    assert not out.exists()
    assert main(["study", "run", file, "--out", str(out)]) == 0
    assert "3 tasks" in capsys.readouterr().err
    page = (out / "trial" / "smoke" / "README.md").read_text(encoding="utf-8")
    assert "smoothing makes maps sparser" in page
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("done.json")}
    assert main(["study", "run", file, "--out", str(out)]) == 0
    assert "3 tasks of 3 were done before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("done.json")} == stamps
    assert (out / "trial" / "smoke" / "README.md").read_text(encoding="utf-8") == page
    assert main(["study", "show", file, "--out", str(out)]) == 0
    assert "train      plain: done in" in capsys.readouterr().out


def test_the_page_says_how_it_was_called(tmp_path: Path) -> None:
    """With the rows that were run; those that were done by a worker that got ready before they were known."""
    file, out = write(tmp_path, **TINY), tmp_path / "out"
    words = ["study", "run", file, "--out", str(out), "--only", "smooth", "--workers", "1"]
    assert main(words) == 0
    page = (out / "trial" / "smoke" / "README.md").read_text(encoding="utf-8")
    assert f"gradsculpt study run {file} --scale smoke --only smooth\n" in page
    assert "| plain | not run |" in page


def test_what_fails_holds_up_only_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that cannot be built: its row is left blank, the other is there, and the status tells."""
    networks = {"plain": {"recipe": "standard"}, "odd": {"recipe": "standard", "model": "lenet", "image_size": 30}}
    rows = {"plain": {"network": "plain"}, "odd": {"network": "odd"}}
    file = write(tmp_path, **{**TINY, "networks": networks, "rows": rows, "claims": []})
    assert main(["study", "run", file, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "odd failed: lenet halves its maps twice" in told
    table = (tmp_path / "out" / "trial" / "smoke" / "table.md").read_text(encoding="utf-8")
    assert "| odd | not run |" in table
    assert "| plain | not run |" not in table


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lsit"], "Did you mean list?"),
        (["run"], "no study is named"),
        (["run", "no-such"], "gradsculpt study list"),
        (["list", "duality"], "takes no names"),
        (["run", "duality", "--scale", "tiny"], "--scale"),
        (["run", "duality", "--data", "cifar10"], "NAME=folder:PATH"),
        (["run", "duality", "--workers", "0"], "--workers"),
        (["run", "duality", "--workers", "2", "--ray", "auto"], "exclude each other"),
        (["run", "duality", "--device", "cuda", "--ray", "auto"], "pass --gpus 1"),
        (["run", "FILE", "--data", "cells=folder:nowhere"], "there is no folder nowhere"),
        (["run", "FILE", "--only", "smoth"], "Did you mean smooth?"),
    ],
)
def test_mistakes_are_a_line(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and nothing is written."""
    file = write(tmp_path, **TINY)
    named = [file if word == "FILE" else word for word in words]
    assert main(["study", *named, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_run_here_can_be_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images that are not there stop a study when it is run, and not when it is looked at."""
    file = write(tmp_path, **{**TINY, "train": {**TINY["train"], "data": "folder:nowhere"}})  # type: ignore[dict-item]
    assert main(["study", "show", file, "--out", str(tmp_path / "out")]) == 0
    assert "train      plain: -" in capsys.readouterr().out
    assert main(["study", "run", file, "--out", str(tmp_path / "out")]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"measure": {"scores": {"evaluate": {"limit": "many"}}}}, "measure.scores, for plain: --limit=many"),
        ({"measure": {"scores": {"evaluate": {"limit": {"a": 1}}}}}, "no setting of an evaluation is a mapping"),
        ({"measure": {"scores": {"evaluate": {"limti": 3}}}}, "--limti"),
        ({"measure": {"scores": {"evaluate": {"method": "smothgrad"}}}}, "Did you mean smoothgrad?"),
        ({"measure": {"scores": {"evaluate": {"groups": ["sparsty"]}}}}, "Did you mean sparsity?"),
        ({"measure": {"scores": {"evaluate": {"out": "x"}}}}, "leave it away"),
        ({"measure": {"scores": {"evalaute": {}}}}, "Did you mean evaluate?"),
        ({"networks": {"plain": {"epochs": "many"}}}, "networks.plain: --epochs=many"),
        ({"claims": [{"says": "so", "score": "scores.gini", "least": 1}]}, "least is to have"),
        ({"figures": {"f": {"bars": {"scores": ["score.gini"]}}}}, "Did you mean scores?"),
        ({"figures": {"f": {"scatter": {"x": "scores.gini", "y": "accuracy"}}}}, "the measure 'accuracy'"),
        ({"figures": {"f": {"curves": {"measure": "scroes"}}}}, "Did you mean scores?"),
    ],
)
def test_a_file_that_cannot_work_is_told_before_anything_is_trained(
    changed: dict[str, object], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after hours, when the evaluation begins or the page is written."""
    file = write(tmp_path, **{**TINY, **changed})
    assert main(["study", "run", file, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


OWN = """
from dataclasses import dataclass
from gradsculpt.drawing import Drawing
from gradsculpt.metrics import Score
from gradsculpt.studies.experiments import Experiment
from gradsculpt.studies.figures import Figure

@dataclass(frozen=True)
class Twice(Experiment):
    takes = "nothing"
    number: float = 1.0

    def run(self, given):
        given.keep({Score("doubled", 0.0, None, "higher"): {"a": 2 * self.number, "b": 3 * self.number}})

@dataclass(frozen=True)
class Line(Figure):
    measure: str

    def draw(self, results):
        figure = Drawing(figsize=(2, 2))
        figure.subplots().plot([1, 2])
        return figure
"""


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["in turn", "workers"])
def test_a_study_may_name_code_of_the_current_folder_that_is_trusted(
    workers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An experiment and a figure; when their code changes, what was measured by it is measured again."""
    module = f"own_of_{len(workers)}"
    monkeypatch.chdir(tmp_path)
    Path(f"{module}.py").write_text(OWN, encoding="utf-8")
    rows = {"a | b": {"twice": {"number": 2.0}}, "a < b": {"twice": {"number": 4.0}}}
    own = {"measure": {"twice": {f"{module}.Twice": {}}}, "rows": rows, "networks": {}, "train": {}, "scales": {}}
    table = {"doubled": {"score": "twice.doubled", "published": {"a | b": "1 | 2"}}, "odd": {"score": "twice.doubeld"}}
    figures = {"f": {f"{module}.Line": {"measure": "twice"}}}
    file = write(tmp_path, **own, table=table, figures=figures)
    assert main(["study", "run", Path(file).name, "--out", "out", *workers]) == 2
    assert f"pass --trust-code {module}" in capsys.readouterr().err
    trust = ["--trust-code", module]
    assert main(["study", "run", Path(file).name, "--out", "out", *workers, *trust]) == 0
    assert "twice.doubeld was not measured. Did you mean doubled?" in capsys.readouterr().err
    folder = tmp_path / "out" / "trial" / "smoke"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "| a \\| b | 5.00 [4.00, 6.00] | 1 \\| 2 |" in text
    assert "| a &lt; b | 10.00 [8.00, 12.00] |  |" in text
    assert "gradsculpt study run trial.yaml --scale smoke" in text
    assert (folder / "f.png").is_file()
    assert main(["study", "run", Path(file).name, "--out", "out", "--only", "a < b", *trust]) == 0
    assert (folder / "README.md").read_text(encoding="utf-8") == text  # what was done before is still there


def test_the_module_of_a_stranger_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two studies of one name, and a module that is not there, are a line."""
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, measure={"twice": {"nowhere_at_all.Twice": {}}}, table={}, rows={"a": {}})
    assert main(["study", "run", file, "--out", "out"]) == 2
    assert (
        "nowhere_at_all.Twice is code of the module 'nowhere_at_all', which only a file names"
        in capsys.readouterr().err
    )
    (tmp_path / "duality.yaml").write_text(Path(file).read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["study", "run", "duality", "duality.yaml", "--out", "out"]) == 2
    assert "two of the studies are called duality" in capsys.readouterr().err


def test_the_list_has_every_study(capsys: pytest.CaptureFixture[str]) -> None:
    """With its title."""
    assert main(["study", "list"]) == 0
    told = capsys.readouterr().out
    for name in studies.names():
        assert f"{name} " in told
        assert studies.read(name).title in told
