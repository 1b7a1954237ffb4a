"""Every file that a command writes appears whole: nothing is opened for writing under its own name."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradsculpt.cli.main import main
from gradsculpt.files import _DRAFT
from gradsculpt.locks import LOCK

GROWING = {"scorecard.part.csv", LOCK, ".gradsculpt-scores.lock", ".net.pt.lock"}
"""What is no result: rows that are added as they come, read back up to the last whole one; and locks."""

TRAIN = ["--data", "digits", "--image-size", "8", "--train-count", "64", "--batch-size", "32", "--threads", "1"]
TRAIN += ["--epochs", "1", "--device", "cpu"]
SCORE = ["--limit", "4", "--groups", "accuracy", "sparsity"]

opened = list[Path]()
watching = list[Path]()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and watching and isinstance(arguments[0], str | bytes | os.PathLike):
        path, flags = Path(os.fsdecode(arguments[0])), arguments[2]
        if flags & (os.O_WRONLY | os.O_RDWR) and path.is_relative_to(watching[-1]):
            opened.append(path)


sys.addaudithook(_watch)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    watching.append(tmp_path)
    opened.clear()
    yield tmp_path
    watching.clear()


def openly(out: Path) -> list[Path]:
    """Return what was opened for writing under a name of its own, and is no file of a folder that is renamed later."""
    names = [path.relative_to(out) for path in opened if not _DRAFT.fullmatch(path.name) and path.name not in GROWING]
    return [name for name in names if not any(part.startswith(".building-") for part in name.parts)]


def test_no_command_writes_a_file_under_its_own_name(out: Path) -> None:
    run = str(out / "run")
    teacher = ["--objective", "explanation_distillation:weight=1.0,eps=0.1,teacher_epochs=1"]
    commands = [
        ["train", *TRAIN, *teacher, "--out", run],
        ["explain", run, "--data", "digits", "--count", "2", "--out", str(out / "maps")],
        ["attack", run, "--data", "digits", "--count", "2", "--steps", "1", "--out", str(out / "attacked")],
        ["features", run, "--classes", "3", "--steps", "1", "--out", str(out / "pictures")],
        ["export", run, "--torchscript", str(out / "net.pt")],
        ["evaluate", run, *SCORE, "--html", str(out / "page.html"), "--count", "1"],
    ]
    for words in commands:
        assert main(words) == 0, words
    assert openly(out) == []
    suffixes = {".safetensors", ".ckpt", ".yaml", ".csv", ".json", ".npy", ".png", ".html", ".pt"}
    assert {path.suffix for path in opened} >= suffixes
    assert [path for path in out.rglob(".*") if path.is_file()] == []


def test_it_would_be_seen(out: Path) -> None:
    (out / "file.txt").write_text("half of")
    assert openly(out) == [Path("file.txt")]
