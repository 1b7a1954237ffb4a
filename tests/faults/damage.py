"""Damage to the files of caches and runs: each is noticed, or changes nothing; `python -m tests.faults.damage`."""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gradsculpt.cli.main import main
from gradsculpt.data import stored
from gradsculpt.data.base import Skipped
from gradsculpt.data.building import Row
from gradsculpt.data.cache import Cached, cached
from gradsculpt.errors import GradsculptError
from gradsculpt.evaluation import Scorecard
from gradsculpt.fingerprint import fingerprint
from gradsculpt.models import load
from gradsculpt.report import read_curve

PAGE = 4096
FLAGS = ["--data", "digits", "--image-size", "8", "--batch-size", "32", "--train-count", "64", "--threads", "1"]
FLAGS += ["--lr", "0.003", "--device", "cpu", "--recipe", "l1", "--epochs", "2"]

Damage = Callable[[bytes, random.Random, bytes], bytes]


def _flip(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


def _zeroed(content: bytes, place: int, length: int) -> bytes:
    return content[:place] + bytes(len(content[place : place + length])) + content[place + length :]


def _swapped(content: bytes, size: int) -> bytes:
    """Return the content with its first two blocks of a size, after the header, in each other's place."""
    start = len(content) // 3
    first, second = content[start : start + size], content[start + size : start + 2 * size]
    return content[:start] + second + first + content[start + 2 * size :]


DAMAGES: dict[str, Damage] = {
    "bit in the header": lambda c, r, o: _flip(c, r.randrange(min(64, len(c))), r.randrange(8)),
    "bit in the middle": lambda c, r, o: _flip(c, r.randrange(len(c)), r.randrange(8)),
    "bit at the end": lambda c, r, o: _flip(c, len(c) - 1 - r.randrange(min(64, len(c))), r.randrange(8)),
    "cut": lambda c, r, o: c[: r.randrange(1, len(c))],
    "cut after a line": lambda c, r, o: c[: c.rfind(b"\n", 0, len(c) - 2) + 1],
    "zeroed page": lambda c, r, o: _zeroed(c, r.randrange(-(-len(c) // PAGE)) * PAGE, PAGE),
    "zeroed piece": lambda c, r, o: _zeroed(c, r.randrange(len(c)), 16),
    "more at the end": lambda c, r, o: c + r.randbytes(1 + r.randrange(2000)),
    "swapped blocks": lambda c, r, o: _swapped(c, max(8, min(PAGE, len(c) // 4))),
    "another's content": lambda c, r, o: o,
    "empty": lambda c, r, o: b"",
}


class Trial(NamedTuple):
    """What a damage led to: `refused` in one line that names the file, `made again`, `harmless`, or `silent`."""

    file: str
    damage: str
    result: str


def trials(folder: Path, other: Path, names: Sequence[str], count: int, seed: int) -> Iterator[tuple[Path, str]]:
    """Damage files of a folder in turn, in every way in turn, and put them right again after each."""
    draws = random.Random(seed)
    pairs = [(name, damage) for damage in DAMAGES for name in names if (name, damage) not in WHOLE]
    draws.shuffle(pairs)
    for name, damage in (pairs * (count // len(pairs) + 1))[:count]:
        path = folder / name
        content = path.read_bytes()
        damaged = DAMAGES[damage](content, draws, (other / name).read_bytes())
        if damaged == content:  # a piece that was zero before
            damaged = _flip(content, draws.randrange(len(content)), 0)
        path.write_bytes(damaged)
        try:
            yield path, damage
        finally:
            path.write_bytes(content)


# Caches


def _set(folder: Path, seed: int, heard: list[str]) -> Cached:
    def rows() -> Iterator[Row | Skipped]:
        draws = np.random.default_rng(seed)
        for i in range(40):
            yield Row(draws.integers(0, 256, (24, 24, 3), np.uint8), i % 2, f"{i}.png", np.full((24, 24), i, np.uint8))
        yield Skipped("41.png", "it is broken")

    return cached(folder, "set", {"seed": seed}, ("cat", "dog"), rows, tell=heard.append)


def _read(found: Cached) -> tuple[bytes, ...]:
    images = found.images
    assert images.attention is not None
    arrays = (images.images[:], images.labels, images.attention[:])
    texts = (tuple(images.names), images.classes, found.skipped)
    return (*(np.asarray(each).tobytes() for each in arrays), repr(texts).encode())


def damage_caches(count: int, seed: int, place: Path) -> list[Trial]:
    """Damage caches, of which half are small enough to be read as a whole, and read them."""
    results, small = [], stored._SMALL
    right = _read(_set(place / "right", 1, []))
    for way, limit in enumerate((small, 0)):
        stored._SMALL = limit
        _set(place / "other", 2, [])
        names = ["meta.json", "images.npy", "attention.npy"]
        for number in range(count // 2):
            folder, heard = place / f"{way}-{number}", list[str]()
            _set(folder, 1, [])
            (there,), (other,) = folder.iterdir(), (place / "other").iterdir()
            for path, damage in trials(there, other, names, 1, seed + 1000 * way + number):
                try:
                    same = _read(_set(folder, 1, heard)) == right
                    result = ("made again" if heard else "harmless") if same else "silent"
                except GradsculptError as error:
                    result = "refused" if str(there) in str(error) else f"untold: {error}"
                results.append(Trial(path.name, damage, result))
                path.parent.mkdir(exist_ok=True)
            shutil.rmtree(folder)
        stored._SMALL = small
    return results


# Runs


def made_run(folder: Path, seed: int) -> Path:
    """Train and score a network of the digits."""
    _command("train", "--out", str(folder), *FLAGS, "--seed", str(seed))
    load_card(folder).save(folder / "scorecard.json")
    return folder


def load_card(folder: Path) -> Scorecard:
    """Return a small scorecard of the run's network, as an evaluation leaves one."""
    from gradsculpt.evaluation.results import entry
    from gradsculpt.metrics import gini

    weights = torch.cat([value.flatten() for value in load(folder).network.parameters()])
    settings = {"data": "digits", "fingerprints": {"network": fingerprint(load(folder))}}
    return Scorecard("run", settings, {"gini": entry("sparsity", gini.scores[0], weights[:50].detach().abs(), 0)})


def _command(*words: str) -> tuple[int, str]:
    said = StringIO()
    with redirect_stderr(said), redirect_stdout(StringIO()):
        status = main(list(words))
    return status, said.getvalue().splitlines()[-1] if said.getvalue() else ""


def _loaded(run: Path) -> bytes:
    return b"".join(value.numpy().tobytes() for value in load(run).network.state_dict().values())


def _resumed(run: Path) -> bytes:
    status, line = _command("train", "--out", str(run), "--resume", "--epochs", "3")
    if status:
        raise GradsculptError(line)
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in _rows(run)]
    return _loaded(run) + repr(rows).encode()


def _rows(run: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if "checksum" not in name} for row in read_curve(run)]


def _scored(run: Path) -> bytes:
    """Return a scorecard as it is used again: that of another network has other fingerprints."""
    card = Scorecard.load(run)
    if card.settings["fingerprints"] != {"network": fingerprint(load(run))}:
        raise GradsculptError("scorecard.json is of another network")
    return str(card).encode() + repr(card).encode()


WHOLE = {("metrics.csv", "another's content")}
"""What is whole in itself: a table of another training, which a training that goes on replaces by its own."""

READERS: dict[str, Callable[[Path], bytes]] = {
    "model.safetensors": _loaded,
    "model.json": lambda run: _loaded(run) + repr((load(run).classes, load(run).space, load(run).reached)).encode(),
    "scorecard.json": _scored,
    "metrics.csv": lambda run: repr(_rows(run)).encode(),
    "config.yaml": _resumed,
    "checkpoints/last.ckpt": _resumed,
    "checkpoints/best.ckpt": _resumed,
}


def damage_runs(count: int, seed: int, place: Path) -> list[Trial]:
    """Damage the files of a run, and do with each what it is there for."""
    run, other, results = made_run(place / "run", 0), made_run(place / "other", 1), []
    rights: dict[str, bytes] = {}
    for name, read in READERS.items():
        shutil.copytree(run, place / "right")
        rights[name] = read(place / "right")
        shutil.rmtree(place / "right")
    for path, damage in trials(run, other, list(READERS), count, seed):
        name = path.relative_to(run).as_posix()
        copy = shutil.copytree(run, place / "copy")
        try:
            result = "harmless" if READERS[name](copy) == rights[name] else "silent"
        except GradsculptError as error:
            result = "refused" if path.name in str(error) else f"untold: {error}"
        results.append(Trial(name, damage, result))
        shutil.rmtree(copy)
    return results


def run(caches: int, runs: int, seed: int, place: Path) -> list[Trial]:
    """Do so many trials of both kinds in an empty folder."""
    found = damage_caches(caches, seed, place / "caches") if caches else []
    return [*found, *(damage_runs(runs, seed, place / "runs") if runs else [])]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--caches", type=int, default=88)
    parser.add_argument("--runs", type=int, default=140)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as ground:
        done = run(chosen.caches, chosen.runs, chosen.seed, Path(ground))
    for (file, result), number in sorted(Counter((each.file, each.result[:40]) for each in done).items()):
        sys.stdout.write(f"{file:24} {result:40} {number}\n")
    sys.stdout.write("".join(f"{each}\n" for each in done if each.result == "harmless"))
    bad = [each for each in done if each.result == "silent" or each.result.startswith("untold")]
    sys.stdout.write("\n".join(map(repr, bad)) + f"\n{len(done)} damages, {len(bad)} not noticed, or not told of\n")
    sys.exit(1 if bad else 0)
