"""What `tests.faults.kills` tries in many trainings, in one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the trainings are forked, to start at once")
def test_a_training_that_is_killed_and_goes_on_is_the_one_that_was_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.kills", "--times", "2", "--seed", "1", "--only", "l1"]
    done = subprocess.run([*command, "--tmpdir", str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-1000:]
    assert "2 kills, 0 trainings that differ" in done.stdout
    assert list(tmp_path.iterdir()) == []
