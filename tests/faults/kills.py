"""Trainings that are killed, and go on until they have finished, are those that nobody killed.

`python -m tests.faults.kills --times 60 --seed 0 [--tmpdir FOLDER]` kills trainings of five recipes by SIGKILL, at
random moments and in the middle of writing their files, and compares weights, description and table with those of the
same trainings left alone, bit for bit but for the seconds that epochs took, and the names of all files.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gradsculpt.cli.main import main

COMMON = ["--threads", "1", "--device", "cpu", "--epochs", "3", "--batch-size", "32", "--lr", "0.003"]
DIGITS = ["--data", "digits", "--image-size", "8", "--train-count", "64"]
CELLS = ["--data", "cells", "--image-size", "16", "--train-count", "60"]
TRAININGS = {
    "standard": [*CELLS, "--recipe", "standard"],
    "l1": [*DIGITS, "--recipe", "l1"],
    "elastic-net": [*CELLS, "--recipe", "elastic-net", "--keep", "last"],
    "aga-l2-cos": [*DIGITS, "--recipe", "aga-l2-cos", "--model", "lenet"],
    "teacher": [*DIGITS, "--objective", "explanation_distillation:weight=1.0,eps=0.1,teacher_epochs=2"],
}


class Outcome(NamedTuple):
    """How a training went: how it was killed, at which moments, and what of it is not as it should be."""

    training: str
    kills: tuple[str, ...]
    wrong: str


class Moments:
    """Counts the moments of writing that pass in this process, and kills it at one of them."""

    def __init__(self, last: int | None) -> None:
        self.count, self._last = 0, last

    def __call__(self) -> None:
        """Let a moment pass."""
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Count before and after each change of a name and each wait for the disk, and in the middle of writing."""
        self._around(os, "fsync")
        self._around(Path, "replace")
        self._around(Path, "mkdir")
        self._around(csv.DictWriter, "writerows")
        write, save = Path.write_bytes, torch.save

        def half_written(path: Path, content: bytes) -> int:
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                self()
            return write(path, content)

        def half_saved(content: Any, stream: Any) -> None:
            save(content, stream)
            end = stream.tell()
            stream.truncate(end // 2)
            self()
            stream.seek(0)
            save(content, stream)

        Path.write_bytes, torch.save = half_written, half_saved  # type: ignore[assignment, method-assign]

    def _around(self, owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            self()
            result = plain(*args, **options)
            self()
            return result

        setattr(owner, name, watched)


def _process(words: Sequence[str], log: Path, last: int | None = None) -> int:
    """Start a training in a process of its own, which is killed at a moment; return its number."""
    if number := os.fork():
        return number
    moments, status = Moments(last), 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        moments.watch()
        status = main(list(words))
        log.with_suffix(".count").write_text(str(moments.count))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _ended(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def contents(run: Path) -> dict[str, Any]:
    """Return what is compared of a run: the names of all files, the files of the network, and the table of epochs."""
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*"))
    files = {name: (run / name).read_bytes() for name in ("model.safetensors", "model.json", "config.yaml")}
    with (run / "metrics.csv").open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if k != "seconds" and "checksum" not in k} for row in csv.DictReader(file)
        ]
    return {"names": names, **files, "table": rows}


class Alone(NamedTuple):
    """A training that nobody killed."""

    contents: dict[str, Any]
    moments: int
    seconds: float


def train_alone(name: str, place: Path) -> Alone:
    """Train without a kill."""
    out, log, started = place / f"{name}-alone", place / f"{name}-alone.log", time.monotonic()
    if status := _ended(_process(["train", "--out", str(out), *TRAININGS[name], *COMMON], log)):
        raise RuntimeError(f"{name} ends with {status}: {log.read_text()[-1000:]}")
    seconds = time.monotonic() - started
    return Alone(contents(out), int(log.with_suffix(".count").read_text()), seconds)


def train_killed(name: str, alone: Alone, kills: int, draws: random.Random, place: Path) -> Outcome:
    """Train, with so many kills, of which about half are in the middle of writing; go on after each, and compare."""
    out, log = place / name, place / f"{name}.log"
    words, told = ["train", "--out", str(out), "--resume", *TRAININGS[name], *COMMON], list[str]()
    try:
        while len(told) < kills:
            moment = draws.randrange(1, alone.moments + 1) if draws.random() < 0.6 else None
            wait = draws.uniform(0.0, alone.seconds)
            number = _process(words, log, moment)
            if moment is None:
                time.sleep(wait)
                os.kill(number, signal.SIGKILL)
            told.append(f"moment {moment}" if moment else f"after {wait:.2f} s")
            if (status := _ended(number)) == 0:
                told[-1] += " (it had finished)"
            elif status != -signal.SIGKILL:
                return Outcome(name, tuple(told), f"status {status}: {log.read_text().splitlines()[-1]}")
        if status := _ended(_process(words, log)):
            return Outcome(name, tuple(told), f"status {status}: {log.read_text().splitlines()[-1]}")
        now = contents(out)
        different = [key for key, value in alone.contents.items() if now[key] != value]
        strays = sorted({*now["names"]} ^ {*alone.contents["names"]})
        return Outcome(name, tuple(told), f"{', '.join(different)} {strays}" if different else "")
    finally:
        shutil.rmtree(out, ignore_errors=True)


def run(
    times: int,
    seed: int,
    place: Path,
    names: Sequence[str] = tuple(TRAININGS),
    tell: Callable[[Outcome], object] = lambda outcome: None,
) -> list[Outcome]:
    """Kill trainings so many times in all, one to three times each."""
    import_module("gradsculpt.training.run")  # once, for all processes that are forked
    draws, outcomes, done = random.Random(seed), list[Outcome](), 0
    alone = {name: train_alone(name, place) for name in names}
    while done < times:
        name, kills = names[len(outcomes) % len(names)], min(draws.randint(1, 3), times - done)
        outcomes.append(train_killed(name, alone[name], kills, draws, place))
        tell(outcomes[-1])
        done += kills
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tmpdir", type=Path, help="folder for what is temporary, on another file system for instance")
    parser.add_argument("--only", nargs="+", default=list(TRAININGS), choices=list(TRAININGS))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as ground:
        if chosen.tmpdir is not None:
            os.environ["TMPDIR"], tempfile.tempdir = str(chosen.tmpdir), None
        outcomes = run(
            chosen.times,
            chosen.seed,
            Path(ground),
            chosen.only,
            lambda each: sys.stdout.write(
                f"{each.training:12} {each.wrong or 'the same':30} {'; '.join(each.kills)}\n"
            ),
        )
    bad = [each for each in outcomes if each.wrong]
    sys.stdout.write(f"{sum(len(each.kills) for each in outcomes)} kills, {len(bad)} trainings that differ\n")
    sys.exit(1 if bad else 0)
