"""Errors become sentences, without paths and traces."""

import logging
from pathlib import Path

import pytest
import torch

from gradsculpt.errors import ArgumentError, DataError, ModelError
from gradsculpt.viewer.told import sentence, without_paths
from gradsculpt.viewer.work import Busy, Cancelled, TooLong


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/tmp/x/cat.jpg is empty", "cat.jpg is empty"),
        ("/tmp/x/my nice cat.jpg is empty", "my nice cat.jpg is empty"),
        ("/srv/my photos/a b/cat.jpg is empty", "cat.jpg is empty"),
        ("cannot read '/srv/x y/cat.jpg': denied", "cannot read 'cat.jpg': denied"),
        ("there is no run directory /srv/runs/en; pass one", "there is no run directory en; pass one"),
        ("data folder:/srv/photos has none.", "data folder:photos has none."),
        ("data folder:../photos/all has none.", "data folder:all has none."),
        ("see ~/models/w.pth.", "see w.pth."),
        (r"C:\Users\me\cat.jpg is empty", "cat.jpg is empty"),
        (r"\\server\share\cat.jpg is empty", "cat.jpg is empty"),
        ("file:///srv/x/cat.jpg is empty", "cat.jpg is empty"),
        ("weights:/srv/x/w.pth, see https://a.b/c/d", "weights:w.pth, see https://a.b/c/d"),
        ("pass eps=4/255 or 8/255, JPEG/PNG and/or 1/2", "pass eps=4/255 or 8/255, JPEG/PNG and/or 1/2"),
        ("no module named 'a.b' (see gs.load)", "no module named 'a.b' (see gs.load)"),
        ("from 0 to 1 / 2", "from 0 to 1 / 2"),
    ],
)
def test_of_paths_the_last_part_is_left(text: str, left: str) -> None:
    assert without_paths(text) == left


def test_relative_paths_that_exist_are_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "en").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert without_paths("runs/en is unfinished; runs/en/model.json and runs/no/more") == (
        "en is unfinished; model.json and runs/no/more"
    )


@pytest.mark.parametrize("kind", [ArgumentError, DataError, ModelError, Busy])
def test_errors_of_the_package_are_told_in_their_words(kind: type[Exception]) -> None:
    assert sentence(kind("the picture\n  /a/b/c.png is\nempty; replace it.")) == (
        "The picture c.png is empty; replace it."
    )


def test_work_that_is_stopped_is_told() -> None:
    assert sentence(Cancelled()) == "Cancelled."
    assert "longer than the 20 seconds" in sentence(TooLong(20))
    assert "memory" in sentence(MemoryError())
    assert "memory" in sentence(torch.OutOfMemoryError("CUDA out of memory"))


@pytest.mark.parametrize(
    "error", [RuntimeError("secret /etc/shadow"), OSError(2, "No such file", "/srv/x"), KeyError()]
)
def test_other_errors_are_in_the_log_alone(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "gradsculpt.viewer"):
        said = sentence(error)
    assert "/" not in said
    assert "secret" not in said
    number = said.rstrip(".").rpartition(" ")[2]
    (record,) = caplog.records
    assert number in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert sentence(error) != said  # each time has a number of its own
