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


def test_the_list_has_every_study(capsys: pytest.CaptureFixture[str]) -> None:
    """With its title."""
    assert main(["study", "list"]) == 0
    told = capsys.readouterr().out
    for name in studies.names():
        assert f"{name} " in told
        assert studies.read(name).title in told
