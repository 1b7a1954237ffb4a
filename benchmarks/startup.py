"""What a command costs before it does anything: `--help`, and a run from the command to its first step.

The run's overhead is beside that of the shortest program that a user would write with Lightning: import it, make a
network and fit one batch.

    python benchmarks/startup.py [--repeats 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELP_GOAL, RUN_GOAL = 1.0, 12.0

# Ends the process at the first training step, so what is timed is everything before it.
_FIRST_STEP = """
import os, sys
from gradsculpt.cli.main import main
from gradsculpt.training.module import ClassifierModule
ClassifierModule.training_step = lambda self, batch, batch_idx: os._exit(0)
main(sys.argv[1:])
"""

_PLAIN_LIGHTNING = """
import os, torch, torchvision
from lightning.pytorch import LightningModule, Trainer
class Plain(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    def training_step(self, batch, batch_idx):
        os._exit(0)
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())
data = torch.utils.data.TensorDataset(torch.rand(64, 3, 32, 32), torch.zeros(64, dtype=torch.long))
Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(Plain(), torch.utils.data.DataLoader(data, 32))
"""


def main() -> None:
    """Print medians in seconds, and the ratio to the plain program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    command = str(Path(sys.executable).parent / "gradsculpt")
    helps, runs, plains = [], [], []
    for _ in range(repeats):
        helps.append(seconds([command, "--help"]))
        with tempfile.TemporaryDirectory() as out:
            flags = ["train", "--data", "digits", "--recipe", "elastic-net", "--out", f"{out}/run"]
            runs.append(seconds([sys.executable, "-c", _FIRST_STEP, *flags]))
        plains.append(seconds([sys.executable, "-c", _PLAIN_LIGHTNING]))
    ratio = statistics.median(run / plain for run, plain in zip(runs, plains, strict=True))
    print(f"gradsculpt --help: {statistics.median(helps):.2f} s (goal {HELP_GOAL:g})")
    print(f"gradsculpt train, to its first step: {statistics.median(runs):.2f} s (goal {RUN_GOAL:g})")
    print(f"the shortest Lightning program, to its first step: {statistics.median(plains):.2f} s; ratio {ratio:.2f}")


def seconds(command: list[str]) -> float:
    """Return how long a command takes.

    Raises:
        RuntimeError: If it fails.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
