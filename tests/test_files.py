"""A file appears whole or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from gradsculpt import files
from gradsculpt.files import whole


def test_the_draft_takes_the_name_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "table.csv"
    with whole(path) as draft:
        draft.write_text("a,b\n")
        assert draft.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "a,b\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()])
def test_a_failed_block_leaves_what_there_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write() -> None:
        with whole(path) as draft:
            draft.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_before_it_writes_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing yet"), whole(tmp_path / "new.npy"):
        raise ValueError("nothing yet")
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "x.bin", []
    plain = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, path.exists()))
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with whole(path) as draft:
        draft.write_bytes(b"123")
    assert synced == [(3, False)]


@pytest.mark.parametrize("lasting", [True, False])
def test_a_name_is_on_the_disk_too_unless_another_comes_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    waited = list[tuple[Path, bool]]()
    monkeypatch.setattr(files, "on_disk", lambda path: waited.append((path, (tmp_path / "x.bin").exists())))
    with whole(tmp_path / "x.bin", lasting=lasting) as draft:
        draft.write_bytes(b"123")
    assert waited == ([(tmp_path, True)] if lasting else [])
    files.on_disk(tmp_path / "not there")


def test_drafts_go_by_the_file_that_they_are_of(tmp_path: Path) -> None:
    names = {".a.7.png": "a.png", ".a.b.12.csv": "a.b.csv", ".plain.3": "plain"}
    for name in (*names, "a.7.png", ".a.png", ".a.x.png", ".7.png"):
        (tmp_path / name).write_bytes(b"")
    assert files.drafts(tmp_path) == {name: [tmp_path / draft] for draft, name in names.items()}
    files.sweep(tmp_path / "a.png")
    assert not (tmp_path / ".a.7.png").exists()
    assert len(list(tmp_path.iterdir())) == 6
    assert files.drafts(tmp_path / "not there") == {}


def test_writers_that_go_by_the_suffix_find_it(tmp_path: Path) -> None:
    with whole(tmp_path / "maps.npy") as draft:
        np.save(draft, np.arange(3))
    assert np.load(tmp_path / "maps.npy").tolist() == [0, 1, 2]
