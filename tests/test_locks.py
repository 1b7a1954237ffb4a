"""A folder has one writer at a time, and none when that has ended, however it ended."""

import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradsculpt import locks
from gradsculpt.errors import RunError
from gradsculpt.locks import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from gradsculpt.locks import locked
with locked(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run another process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def taken(folder: Path) -> bool:
    """Tell whether another thread is refused."""
    refused: list[bool] = []

    def write() -> None:
        try:
            with locked(folder, "evaluate"):
                refused.append(False)
        except RunError:
            refused.append(True)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    return refused[0]


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        said = (
            rf"{tmp_path} is being written to \(train by process {process.pid} on {socket.gethostname()} since 20\d\d-"
        )
        with pytest.raises(RunError, match=said), locked(tmp_path, "evaluate"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()  # what the killed one left holds nobody up
        with locked(tmp_path, "evaluate"):
            assert taken(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_block_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"

    def write() -> None:
        with locked(folder, "train"):
            assert taken(folder)
            with locked(tmp_path / "deep" / ".." / "deep" / "run", "train"):  # the same one, by the same thread
                pass
            assert taken(folder)
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert list(tmp_path.iterdir()) == []
    assert not taken(folder)
    with locked(folder, "train"):
        (folder / "result").write_text("kept")
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_link_to_a_folder_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with locked(tmp_path / "run", "train"):
        assert taken(tmp_path / "link")


def tell_and_sleep(writer: int) -> None:
    os.write(writer, str(os.getpid()).encode())
    time.sleep(30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_process_that_was_forked_does_not_keep_what_its_parent_held(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:  # holds the folder, forks a worker that outlives it, and is killed
        with locked(tmp_path, "train"):
            # The worker itself tells that it runs: before, it may not have let go yet of what it got by the fork.
            multiprocessing.get_context("fork").Process(target=tell_and_sleep, args=(writer,)).start()
            time.sleep(30)
        os._exit(1)
    worker_id = int(os.read(reader, 20))
    try:
        assert taken(tmp_path)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        os.kill(worker_id, 0)
        assert not taken(tmp_path)
    finally:
        os.kill(worker_id, signal.SIGKILL)
        os.close(reader)
        os.close(writer)


def no_locks(descriptor: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("process", "host", "free"),
    [
        (lambda: os.getppid(), socket.gethostname(), False),
        (lambda: os.getpid(), "elsewhere", False),
        (lambda: subprocess.Popen(["true"]).wait() or 2**22 - 1, socket.gethostname(), True),
    ],
    ids=["lives", "on another machine", "has ended"],
)
def test_without_locks_the_file_says_who_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Callable[[], int], host: str, free: bool
) -> None:
    monkeypatch.setattr(locks, "_lock", no_locks)
    (tmp_path / LOCK).write_text(f'{{"work": "train", "process": {process()}, "host": "{host}", "since": "2026"}}')
    said: list[str] = []
    if free:
        with locked(tmp_path, "evaluate", said.append):
            pass
        assert len(said) == 1
        assert "has no locks (No locks available)" in said[0]
    else:
        with pytest.raises(RunError, match=f"if that process has ended, delete .*{LOCK}"), locked(tmp_path, "evaluate"):
            pass
        assert (tmp_path / LOCK).exists()


def test_what_cannot_be_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = r"file/run cannot be made a folder, .*pass another"
    with pytest.raises(RunError, match=said), locked(tmp_path / "file" / "run", "train"):
        pass
    assert (tmp_path / "file").is_file()
