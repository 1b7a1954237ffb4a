"""Two processes that train together, and what they have in common with one that trains alone."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradsculpt.cli.main import main
from gradsculpt.models import load
from tests.training.two_processes import COMMAND, RECIPES

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are ended by group")
LAUNCHERS = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return where both processes have written, and what they said."""
    out = tmp_path_factory.mktemp("ddp")
    clean = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    done = subprocess.Popen(
        [sys.executable, "-m", "tests.training.two_processes", str(out)],
        cwd=ROOT,
        env=clean | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said = done.communicate(timeout=500)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(done.pid, signal.SIGKILL)  # the other process too, if one of them hangs
    assert done.returncode == 0, said
    return out, said


def test_two_processes_are_one_with_twice_the_batch(trained: tuple[Path, str]) -> None:
    gaps = json.loads((trained[0] / "gaps.json").read_text())
    assert gaps.keys() > set(RECIPES)
    for name, (apart, moved, logged) in gaps.items():
        assert moved > 0.05, name
        assert apart < 1e-12, name
        assert logged < 1e-6, name  # Lightning keeps what is logged in 32 bits


def test_an_interrupted_training_gives_each_process_what_it_carried(trained: tuple[Path, str]) -> None:
    resumed, mixed = json.loads((trained[0] / "interrupted.json").read_text())
    assert resumed < 1e-6
    assert mixed > 1e-4  # with the state of the first process in both


def test_steps_exchange_gradients_and_nothing_else(trained: tuple[Path, str]) -> None:
    few, many = json.loads((trained[0] / "exchanges.json").read_text())
    assert 0 <= many - few <= 12  # of 8 steps and of 2: all are asked whether to end, and whether all is finite


def test_the_command_trains_on_two_devices_and_writes_one_run(trained: tuple[Path, str], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    alone = [*COMMAND.replace("--batch-size 64", "--batch-size 128").split(), "--devices", "1"]
    assert main([*alone, "--out", str(whole)]) == 0
    run, said = trained[0] / "run", trained[1]
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["step"] for row in rows] == ["10", "20"]  # half of the 1295 images, in batches of 64
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert load(run).classes == tuple("0123456789")
    with (whole / "metrics.csv").open() as file:
        for row, other in zip(rows, csv.DictReader(file), strict=True):
            shared = {name: float(value) for name, value in row.items() if value and name != "seconds"}
            assert shared == pytest.approx({name: float(other[name]) for name in shared}, rel=2e-3)
    for once in ("The run is in", "epoch 1/2  ", "epoch 2/2  ", "digits: ", "to train: "):
        assert said.count(once) == 1, said
