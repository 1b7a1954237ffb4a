"""The accidents of a machine, step by step, over every command that writes: a disk that is full, folders to be read.

`python -m tests.faults.accidents --steps 25 --seed 0` tries so many sizes of a disk, on a file system in memory that it
mounts, which takes root, and every command in a folder that may only be read. It tells what did not end with one line
and status 2 (or as it should, where there was room), or left half a file under its name.
"""

import argparse
import contextlib
import io
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gradsculpt.cli.main import main

SMALL = ["--image-size", "8", "--batch-size", "64", "--threads", "1"]
DIGITS = ["--data", "digits", *SMALL, "--train-count", "100"]
CELLS = ["--data", "cells", "--train-count", "60", *SMALL[2:], "--image-size", "16"]
JUDGED = ["--best", "gini", "--groups", "accuracy", "sparsity", "--limit", "8"]
SCORED = ["--limit", "4", "--groups", "accuracy", "sparsity"]

WRITERS = {
    "train": ["train", *DIGITS, "--epochs", "2", "--out", "{out}/new"],
    "train cells": ["train", *CELLS, "--epochs", "1", "--out", "{out}/new"],
    "train folder": ["train", "--data", "folder:{photos}", *SMALL, "--epochs", "1", "--out", "{out}/new"],
    "resume": ["train", "--resume", "--epochs", "3", "--out", "{out}/run"],
    "explain": ["explain", "{run}", "{image}", "--out", "{out}/maps"],
    "attack": ["attack", "{run}", "{image}", "--steps", "1", "--out", "{out}/attacked"],
    "features": ["features", "{run}", "--classes", "3", "--steps", "1", "--out", "{out}/pictures"],
    "evaluate": ["evaluate", "{run}", *SCORED, "--out", "{out}/scores"],
    "evaluate page": ["evaluate", "{run}", *SCORED, "--count", "1", "--html", "{out}/page.html"],
    "evaluate run": ["evaluate", "{out}/run", *SCORED],
    "compare": ["compare", "{run}", *SCORED, "--count", "1", "--out", "{out}/page.html"],
    "push": ["push", "{run}", "me/net", "--count", "1", "--out", "{out}/shared"],
    "export": ["export", "{run}", "--torchscript", "{out}/net.pt"],
    "sweep": ["sweep", "--out", "{out}/sweep", "--grid", "lr=0.01", *DIGITS, "--epochs", "1", *JUDGED],
    "study": ["study", "run", "duality", "--scale", "smoke", "--out", "{out}/studies"],
}
"""Calls that write below {out}; {run} is a whole run elsewhere, {out}/run a copy of it."""


class Ended(NamedTuple):
    """How a call ended: its status, what it said on standard error, and whether that is as it should be."""

    status: int
    said: str

    @property
    def orderly(self) -> bool:
        """Whether it succeeded, or failed with one line of its own and no traceback."""
        lines = [line for line in self.said.splitlines() if line.startswith("gradsculpt: ")]
        return "Traceback" not in self.said and (self.status == 0 or (self.status == 2 and len(lines) == 1))


def call(words: Sequence[str]) -> Ended:
    """Run a command in this process."""
    said, status = io.StringIO(), 1
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main(list(words))
        except BaseException:
            said.write(traceback.format_exc())
    return Ended(status, said.getvalue())


def broken(folder: Path) -> list[str]:
    """Return what is wrong with the files below a folder that have their final names."""
    wrong = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            _read(path)
        except Exception as error:
            wrong.append(f"{path.relative_to(folder)} is broken ({type(error).__name__}: {error})")
    return wrong


