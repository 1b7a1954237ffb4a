"""A Ray cluster does jobs in processes of their own; who does not answer is told of in a line, at once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gradsculpt.errors import ArgumentError, GradsculptError, RunError
from gradsculpt.studies.engine import cluster, on_ray
from gradsculpt.studies.engine.job import Job, Machine
from gradsculpt.studies.engine.on_ray import OnRay
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.task import Needs, Task
from tests.studies.engine.performing import (
    MODULE,
    PATIENCE,
    alive,
    kill_once_begun,
    lines,
    parent_of,
    searching_here,
    task,
    until,
)

LOCAL = """
import json, sys
from pathlib import Path
from gradsculpt.progress import Reporter
from gradsculpt.studies.engine.job import Job, Machine
from gradsculpt.studies.engine.on_ray import OnRay
from gradsculpt.studies.engine.schedule import perform_all
from gradsculpt.studies.engine.store import Store
from gradsculpt.studies.engine.task import Needs, Task, in_turn
from tests.studies.engine.test_on_ray import MODULE, given

def job_of(task):
    needs = Needs(1000, 0.5) if task.name == "too much" else Needs(1)
    return Job.of(task, Machine(sys.argv[1], needs=needs))

root = Path(sys.argv[1])
progress = perform_all(in_turn(given()), Store(root), OnRay("local", MODULE), job_of, Reporter())
print(json.dumps([list(progress.done), progress.failed]))
"""


def given() -> list[Task]:
    """Return the tasks of the test on a cluster, by name in what follows."""
    killed, dies = task("killed", {"hang_once": PATIENCE}), task("dies", {"die": 1})
    small = task("small", {"threads": 1}, dies)
    return [killed, dies, small, task("fails", {"fail": "no such set"}), task("too much", {"number": 1})]


def test_a_cluster_of_processes_does_all_though_some_are_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    killed, dies, small, fails, too_much = given()
    place = tempfile.mkdtemp(prefix="ray")  # whose path is short enough for sockets
    environment = {**searching_here(), "RAY_TMPDIR": place, "HOME": place, "RAY_ADDRESS": ""}
    # The worker of the cluster is killed, and with it the process in which it does the job.
    thread = kill_once_begun(tmp_path, killed, parent_of)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", LOCAL, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=240
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)
    assert ended.returncode == 0, ended.stderr
    done, failed = json.loads(ended.stdout.splitlines()[-1])
    thread.join()
    assert sorted(done) == sorted(each.key for each in (killed, dies, small))
    assert failed.pop(fails.key) == "no such set"
    assert "needs 1000 cores and 0.5 of a GPU, which no machine of the cluster at local has" in failed.pop(too_much.key)
    assert not failed
    assert [len(lines(tmp_path, each, "begun")) for each in (killed, dies, small)] == [2, 2, 1]
    assert not any(alive(int(line)) for each in (killed, dies, small) for line in lines(tmp_path, each, "begun"))


def test_a_job_over_its_time_is_stopped_on_its_machine(tmp_path: Path) -> None:
    one = task("a", {"sleep": PATIENCE})
    job = Job.of(one, Machine(str(tmp_path), minutes=0.02))
    told = json.loads(on_ray._done_by_a_process(MODULE, job.text(), []))
    assert told["key"] == one.key
    assert "it took longer than 0.02 minutes and was stopped" in told["error"]
    assert not told["lost"]


def test_a_job_that_is_cancelled_stops_in_good_order(tmp_path: Path) -> None:
    one = task("a", {"sleep": PATIENCE})
    job = Job.of(one, Machine(str(tmp_path), needs=Needs(1)))

    def cancel() -> None:  # as Ray does
        until(lambda: lines(tmp_path, one, "begun"))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=cancel, daemon=True)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            on_ray._done_by_a_process(MODULE, job.text(), [])
        thread.join()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not alive(int(lines(tmp_path, one, "begun")[0]))
    assert Store(tmp_path).writer(one.key) is None


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """Yield the address of somebody who answers every call with the same bytes, or with nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    if answer is not None:
                        connection.recv(100)
                        connection.sendall(answer)
                    else:
                        time.sleep(1)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused(address: str) -> GradsculptError:
    with pytest.raises(GradsculptError) as caught:
        OnRay(address, MODULE)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "address", ["", "locl", "cluster", "cluster:", ":6379", "cluster:port", "cluster:0", "a:70000", "http://a:6379"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    error = refused(address)
    assert isinstance(error, ArgumentError)
    assert f"--ray {address} is no address of a cluster; pass HOST:PORT" in str(error)


@pytest.mark.parametrize("before", ["", "ray://"])
def test_where_nobody_answers_is_told_at_once(before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with listening(None) as silent:
        for address in (f"{before}127.0.0.1:{free}", f"{before}{silent}", f"{before}nobody.invalid:6379"):
            error = refused(address)
            assert isinstance(error, RunError)
            assert f"nobody answers at {address} (" in str(error)


def test_auto_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "nobody answers at 127.0.0.1:1 (" in str(refused("auto"))
    monkeypatch.setenv("RAY_ADDRESS", f"{'a' * 70}:6379")
    assert "nobody answers at aaaa" in str(refused("auto"))


def test_another_server_is_no_cluster() -> None:
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        assert f"what answers at {address} is no Ray cluster" in str(refused(address))


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    error = refused("local")
    assert isinstance(error, ArgumentError)
    assert "install gradsculpt[ray], or pass --workers" in str(error)


def test_a_cluster_that_wants_a_token_is_told_of() -> None:
    cause = RuntimeError("Failed to connect to GCS. InvalidAuthToken: it is missing")
    error = ConnectionError("Failed to connect to Ray cluster")
    error.__cause__ = cause
    assert "wants a token that it was not given" in str(cluster.unreached("a:1", error))
    plain = str(cluster.unreached("local", RuntimeError("no room.\nTraceback")))
    assert plain.startswith("a Ray cluster cannot be started here (RuntimeError: no room), so nothing was begun")
