"""What is written into a folder stays in it, whatever links somebody has left there."""

from pathlib import Path

import pytest

from gradsculpt.cli.folder import ResultFolder
from gradsculpt.errors import RunError
from gradsculpt.files import whole
from gradsculpt.links import inside, unlinked
from gradsculpt.locks import LOCK, locked, writer


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_text("all I have")
    (tmp_path / "out").mkdir()
    return path


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    for target in (tmp_path / "elsewhere", tmp_path / "nowhere", Path("..")):
        (tmp_path / "out" / "cache").symlink_to(target)
        with pytest.raises(RunError, match=r"cache is a link to .*stays in it\. .*--cache-dir"):
            inside(tmp_path / "out", "cache")
        (tmp_path / "out" / "cache").unlink()
    assert inside(tmp_path / "out", "cache") == tmp_path / "out" / "cache"


def test_a_file_that_is_a_link_is_written_anew(precious: Path) -> None:
    out = precious.parent / "out"
    for name, write in (
        ("file.txt", lambda path: unlinked(path).write_text("new")),
        ("whole.txt", _whole),
        ("index.csv", lambda path: ResultFolder(path.parent).index([{"image": "a"}])),
    ):
        (out / name).symlink_to(precious)
        write(out / name)
        assert not (out / name).is_symlink(), name
        assert precious.read_text() == "all I have", name


def _whole(path: Path) -> None:
    with whole(path) as draft:  # its name is known to whoever has written such a file before
        draft.write_text("new")
    path.unlink()
    draft.symlink_to(path.parent.parent / "precious")
    path.symlink_to(path.parent.parent / "precious")
    with whole(path) as draft:
        draft.write_text("new")


def test_a_lock_that_is_a_link_is_refused(precious: Path) -> None:
    (precious.parent / "out" / LOCK).symlink_to(precious)
    with pytest.raises(RunError, match="cannot be written to"), locked(precious.parent / "out", "train"):
        pass
    assert writer(precious.parent / "out") is None
    assert precious.read_text() == "all I have"
