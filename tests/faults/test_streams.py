"""Settings that a shell hands over by a pipe, as `--config <(...)` does."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradsculpt.cli import documents
from gradsculpt.errors import ArgumentError
from gradsculpt.reading import SETTINGS, is_stream, read_stream

pytestmark = pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="names of open pipes are had where /dev/fd is")


@pytest.fixture
def pipe() -> Iterator[tuple[Path, int]]:
    """Return the name of a pipe to read, and where to write."""
    reading, writing = os.pipe()
    yield Path(f"/dev/fd/{reading}"), writing
    os.close(reading)


def test_settings_are_read_from_a_pipe_that_a_shell_opened(pipe: tuple[Path, int]) -> None:
    path, writing = pipe
    os.write(writing, b"epochs: 3\n")
    os.close(writing)
    content, place = documents.read(path)
    assert content == {"epochs": 3}
    assert str(place.at("epochs")) == f"{path}, line 1: epochs"


def test_a_pipe_that_does_not_end_is_waited_for_a_moment_only(pipe: tuple[Path, int]) -> None:
    path, writing = pipe
    os.write(writing, b"epochs: 3\n")
    with pytest.raises(OSError, match="did not end"):
        read_stream(path, patience=0.05)
    os.close(writing)


def test_a_pipe_that_sends_too_much_is_no_file_of_settings(pipe: tuple[Path, int]) -> None:
    path, writing = pipe
    os.write(writing, b"#" * 60_000)
    os.close(writing)
    with pytest.raises(ValueError, match="more than"):
        read_stream(path, most=1000)
    assert SETTINGS > 60_000


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own.yaml")
    assert not is_stream(tmp_path / "own.yaml")
    with pytest.raises(ArgumentError, match="a pipe or a device"):
        documents.read(tmp_path / "own.yaml")