def _read(path: Path) -> None:
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".json" and path.name != "scorecard.part.json":
        json.loads(path.read_bytes())
    elif path.suffix == ".ckpt":
        import torch

        torch.load(path, weights_only=True)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        load_file(path)
    elif path.suffix == ".pt":
        import torch

        torch.jit.load(path)
    elif path.suffix == ".html" and not path.read_bytes().rstrip().endswith(b"</html>"):
        raise ValueError("no end")
    elif path.suffix == ".csv" and path.name != "scorecard.part.csv":
        lines = path.read_text().splitlines()
        if not lines or (len({line.count(",") for line in lines}) > 1 and '"' not in "".join(lines)):
            raise ValueError("rows of several lengths" if lines else "empty")
    elif path.suffix in (".yaml", ".md") and not path.read_bytes():
        raise ValueError("empty")


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes in the block, as on a disk where little is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """Put a file system of so many bytes at a folder for the block; `OSError` where that is not to be had."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={max(4096, size)}", "none", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        raise OSError(made.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def to_be_read(folder: Path) -> Iterator[None]:
    """Let nobody write into a folder in the block, root included; `OSError` where that is not to be had."""
    commands = (["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,ro,bind", str(folder)])
    for command in commands:
        made = subprocess.run(command, capture_output=True, check=False)
        if made.returncode:
            raise OSError(made.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def places(folder: Path) -> dict[str, Path]:
    """Make a run, an image and a folder of photographs, and return what calls are filled in with but {out}."""
    photos, draws = folder / "photos", np.random.default_rng(0)
    for index in range(24):
        name = photos / "ab"[index % 2] / f"{index}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 255, (9, 9, 3), np.uint8)).save(name)
    run = folder / "whole"
    ended = call(["train", *DIGITS, "--epochs", "2", "--out", str(run)])
    if ended.status:
        raise RuntimeError(ended.said)
    return {"run": run, "photos": photos, "image": photos / "a" / "0.png"}


def attempt(name: str, there: dict[str, Path], out: Path) -> tuple[Ended, list[str]]:
    """Run a writer into a folder; return how it ended, and what is wrong."""
    ended = call([word.format(**there, out=out) for word in WRITERS[name]])
    wrong = broken(out)
    if not ended.orderly:
        wrong = [f"status {ended.status}: {ended.said.strip()[-400:]}", *wrong]
    return ended, wrong


def needed(name: str, there: dict[str, Path], folder: Path) -> int:
    """Return the bytes that a writer leaves, in whole pages."""
    out = folder / "measured"
    out.mkdir(parents=True)
    if "{out}/run" in " ".join(WRITERS[name]):
        shutil.copytree(there["run"], out / "run")
    ended, wrong = attempt(name, there, out)
    if ended.status or wrong:
        raise RuntimeError(f"{name} does not work: {ended.said} {wrong}")
    total = sum(-(-path.stat().st_size // 4096) * 4096 for path in out.rglob("*") if path.is_file())
    shutil.rmtree(out)
    return total


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _run(names: Sequence[str], steps: int, seed: int, folder: Path) -> int:
    draws, there, failures = random.Random(seed), places(folder), 0
    for name in names:
        most = needed(name, there, folder)
        refused = 0
        for step in range(steps):
            size = most * (step + draws.random()) / steps
            out = folder / "disk"
            with disk(out, 1 << 28):
                if "{out}/run" in " ".join(WRITERS[name]):
                    shutil.copytree(there["run"], out / "run")
                used = sum(-(-path.stat().st_size // 4096) * 4096 for path in out.rglob("*") if path.is_file())
                subprocess.run(["mount", "-o", f"remount,size={int(used + size) + 4096}", str(out)], check=True)
                ended, wrong = attempt(name, there, out)
            refused += ended.status == 2
            failures += bool(wrong)
            for line in wrong:
                _tell(f"{name}, {size / 1e3:.0f} of {most / 1e3:.0f} kB: {line}")
        _tell(f"{name}: {steps} sizes up to {most} bytes, {refused} refused")
        out = folder / "read"
        out.mkdir(exist_ok=True)
        if "{out}/run" in " ".join(WRITERS[name]):
            shutil.copytree(there["run"], out / "run")
        with to_be_read(out):
            ended, wrong = attempt(name, there, out)
        shutil.rmtree(out)
        failures += bool(wrong) or ended.status == 0
        for line in wrong or [f"status {ended.status}: {ended.said.splitlines()[-1:]}"]:
            _tell(f"{name}, read-only: {line}")
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(WRITERS), choices=list(WRITERS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        count = _run(options.only, options.steps, options.seed, Path(made))
    _tell(f"{count} accidents did not end in good order")
    sys.exit(count > 0)
