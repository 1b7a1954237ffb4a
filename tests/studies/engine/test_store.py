"""Results are whole or not there, whoever is killed when, and nothing is done twice."""

import json
import multiprocessing
import random
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gradsculpt.errors import RunError
from gradsculpt.locks import LOCK
from gradsculpt.studies.engine import store as stores
from gradsculpt.studies.engine.store import BusyError, Store
from gradsculpt.studies.engine.task import Task
from tests.studies.engine.performing import LENGTH, do, files, lines, task

WHOLE = {"task.json", "done.json", "begun", "result.txt", "ended"}
"""The files of a task that is done."""


def chain() -> list[Task]:
    """Return small tasks, some of which need others."""
    first = [task(f"first {number}", {"number": number, "sleep": 0.002}) for number in range(12)]
    return [*first, *(task(f"second {each.name}", {}, each) for each in first)]


def run(root: Path) -> multiprocessing.process.BaseProcess:
    """Start a process that does them."""
    process = multiprocessing.get_context("fork").Process(target=do, args=(chain(), root))
    process.start()
    return process


def begun(root: Path) -> dict[str, int]:
    """Return how often each task that is done was begun."""
    store = Store(root)
    return {each.name: len(lines(root, each, "begun")) for each in chain() if store.done(each.key) is not None}


def test_killed_at_any_moment_it_goes_on_where_it_was(tmp_path: Path) -> None:
    moments, before, longest = random.Random(0), dict[str, int](), 0.08
    for _ in range(20):
        process = run(tmp_path)
        time.sleep(moments.uniform(0, longest))
        process.kill()
        process.join()
        now = begun(tmp_path)
        assert before.items() <= now.items()  # what is done stays so, and is not begun again
        for name in now:
            assert len((folder_of(tmp_path, name) / "result.txt").read_text()) == LENGTH
        before, longest = now, longest if now else 1.5 * longest  # a busy machine takes longer to begin
    assert len(do(chain(), tmp_path).done) == len(chain())
    now = begun(tmp_path)
    assert before.items() <= now.items()
    assert len(now) == len(chain()) >= len(before) > 0
    assert {len((folder_of(tmp_path, name) / "result.txt").read_text()) for name in now} == {LENGTH}
    # Those who are killed while they write a draft leave it; the next one who writes there sweeps it away.
    assert {name for name in files(tmp_path) if not name.startswith(".result.")} == WHOLE


def folder_of(root: Path, name: str) -> Path:
    return Store(root).folder(next(each.key for each in chain() if each.name == name))


def test_two_at_once_do_nothing_twice(tmp_path: Path) -> None:
    processes = [run(tmp_path) for _ in range(2)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [len(lines(tmp_path, each, "begun")) for each in chain()] == [1] * len(chain())
    assert files(tmp_path) == WHOLE


def test_one_works_in_a_folder_at_a_time(tmp_path: Path) -> None:
    store, refused, writers = Store(tmp_path), list[Exception](), list[str | None]()

    def work() -> None:
        writers.append(store.writer("k-1"))
        try:
            with store.work("k-1", {}):
                pass
        except Exception as error:
            refused.append(error)

    with store.work("k-1", {}):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    work()  # it is done by now
    assert [type(each) for each in refused] == [BusyError, BusyError]
    assert "study by process" in (writers[0] or "")
    assert writers[1] is None
    assert store.done("k-1") is not None


@pytest.mark.parametrize("holder", [{"process": 1, "host": "elsewhere"}, {"process": 1, "host": socket.gethostname()}])
def test_a_lock_that_was_left_by_a_killed_process_holds_nobody_up(tmp_path: Path, holder: dict[str, object]) -> None:
    one = task("one")
    folder = Store(tmp_path).folder(one.key)
    folder.mkdir(parents=True)
    (folder / LOCK).write_text(json.dumps({"work": "study", "since": "2000-01-01", **holder}))
    assert Store(tmp_path).writer(one.key) is None
    assert list(do([one], tmp_path).done) == [one.key]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": "k-2", "seconds": 1}'])
def test_what_is_damaged_or_anothers_is_not_done(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    store.folder("k-1").mkdir(parents=True)
    (store.folder("k-1") / "done.json").write_text(content)
    assert store.done("k-1") is None


def test_why_a_task_failed_is_noted_until_it_is_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RunError), store.work("k-1", {}):
        raise RunError("no room")
    assert store.failed("k-1") == "no room"
    assert store.done("k-1") is None
    with store.work("k-1", {}):
        assert store.failed("k-1") is None
    assert store.done("k-1") is not None


def test_the_time_of_tries_adds_up_even_of_those_that_were_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr(stores, "_BEAT", 0.02)
    with suppress(KeyboardInterrupt), store.work("k-1", {}):
        time.sleep(0.1)
        raise KeyboardInterrupt
    told = store.folder("k-1") / "task.json"
    with store.work("k-1", {"name": "one"}):
        before = so_far = json.loads(told.read_text())
        end = time.monotonic() + 10
        while so_far == before and time.monotonic() < end:
            time.sleep(0.02)
            so_far = json.loads(told.read_text())  # as a killed try would leave it
        assert so_far["name"] == "one"
        assert so_far["seconds_spent"] > before["seconds_spent"] >= 0.1
    done = store.done("k-1")
    assert done is not None
    assert so_far["seconds_spent"] <= done["seconds"] < 20


def test_a_folder_that_cannot_be_written_to_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "tasks").write_text("a file")
    with pytest.raises(RunError, match="cannot be made a folder") as caught, Store(tmp_path).work("k-1", {}):
        pass
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, BusyError)
