"""Processes that work together, of which one is killed: the others end, one line says so, and the work goes on."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gradsculpt.cli.main import main

ROOT = Path(__file__).parents[2]
TRAIN = "train --data digits --image-size 8 --device cpu --threads 1 --recipe l1 --epochs 3 --train-count 256"
EVALUATE = "--limit 32 --batch-size 4 --groups accuracy sparsity"
LAUNCHERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = 300.0

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="processes are found by what they are told"
)


def started(words: list[str]) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=clean | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        said = process.communicate(timeout=PATIENCE)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def find(folder: Path, told: Callable[[list[str], dict[str, str]], bool]) -> int:
    """Return the process with a folder among its words that was told what is wanted; wait for it."""
    for _ in range(int(PATIENCE / 0.1)):
        for place in Path("/proc").glob("[0-9]*"):
            try:
                words = (place / "cmdline").read_text().split("\0")
                pairs = (place / "environ").read_text().split("\0")
            except (OSError, ValueError):
                continue
            environment = dict(pair.partition("=")[::2] for pair in pairs)
            if str(folder) in words and told(words, environment):
                return int(place.name)
        time.sleep(0.1)
    raise AssertionError("there is no such process")


def wait_for(there: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE / 0.05)):
        if there():
            return
        time.sleep(0.05)
    raise AssertionError("that has not happened")


def table(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [
            {name: float(value) for name, value in row.items() if value and name != "seconds"}
            for row in csv.DictReader(file)
        ]


def epochs(run: Path) -> int:
    return len(table(run)) if (run / "metrics.csv").exists() else 0


def on_two_machines(run: Path, *more: str) -> list[subprocess.Popen[str]]:
    """Start two agents of torchrun on this machine, with a process each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    agent = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    agent += ["--rdzv-id", "test", "--rdzv-endpoint", endpoint, "-m", "gradsculpt"]
    words = [*TRAIN.split(), "--nodes", "2", "--batch-size", "16", "--out", str(run), *more]
    return [started([*agent, *words]) for _ in range(2)]


def test_a_training_on_two_machines_of_which_one_dies_goes_on(tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    agents = on_two_machines(run)
    wait_for(lambda: epochs(run) >= 1)
    os.kill(find(run, lambda words, told: told.get("RANK") == "1" and "gradsculpt" in words), signal.SIGKILL)
    results = [ended(agent) for agent in agents]
    assert all(status != 0 for status, _ in results)
    said = "".join(text for _, text in results)
    (line,) = [line for line in said.splitlines() if line.startswith("gradsculpt: ")]
    assert "another process of this training ended, or cannot be reached" in line
    assert "and `gradsculpt train" in line  # of its first epoch, the network may not be whole yet
    results = [ended(agent) for agent in on_two_machines(run, "--resume")]
    assert [status for status, _ in results] == [0, 0], results
    assert main([*TRAIN.split(), "--batch-size", "32", "--out", str(whole)]) == 0
    for row, alone in zip(table(run), table(whole), strict=True):
        assert row == pytest.approx(alone, rel=5e-3)


def test_an_evaluation_of_which_a_process_dies_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, folder, whole = (tmp_path / name for name in ("run", "parts", "whole"))
    assert main([*TRAIN.split(), "--epochs", "1", "--out", str(run)]) == 0
    words = ["evaluate", str(run), *EVALUATE.split()]
    command = ["-m", "gradsculpt", *words, "--devices", "2", "--out", str(folder)]
    evaluation = started(command)
    os.kill(find(folder, lambda words, told: "--shard" in words), signal.SIGKILL)
    status, said = ended(evaluation)
    assert status == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("gradsculpt: ")]
    assert "process 1 of the 2 that score side by side ended by SIGKILL" in line
    assert "the same command goes on" in line
    status, said = ended(started(command))
    assert status == 0, said
    assert main([*words, "--out", str(whole)]) == 0
    for name in ("scorecard.csv", "scorecard.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    capsys.readouterr()
