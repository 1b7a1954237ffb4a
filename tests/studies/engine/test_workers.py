"""Workers do jobs side by side, and one that is lost, stopped or left alone holds nobody up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradsculpt.errors import ArgumentError
from gradsculpt.studies.engine.job import Job, Machine
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.workers import Workers
from tests.studies.engine.performing import (
    MODULE,
    PATIENCE,
    alive,
    do,
    kill_once_begun,
    lines,
    searching_here,
    task,
    until,
)

ALONE = """
import sys
from pathlib import Path
from gradsculpt.studies.engine.workers import Workers
from tests.studies.engine.performing import MODULE, do, task
do([task("long", {"sleep": 60}), task("other", {"sleep": 60.5})], Path(sys.argv[1]), Workers(2, MODULE))
"""


def test_jobs_are_done_side_by_side_by_processes_that_are_kept(tmp_path: Path) -> None:
    # Neither of the first two would end if the other one did not run beside it.
    tasks = [task(f"{number}", {"number": number, "sleep": 0.4, "print": "noise\n"}) for number in range(2)]
    rest = [task(f"rest {number}", {"number": number}, *tasks) for number in range(6)]
    progress = do(rest, tmp_path, Workers(2, MODULE))
    assert len(progress.done) == 8
    first, second = (set(lines(tmp_path, each, "begun")) for each in tasks)
    assert first != second
    assert {line for each in rest for line in lines(tmp_path, each, "begun")} <= first | second


def test_a_worker_that_is_killed_in_mid_task_is_replaced(tmp_path: Path) -> None:
    a, b = task("a", {"hang_once": PATIENCE}), task("b", {"number": 1})
    thread = kill_once_begun(tmp_path, a)
    progress = do([a, b], tmp_path, Workers(2, MODULE))
    thread.join()
    assert len(progress.done) == 2
    assert len(set(lines(tmp_path, a, "begun"))) == 2


def test_a_task_that_kills_each_worker_fails_alone(tmp_path: Path) -> None:
    a, b = task("a", {"die": 99}), task("b", {"number": 1})
    progress = do([a, b], tmp_path, Workers(1, MODULE))
    assert progress.failed == {a.key: "its process ended before it did"}
    assert list(progress.done) == [b.key]
    assert len(lines(tmp_path, a, "begun")) == 3


def test_a_task_over_its_time_is_stopped_in_good_order(tmp_path: Path) -> None:
    a, b = task("a", {"sleep": PATIENCE}), task("b", {"number": 1})
    progress = do([a, b], tmp_path, Workers(1, MODULE), minutes=0.05)
    assert "it took longer than 0.05 minutes and was stopped" in progress.failed[a.key]
    assert list(progress.done) == [b.key]
    assert "seconds_spent" in (Store(tmp_path).folder(a.key) / "task.json").read_text()
    assert Store(tmp_path).writer(a.key) is None


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    tasks = [task("long", {"sleep": 60}), task("other", {"sleep": 60.5})]
    parent = subprocess.Popen([sys.executable, "-c", ALONE, str(tmp_path)], env=searching_here())
    try:
        until(lambda: all(lines(tmp_path, each, "begun") for each in tasks))
    finally:
        parent.kill()
        parent.wait()
    workers = [int(lines(tmp_path, each, "begun")[0]) for each in tasks]
    until(lambda: not any(alive(worker) for worker in workers))
    assert [Store(tmp_path).writer(each.key) for each in tasks] == [None, None]
    assert not list(tmp_path.rglob(".gradsculpt.lock"))  # they stopped in good order


def test_what_runs_is_stopped_when_it_is_interrupted(tmp_path: Path) -> None:
    workers, a = Workers(1, MODULE), task("a", {"sleep": PATIENCE})
    workers.submit(Job.of(a, Machine(str(tmp_path))))
    until(lambda: lines(tmp_path, a, "begun"))
    workers.close()
    assert not alive(int(lines(tmp_path, a, "begun")[0]))
    assert not list(tmp_path.rglob(".gradsculpt.lock"))


def test_a_worker_that_died_while_it_had_nothing_to_do_costs_no_try(tmp_path: Path) -> None:
    workers, told = Workers(1, MODULE), list[str | None]()
    for number in range(2):
        one = task(f"{number}", {"number": number})
        assert workers.free()
        workers.submit(Job.of(one, Machine(str(tmp_path))))
        while not (ends := workers.wait(PATIENCE)):
            pass
        told += [each.error for each in ends]
        process = int(lines(tmp_path, one, "begun")[0])
        os.kill(process, signal.SIGKILL)
        until(lambda process=process: not alive(process))  # type: ignore[misc]
    workers.close()
    assert told == [None, None]


@pytest.mark.parametrize("count", [0, -1])
def test_there_is_a_worker_at_least(count: int) -> None:
    with pytest.raises(ArgumentError, match=rf"--workers {count} is no number of processes; pass 1 or more"):
        Workers(count, MODULE)


def test_workers_that_were_started_before_there_is_work_do_it(tmp_path: Path) -> None:
    workers = Workers(2, MODULE)
    workers.start(5)
    ready = {each.process.pid for each in workers._workers}
    assert len(ready) == 2
    tasks = [task(f"{number}", {"number": number, "sleep": 0.4}) for number in range(2)]
    do(tasks, tmp_path, workers)
    assert {int(line) for each in tasks for line in lines(tmp_path, each, "begun")} == ready


def test_workers_that_are_not_needed_end_at_once() -> None:
    workers = Workers(3, MODULE)
    workers.start(2)
    processes = [each.process.pid for each in workers._workers]
    workers.close()
    assert len(processes) == 2
    assert not any(alive(process) for process in processes)
