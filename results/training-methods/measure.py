"""What each training method does to maps: every recipe on the cells and on a tenth of CIFAR-10, three seeds each.

Trains through `gradsculpt train`, one thread a training, as many trainings at once as there are processes, and scores
the networks on test images that no training saw. Finished runs are not trained again, so it can be stopped and
started. Writes one row a run to TABLE-runs.csv, the tables into README.md (means of the seeds, and half the range of
the seeds), and the maps of the first seed to TABLE.png.

    python results/training-methods/measure.py --runs DIR --cifar cifar10
"""

import argparse
import csv
import io
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

import gradsculpt as gs
from gradsculpt.attributions import Gradient, heatmap
from gradsculpt.data import ImageSet, load_data, loader, to_float
from gradsculpt.metrics import binary_scores, cosine, gini, ssim
from gradsculpt.penalties import GroupL21
from gradsculpt.visualize import colour, contact_sheet, plain

SEEDS = (0, 1, 2)


class Row(NamedTuple):
    """A method: the words of its command, and the measure that it is to move, with its direction."""

    name: str
    words: tuple[str, ...]
    measure: str
    direction: int


P = "--objective.penalty."
ROWS: dict[str, tuple[Row, ...]] = {
    "cells": (
        Row("standard", ("--recipe", "standard"), "gini", 0),
        Row("l1", ("--recipe", "l1", f"{P}weight", "0.05"), "gini", 1),
        Row("l1-iterative", ("--recipe", "l1-iterative", f"{P}weight", "0.05"), "gini", 1),
        Row("momentum", ("--recipe", "momentum", f"{P}weight", "0.05"), "gini", 1),
        Row("free", ("--recipe", "free", f"{P}weight", "0.05"), "gini", 1),
        Row("elastic-net", ("--recipe", "elastic-net", f"{P}l1", "0.05"), "gini", 1),
        Row("elastic-net-iterative", ("--recipe", "elastic-net-iterative", f"{P}l1", "0.05"), "gini", 1),
        Row("group", ("--recipe", "group", f"{P}patch", "4"), "group_gini", 1),
        Row("group-iterative", ("--recipe", "group-iterative", f"{P}patch", "4"), "group_gini", 1),
        Row(
            "penalty",
            (
                "--recipe",
                "penalty",
            ),
            "gini",
            1,
        ),
        Row("harmonize", ("--recipe", "harmonize", f"{P}weight", "4"), "overlap", 1),
        Row("harmonize-positive", ("--recipe", "harmonize-positive", f"{P}weight", "10"), "overlap", 1),
        Row("l2-control", ("--recipe", "l2-control", f"{P}weight", "0.3"), "overlap", 0),
        Row("noise", ("--recipe", "noise"), "gini", 0),
    ),
    "cifar10": (
        Row("standard-softplus", ("--recipe", "standard", "--softplus", "3"), "rps", 0),
        Row("aga-l2", ("--recipe", "aga-l2", "--objective.l2", "5"), "rps", 1),
        Row("aga-cos", ("--recipe", "aga-cos"), "rps", 1),
        Row("aga-l2-cos", ("--recipe", "aga-l2-cos", "--objective.l2", "5"), "rps", 1),
        Row("hessian", ("--recipe", "hessian", "--objective.weight", "0.05"), "rps", 1),
        Row("iga", ("--recipe", "iga"), "rps", 1),
        Row("atex", ("--recipe", "atex"), "rps", 1),
        Row("max-entropy", ("--recipe", "max-entropy"), "rps", 0),
        Row("standard", ("--recipe", "standard"), "gini", 0),
        Row("l1", ("--recipe", "l1", f"{P}weight", "0.05"), "gini", 1),
        Row("elastic-net", ("--recipe", "elastic-net", f"{P}l1", "0.05"), "gini", 1),
        Row("group", ("--recipe", "group", f"{P}patch", "4"), "group_gini", 1),
        Row("penalty", ("--recipe", "penalty"), "gini", 1),
        Row("noise", ("--recipe", "noise"), "gini", 0),
        Row("random-labels", ("--recipe", "elastic-net", f"{P}l1", "0.05", "--shuffle-labels"), "gini", 0),
    ),
}

