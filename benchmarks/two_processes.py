"""How much faster two processes on two cores train than one process on one core.

Trains by the command, with one thread a process, and with the same images in each step: one process that may use one
core, and two that may use two. The two take turns, A B A B, and the times of epochs are those that the run writes down,
without the first one, in which what is used for the first time gets ready. Printed are the median of the ratios and all
of them. Nothing else may use the cores meanwhile.

    python benchmarks/two_processes.py [--pairs 5] [--epochs 4] [--images 1024] [--model resnet18-cifar]
"""

import argparse
import csv
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL = 1.7

RECIPES = {"cross entropy": "standard", "l2 + cosine": "aga-l2-cos"}
BATCH = 64


def main() -> None:
    """Print one line an objective."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="of each training; the first is not counted")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--model", default="resnet18-cifar")
    options = parser.parse_args()
    if options.epochs < 2 or options.images < 4 * BATCH:
        parser.error(f"pass 2 epochs at least, and {4 * BATCH} images.")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) == 1:
        parser.error("there is one core.")
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in RECIPES.items():
            words = ["--recipe", recipe, "--model", options.model, "--epochs", str(options.epochs)]
            words += ["--train-count", str(options.images), "--image-size", str(options.side)]
            ratios = [
                seconds(words, Path(folder), 1, cores[:1]) / seconds(words, Path(folder), 2, cores[:2])
                for _ in range(options.pairs)
            ]
            all_of_them = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            median = statistics.median(ratios)
            verdict = "reached" if median >= GOAL else "missed"
            print(f"{name}: {median:.2f}x ({all_of_them}); goal {GOAL}x {verdict}", flush=True)


def seconds(words: list[str], folder: Path, processes: int, cores: list[int]) -> float:
    """Return the seconds of an epoch of a training by some processes on some cores."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "gradsculpt", "train", "--data", "cells", "--device", "cpu", "--threads", "1"]
    command += ["--devices", str(processes), "--batch-size", str(BATCH // processes), "--out", str(run)]
    pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, cores)} if cores else {}
    done = subprocess.run(
        [*command, "--cache-dir", str(folder / "cache"), *words],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **pinned,
    )
    if done.returncode:
        raise SystemExit(f"the training ended with status {done.returncode}: {done.stderr[-2000:]}")
    with (run / "metrics.csv").open(newline="") as file:
        return statistics.median([float(row["seconds"]) for row in csv.DictReader(file)][1:])


if __name__ == "__main__":
    main()
