"""What a command costs before it does anything: help, lists, a refusal, and a run from the command to its first step.

What needs no network is beside `python -c "import torch"`, which it must not do. The run's overhead is beside that of
the shortest program that a user would write with Lightning: import it, make a network and fit one batch.

    python benchmarks/startup.py [--repeats 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN_GOAL = 12.0

# What is told before anything heavy is imported, and in how many seconds.
_LIGHT = {
    "--help": 1.0,
    "trian": 0.5,
    "list": 1.0,
    "train --help": 1.0,
    "train --recepie l1": 0.5,
    "train --out x --epochs many": 0.5,
    "train --out x --recipe elastc-net": 0.5,
    "train --out x --recipe l1 --objective.penalty.wieght 1": 0.5,
    "train --out x --model torchvision:resnet19": 0.5,
    "explain runs/nowhere cat.jpg --out x": 0.5,
}

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
    runs, plains, torches, light = [], [], [], {words: list[float]() for words in _LIGHT}
    for _ in range(repeats):
        torches.append(seconds([sys.executable, "-c", "import torch"]))
        for words, taken in light.items():
            taken.append(seconds([command, *words.split()], status=2 if _LIGHT[words] < 1 else 0))
        with tempfile.TemporaryDirectory() as out:
            flags = ["train", "--data", "digits", "--recipe", "elastic-net", "--out", f"{out}/run"]
            runs.append(seconds([sys.executable, "-c", _FIRST_STEP, *flags]))
        plains.append(seconds([sys.executable, "-c", _PLAIN_LIGHTNING]))
    ratio = statistics.median(run / plain for run, plain in zip(runs, plains, strict=True))
    heavy = statistics.median(torches)
    print(f"import torch: {heavy:.2f} s")
    for words, taken in light.items():
        median = statistics.median(taken)
        print(f"gradsculpt {words}: {median:.2f} s (goal {_LIGHT[words]:g}), {median / heavy:.2f} of import torch")
    print(f"gradsculpt train, to its first step: {statistics.median(runs):.2f} s (goal {RUN_GOAL:g})")
    print(f"the shortest Lightning program, to its first step: {statistics.median(plains):.2f} s; ratio {ratio:.2f}")


def seconds(command: list[str], status: int = 0) -> float:
    """Return how long a command takes.

    Raises:
        RuntimeError: If it ends with another status.
    """
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != status:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