ALIGNED = ("--recipe", "aga-l2-cos")
ROWS["savings"] = (
    Row("cross entropy", ("--recipe", "standard"), "rps", 0),
    *(
        Row(
            f"every {k}, share {p:g}",
            (*ALIGNED, "--objective.every", str(k), "--objective.share", str(p)),
            "rps",
            1,
        )
        for k, p in ((1, 1.0), (2, 1.0), (4, 1.0), (8, 1.0), (1, 0.5), (1, 0.25))
    ),
    Row("bf16", (*ALIGNED, "--precision", "bf16-mixed"), "rps", 1),
)
COSINE = ("--schedule", "cosine", "--weight-decay", "4e-5")
CELLS = "--data cells --train-count 900 --image-size 48 --model convnet --epochs 10 --batch-size 32"
SMALL = "--image-size 32 --train-count 4500 --model convnet --epochs 8 --batch-size 64"
CURVED = "--image-size 32 --train-count 4500 --model convnet --softplus 3 --epochs 12 --batch-size 64"
TRAINING = {"cells": CELLS.split(), "cifar10": SMALL.split(), "savings": CURVED.split()}
MEASURES = ("accuracy", "gini", "group_gini", "overlap", "rps", "ssim", "seconds")


def main() -> None:
    """Train what is missing, score it and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--cifar", default="cifar10", help="CIFAR-10, as the commands take it")
    parser.add_argument("--tables", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--only", nargs="*", default=None, help="names of methods")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 1)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    jobs = [
        (table, row, seed)
        for seed in options.seeds
        for table in options.tables
        for row in ROWS[table]
        if not options.only or row.name in options.only
    ]
    with ThreadPoolExecutor(options.processes) as pool:
        for line in pool.map(lambda job: train(*job, options), jobs):
            print(line, flush=True)
    for table in options.tables:
        results = [
            {"method": row.name, "seed": seed, **score(table, folder, options)}
            for row in ROWS[table]
            for seed in options.seeds
            if (folder := run_folder(table, row, seed, options)).joinpath("model.json").exists()
        ]
        write(options.out, table, results)
        if table != "savings":
            draw(options.out, table, options)


def run_folder(table: str, row: Row, seed: int, options: argparse.Namespace) -> Path:
    """Return the folder of a run."""
    return Path(options.runs) / table / f"{row.name.replace(' ', '-').replace(',', '')}-{seed}"


def train(table: str, row: Row, seed: int, options: argparse.Namespace) -> str:
    """Train one network unless that was done; return a line on it."""
    folder = run_folder(table, row, seed, options)
    if (folder / "model.json").exists():
        return f"{folder}: there"
    data = () if table == "cells" else ("--data", options.cifar)
    words = ["train", *data, *row.words, *TRAINING[table], *COSINE, "--seed", str(seed), "--threads", "1"]
    cache = Path(options.runs) / "cache"
    words += ["--cache-dir", str(cache), "--out", str(folder), "--resume"]
    started = time.monotonic()
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-m", "gradsculpt", *words], capture_output=True, text=True, env=quiet)
    state = "done" if ended.returncode == 0 else f"FAILED: {ended.stderr.strip()[-300:]}"
    return f"{folder}: {state}, {time.monotonic() - started:.0f} s"


def score(table: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Score the maps of true classes on the test images.

    `rps` is the cosine of the heat maps of an image and of a copy with uniform noise of 16 levels (paper B's headline
    measure, one draw for each of up to 1,000 images); `overlap` the precision of the maps' top band on the cells'
    evidence; `group_gini` the Gini index of the lengths of 4 x 4 patches of the gradient.
    """
    classifier = gs.load(folder)
    test = test_images(table, classifier.image_size, options)
    generator = torch.Generator().manual_seed(0)
    rows: dict[str, list[torch.Tensor]] = {}
    patches = GroupL21(1.0, patch=4)
    for batch in loader(test.subset(spread(len(test), 1000)), 100, shuffle=False):
        images, y = to_float(batch.images), batch.labels
        noise = (torch.rand(images.shape, generator=generator) * 2 - 1) * 16 / 255
        clean, noisy = (
            Gradient()(classifier.network, classifier.space.normalize(part), y)
            for part in (images, (images + noise).clamp(0, 1))
        )
        maps, others = heatmap(clean), heatmap(noisy)
        found = {
            "accuracy": (classifier(images).argmax(dim=1) == y).float(),
            "gini": gini(maps),
            "group_gini": gini(patches.norms(clean)),
            "rps": cosine(maps, others),
            "ssim": ssim(maps, others),
        }
        if batch.attention is not None:
            truth = to_float(batch.attention)[:, 0]
            seen = truth.amax(dim=(1, 2)) > 0
            found["overlap"] = binary_scores(maps[seen], truth[seen])["precision"]
        for measure, values in found.items():
            rows.setdefault(measure, []).append(values.detach())
    scores = {measure: float(torch.cat(values).mean()) for measure, values in rows.items()}
    with (folder / "metrics.csv").open() as file:
        scores["seconds"] = sum(float(line["seconds"]) for line in csv.DictReader(file))
    return scores


