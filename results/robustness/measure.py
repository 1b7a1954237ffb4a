"""Do the orderings of the papers hold under attack? Networks of results/training-methods, scored by `gs.evaluate`.

Every network is scored on the same test images, classes in turn: noise, the targeted l-infinity attack and the top-k
attack of 100 steps, insertion, randomised weights. An interrupted scoring goes on. Writes one row a network and score
to scores.csv, the tables of README.md, the scores and curves of the first seeds to TABLE.png, and to cascade.png what
randomised weights leave of the maps of one network.

    python results/robustness/measure.py --runs RUNS --out SCORES
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

import gradsculpt as gs
from gradsculpt.attributions import Gradient
from gradsculpt.cli.networks import open_run
from gradsculpt.data import loader, to_float
from gradsculpt.evaluation import (
    Accuracy,
    Fidelity,
    Protocol,
    RobustnessAttack,
    RobustnessRandom,
    Sanity,
    Scorecard,
    Sparsity,
    randomization,
)
from gradsculpt.evaluation.scorecard import plot
from gradsculpt.progress import Reporter
from gradsculpt.visualize import cascade_sheet

HERE = Path(__file__).parent
IMAGES = 256
PROTOCOL = Protocol(
    (
        Accuracy(),
        Sparsity(),
        RobustnessRandom(rps_levels=(4.0, 8.0, 16.0)),
        RobustnessAttack(levels=(0.5, 2.0), steps=100, images=64),
        Fidelity(),
        Sanity(),
    )
)
TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    # each method and the one that it is compared with
    "cells": {"standard": ("standard",), "elastic-net": ("standard",)},
    "cifar10": {
        "standard-softplus": ("standard-softplus",),
        "aga-l2-cos": ("standard-softplus",),
        "standard": ("standard",),
        "elastic-net": ("standard",),
    },
}
SHOWN = {
    "accuracy": 100,
    "gini": 100,
    "rps_cosine_16": 100,
    "attacked_ssim": 100,
    "attacked_topk_intersection": 100,
    "topk_attack_2": 100,
    "insertion": 100,
    "adv_insertion": 100,
}


def main() -> None:
    """Score, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="what measure.py of training-methods trained")
    parser.add_argument("--out", type=Path, required=True, help="folder of the scorecards")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[list[object]] = []
    firsts = []
    for table, methods in TABLES.items():
        cards = {method: seeds(options, table, method) for method in methods}
        for method, known in cards.items():
            for seed, card in enumerate(known):
                rows += [
                    [table, method, seed, name, e.mean, e.low, e.high, e.images] for name, e in card.entries.items()
                ]
        fill(table, [line(method, cards[method], cards[base]) for method, (base,) in methods.items()])
        firsts.append([known[0] for known in cards.values()])
    with (HERE / "scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["table", "method", "seed", "score", "mean", "low", "high", "images"], *rows])
    for table, cards in zip(TABLES, firsts, strict=True):
        plot(cards).savefig(HERE / f"{table}.png", dpi=90)
    cascade(options.runs / "cells" / "elastic-net-0", HERE / "cascade.png")


def cascade(run: Path, picture: Path) -> None:
    """Draw the maps of three images while the weights are drawn anew, from the output down to the input."""
    opened = open_run(run)
    classifier, test = (
        opened.classifier,
        opened.data({"data": None, "data_dir": None, "cache_dir": None}, Reporter()).test,
    )
    batch = next(iter(loader(test.subset(np.array([1, 2, 7])), 3, shuffle=False)))
    images = to_float(batch.images)
    x = classifier.space.normalize(images)
    found = randomization(classifier.network, Gradient(), x, batch.labels, keep=3)
    picture.write_bytes(cascade_sheet(images, found.original, found.maps, found.stages, scale="original"))


def seeds(options: argparse.Namespace, table: str, method: str) -> list[Scorecard]:
    """Score the runs of a method, one a seed."""
    return [score(path, options.out / table) for path in sorted((options.runs / table).glob(f"{method}-[0-9]"))]


def score(path: Path, out: Path) -> Scorecard:
    """Score a run, or read its scorecard if it has one."""
    file = out / path.name / "scorecard.json"
    if not file.is_file():
        run = open_run(path)
        test = run.data({"data": None, "data_dir": None, "cache_dir": None}, Reporter()).test
        # Folders are listed class by class; the first images shall stand for all classes.
        rank = np.array([(test.labels[:i] == label).sum() for i, label in enumerate(test.labels)])
        test = test.subset(np.lexsort((test.labels, rank)))
        batches = loader(test, 64, shuffle=False)
        folder = out / path.name
        card = gs.evaluate(
            run.classifier, batches, PROTOCOL, name=path.name, limit=min(IMAGES, len(test)), folder=folder
        )
        card.save(file)
        print(card, flush=True)
    return Scorecard.load(file)


def line(method: str, cards: list[Scorecard], bases: list[Scorecard]) -> str:
    """Return a line of a table: mean over the seeds, and a mark where every interval is apart from the base's."""
    cells = []
    for name, scale in SHOWN.items():
        mean = scale * sum(card[name].mean for card in cards) / len(cards)
        above = min(card[name].low for card in cards) > max(card[name].high for card in bases)
        below = max(card[name].high for card in cards) < min(card[name].low for card in bases)
        low, high = min(card[name].low for card in cards), max(card[name].high for card in cards)
        mark = " ▲" if above else " ▼" if below else ""
        cells.append(f"{mean:.1f} [{scale * low:.1f}, {scale * high:.1f}]{mark}")
    return "| " + " | ".join([f"{method} ({len(cards)})", *cells]) + " |"


def fill(table: str, lines: list[str]) -> None:
    """Put a table between its marks in README.md."""
    readme = HERE / "README.md"
    head = ["| method (seeds) | " + " | ".join(name.replace("_", " ") for name in SHOWN) + " |"]
    head.append("| --- " * (len(SHOWN) + 1) + "|")
    start, end = f"<!-- {table} -->", "<!-- end -->"
    before, _, rest = readme.read_text().partition(start)
    readme.write_text(before + start + "\n" + "\n".join([*head, *lines]) + "\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
