"""Copies of sets that are given to studies: one that nothing is trained on is told, and not passed over in silence."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gradsculpt.cli import study
from gradsculpt.progress import Reporter


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        (
            "cpu",
            "--data cub-gha is not used: what is trained at scale cpu takes cells; name that set, or another scale.",
        ),
        ("paper", ""),
    ],
)
def test_a_copy_that_nothing_is_trained_on_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str, told: str
) -> None:
    monkeypatch.setattr(study, "perform_tasks", lambda *_: None)
    (tmp_path / "birds").mkdir()
    screen = io.StringIO()
    words = ["run", "advgrad-table4", "--scale", scale, "--data", f"cub-gha=folder:{tmp_path / 'birds'}"]
    study.run([*words, "--out", str(tmp_path / "out")], Reporter(Console(file=screen, width=400)))
    lines = [line for line in screen.getvalue().splitlines() if "not used" in line]
    assert lines == ([told] if told else [])