def draw(out: Path, table: str, options: argparse.Namespace) -> None:
    """Draw the heat maps of the first seed's networks: an image a row, a method a column."""
    rows = [row for row in ROWS[table] if (run_folder(table, row, options.seeds[0], options) / "model.json").exists()]
    classifiers = [gs.load(run_folder(table, row, options.seeds[0], options)) for row in rows]
    test = test_images(table, classifiers[0].image_size, options)
    chosen = [int(np.flatnonzero(test.labels == label)[0]) for label in (1, 3, 5, 6, 7)]
    batch = next(iter(loader(test.subset(np.array(chosen)), len(chosen), shuffle=False)))
    images = to_float(batch.images)
    columns = [plain(images)]
    names = ["image"]
    if batch.attention is not None:
        columns.append(colour(to_float(batch.attention)[:, 0], clip=100.0))
        names.append("truth")
    for row, classifier in zip(rows, classifiers, strict=True):
        maps = Gradient()(classifier.network, classifier.space.normalize(images), batch.labels)
        columns.append(colour(heatmap(maps)))
        names.append(row.name)
    pictures = [[column[i] for column in columns] for i in range(len(chosen))]
    sheet = Image.open(io.BytesIO(contact_sheet(pictures, names, [test.classes[test.labels[i]] for i in chosen])))
    sheet.convert("RGB").quantize(128).save(out / f"{table}.png", optimize=True)


def test_images(table: str, size: int, options: argparse.Namespace) -> ImageSet:
    """Return the test images of a table."""
    name = "cells" if table == "cells" else options.cifar
    count = {"train_count": 900} if table == "cells" else {}
    return load_data(name, data_dir=options.runs, cache_dir=options.runs / "cache", image_size=size, **count).test


def spread(total: int, most: int) -> torch.Tensor:
    """Return evenly spaced indices, at most so many."""
    return torch.linspace(0, total - 1, min(total, most)).round().long().numpy()


def write(out: Path, table: str, results: list[dict[str, object]]) -> None:
    """Write one row a run, and the table of the methods."""
    if not results:
        return
    out.mkdir(parents=True, exist_ok=True)
    measures = [measure for measure in MEASURES if any(measure in result for result in results)]
    with (out / f"{table}-runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["method", "seed", *measures], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{v:.4f}" if isinstance(v, float) else v for key, v in r.items()} for r in results)
    lines = ["| method | " + " | ".join(measures) + " | moved |", "| --- " * (len(measures) + 2) + "|"]
    for row in ROWS[table]:
        mine = [result for result in results if result["method"] == row.name]
        if not mine:
            continue
        cells = [summary([float(str(r[m])) for r in mine if m in r], m) for m in measures]
        lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {moved(table, row, mine, results)} |")
    page = out / "README.md"
    before, rest = page.read_text().split(f"<!-- {table} -->\n")
    after = rest.split("<!-- end -->\n", 1)[1]
    page.write_text(f"{before}<!-- {table} -->\n" + "\n".join(lines) + f"\n<!-- end -->\n{after}")
    print("\n".join(lines), flush=True)


def summary(values: list[float], measure: str) -> str:
    """Return a mean and half the range of the seeds."""
    if not values:
        return ""
    if measure == "seconds":
        return f"{statistics.mean(values):.0f}"
    spread_of_seeds = f" ± {50 * (max(values) - min(values)):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread_of_seeds}"


def moved(table: str, row: Row, mine: list[dict[str, object]], results: list[dict[str, object]]) -> str:
    """Say whether the method's own measure left standard training's range, and which way."""
    rectified = table == "cifar10" and row.measure != "rps"
    baseline = "standard" if rectified else ROWS[table][0].name
    theirs = [float(str(r[row.measure])) for r in results if r["method"] == baseline]
    values = [float(str(r[row.measure])) for r in mine]
    if row.name == baseline or not theirs:
        return ""
    if min(len(values), len(theirs)) == 1:
        return "one seed"
    gap = max(min(values) - max(theirs), min(theirs) - max(values))
    way = "up" if statistics.mean(values) > statistics.mean(theirs) else "down"
    return f"{row.measure} {way}, ranges apart" if gap > 0 else f"{row.measure} {way}, ranges overlap"


if __name__ == "__main__":
    main()
