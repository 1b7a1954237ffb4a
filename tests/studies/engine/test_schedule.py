"""Each task comes after those that it needs, a failure holds up only its own, and what is lost is tried again."""

import io
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from gradsculpt.progress import Reporter
from gradsculpt.studies.engine import in_turn as in_turns
from gradsculpt.studies.engine import schedule, status
from gradsculpt.studies.engine.in_turn import ended
from gradsculpt.studies.engine.job import Ended, Job, Machine
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.task import Needs, Task
from tests.studies.engine.performing import do, lines, perform, task


class Losing:
    """Two hands, which lose each job so many times before they do it; nothing is told before both are full."""

    def __init__(self, losses: int) -> None:
        self.losses, self.given, self.closed = losses, list[str](), False
        self._held: list[Job] = []

    def free(self) -> bool:
        return len(self._held) < 2

    def submit(self, job: Job) -> None:
        assert self.free()
        self.given.append(job.name)
        self._held.append(job)

    def wait(self, seconds: float) -> Sequence[Ended]:
        held, self._held = self._held, []
        return [
            Ended(job.key, "gone", lost=True)
            if self.given.count(job.name) <= self.losses
            else ended(job, perform, Reporter())
            for job in held
        ]

    def close(self) -> None:
        self.closed = True


def names(keys: Mapping[str, object], *tasks: Task) -> list[str]:
    return sorted(each.name for each in tasks if each.key in keys)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def log() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_a_failure_holds_up_only_what_needs_it(tmp_path: Path) -> None:
    a, b, c = task("a"), task("b", {"fail": "no such set"}), task("c", {"err": "half\na line"})
    d, e, f = task("d", {}, a), task("e", {}, a, b), task("f", {"number": 1}, a)
    g = task("g", {}, e)
    progress, all_tasks = do([g, d, f, c], tmp_path), (a, b, c, d, e, f, g)
    assert names(progress.done, *all_tasks) == ["a", "d", "f"]
    assert progress.failed[b.key] == "no such set"
    assert progress.failed[c.key] == "ZeroDivisionError: half a line"
    assert progress.failed[e.key] == "it needs b, which failed"
    assert progress.failed[g.key] == "it needs e, which failed"
    assert lines(tmp_path, e, "begun") == []
    assert Store(tmp_path).failed(b.key) == "no such set"


def test_what_failed_is_tried_again_by_the_next_call_and_what_is_done_is_not(tmp_path: Path) -> None:
    a, b = task("a"), task("b", {"fail": "no"})
    for _ in range(2):
        do([a, b], tmp_path)
    assert [len(lines(tmp_path, each, "begun")) for each in (a, b)] == [1, 2]


@pytest.mark.parametrize(("losses", "done"), [(1, True), (2, True), (3, False)])
def test_what_is_lost_is_tried_again_twice(tmp_path: Path, losses: int, done: bool) -> None:
    a = task("a")
    b, c, hands, console = task("b", {}, a), task("c", {"number": 2}), Losing(losses), log()
    progress = do([b, c], tmp_path, hands, Reporter(console))
    assert names(progress.done, a, b, c) == (["a", "b", "c"] if done else [])
    assert hands.given.count("c") == min(losses + 1, 3)
    assert hands.given.count("b") == (min(losses + 1, 3) if done else 0)
    assert "act c: gone; tried again, 1 of 2 times" in said(console)
    assert hands.closed


def test_what_another_process_does_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_MOMENT", 0.02)
    a, b = task("a"), task("b", {"number": 1})
    c, console, working = task("c", {}, a), log(), threading.Event()

    def other() -> None:
        with Store(tmp_path).work(a.key, {}):
            working.set()
            end = time.monotonic() + 10
            while "is doing it" not in said(console) and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.1)  # it is told once, however often it was looked at

    thread = threading.Thread(target=other)
    thread.start()
    assert working.wait(10)
    progress = do([a, b, c], tmp_path, None, Reporter(console))
    thread.join()
    assert names(progress.done, a, b, c) == ["a", "b", "c"]
    assert lines(tmp_path, a, "begun") == []  # we did not do it
    assert said(console).count("is doing it") == 1
    assert list(progress.done) == [b.key, a.key, c.key]


class Late(Losing):
    """Hands that find each task being done by somebody else at first."""

    def wait(self, seconds: float) -> Sequence[Ended]:
        held, self._held = self._held, []
        return [
            Ended(job.key, "somebody does it", busy=True)
            if self.given.count(job.name) == 1
            else ended(job, perform, Reporter())
            for job in held
        ]


def test_what_another_process_had_begun_meanwhile_is_no_failure(tmp_path: Path) -> None:
    a, hands = task("a"), Late(0)
    progress = do([a], tmp_path, hands)
    assert list(progress.done) == [a.key]
    assert not progress.failed
    assert hands.given == ["a", "a"]


def test_a_job_is_the_same_after_its_journey() -> None:
    machine = Machine("/results", "cuda", None, {"cifar10": "folder:/c"}, Needs(2, 0.5), 1.5)
    settings = {"epochs": 3, "sizes": [1, 2], "seed": 7}
    network = task("n")
    one = Task("evaluate", settings, ("gradsculpt.penalties.L1",), {"network": network}, "é", ("--x", "1"), "cells")
    job = Job.of(one, machine)
    assert Job.read(job.text()) == job
    assert "\n" not in job.text()
    assert (job.seed, job.networks, job.version) == (7, {"network": network.key}, one.version)


def test_code_of_another_version_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = task("a")
    assert a.version  # as it was asked for
    monkeypatch.setattr(in_turns, "version", lambda names: "0123456789abcdef")
    progress = do([a], tmp_path)
    assert "is of version 0123456789abcdef on " in progress.failed[a.key]
    assert a.version in progress.failed[a.key]
    assert lines(tmp_path, a, "begun") == []


def test_a_log_is_told_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_EVERY", 0.1)
    a, console = task("a", {"sleep": 0.4}), log()
    do([a, task("b", {}, a), task("c", {"fail": "no"})], tmp_path, None, Reporter(console))
    text = said(console)
    assert "s: 1 running, 2 waiting" in text
    assert "act a: 0." in text
    assert "study by process" in text
    row = next(line for line in text.splitlines() if line.startswith("│ act"))
    assert row.split()[1::2][:5] == ["act", "2", "-", "-", "1"]


def test_a_person_sees_a_table(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    do([task("a", {"sleep": 0.1})], tmp_path, None, Reporter(console))
    assert said(console).count("waiting") >= 2  # while it goes on, and at the end
