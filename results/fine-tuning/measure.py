"""What fine-tuning does to maps: methods on two networks and two small data sets, three seeds each.

The data are 60 training and 50 test photos of each of four classes: of ImageNette (church, garbage truck, gas pump,
golf ball) at 128 pixels, and of CIFAR-10 (airplane, automobile, cat, horse), enlarged to 64. Trains through
`gradsculpt train`, one thread a training; the settings were chosen on other images (see README.md), and the test
photos are read here alone. Finished runs are not trained again, so it can be stopped and started. Writes one row a run
to runs.csv, the tables into README.md (means of the seeds, and half their range), and maps of the first seed to
maps.png.

    python results/fine-tuning/measure.py --runs DIR --imagenette DIR --cifar DIR
"""

import argparse
import csv
import io
import os
import random
import shutil
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
from gradsculpt.metrics import connectedness, gini, ssim
from gradsculpt.visualize import colour, contact_sheet, plain

SEEDS = (0, 1, 2)
TRAIN, TEST = 60, 50
SETS = {
    "imagenette": (
        128,
        {"church": "n03028079", "garbage truck": "n03417042", "gas pump": "n03425413", "golf ball": "n03445777"},
    ),
    "cifar": (64, {name: name for name in ("airplane", "automobile", "cat", "horse")}),
}
METHODS = {
    "standard": "--recipe fine-tune-standard",
    "elastic net, ReLU": "--recipe fine-tune-standard --objective adversarialtraining(elasticnet(0.03,0.3))",
    "cross entropy, Softplus": "--recipe fine-tune-standard --softplus 10",
    "gradient penalty, Softplus": "--recipe fine-tune-standard --softplus 10 --objective gradientpenalty(l1(0.05))",
    "fine-tune": "--recipe fine-tune",
}
COMPARED = {"mobilenet_v2": tuple(METHODS), "efficientnet-lite0": ("standard", "fine-tune")}
DRAWN = ("standard", "cross entropy, Softplus", "fine-tune")
MEASURES = ("accuracy", "gini", "ssim", "component", "seconds")
NOISE = 8 / 255


class Job(NamedTuple):
    """A training: the data, the network, the method and the seed."""

    data: str
    network: str
    method: str
    seed: int

    def folder(self, runs: Path) -> Path:
        """Return the folder of the run."""
        return runs / self.data / self.network / f"{self.method.replace(',', '').replace(' ', '-')}-{self.seed}"


def main() -> None:
    """Train what is missing, score it and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--imagenette", type=Path, help="ImageNette, train/ and val/ with a folder a class")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10, train/ and test/ with a folder a class")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 1)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, source in (("imagenette", options.imagenette), ("cifar", options.cifar)):
        if source is not None and name in options.sets:
            gather(name, source, options.runs / "photos" / name)
    jobs = [
        Job(data, network, method, seed)
        for seed in options.seeds
        for data in options.sets
        for network, methods in COMPARED.items()
        for method in methods
        if method in options.methods
    ]
    with ThreadPoolExecutor(options.processes) as pool:
        for line in pool.map(lambda job: train(job, options.runs), jobs):
            print(line, flush=True)
    rows = [
        {**job._asdict(), **score(job, options.runs)}
        for job in jobs
        if (job.folder(options.runs) / "model.json").exists()
    ]
    write(options.out, rows)
    draw(options)


def gather(name: str, source: Path, photos: Path) -> None:
    """Copy the first of the shuffled images of each class, unless that was done."""
    if photos.exists():
        return
    for part, held, count in (("train", "train", TRAIN), ("test", "test" if name == "cifar" else "val", TEST)):
        for short, folder in SETS[name][1].items():
            files = sorted((source / held / folder).iterdir())
            random.Random(0).shuffle(files)
            (photos / part / short).mkdir(parents=True)
            for file in files[:count]:
                shutil.copy(file, photos / part / short)


def train(job: Job, runs: Path) -> str:
    """Train one network unless that was done; return a line on it."""
    folder = job.folder(runs)
    if (folder / "model.json").exists():
        return f"{folder}: there"
    words = ["train", "--data", f"folder:{runs / 'photos' / job.data}", *METHODS[job.method].split()]
    words += ["--image-size", str(SETS[job.data][0]), "--model", f"pretrained:{job.network}", "--threads", "1"]
    words += ["--seed", str(job.seed), "--cache-dir", str(runs / "cache"), "--out", str(folder), "--resume"]
    started = time.monotonic()
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-m", "gradsculpt", *words], capture_output=True, text=True, env=quiet)
    state = "done" if ended.returncode == 0 else f"FAILED: {ended.stderr.strip()[-300:]}"
    return f"{folder}: {state}, {time.monotonic() - started:.0f} s"


def score(job: Job, runs: Path) -> dict[str, float]:
    """Score the maps of true classes on the test photos.

    `ssim` is the structural similarity of heat maps of a photo and of a copy with uniform noise of 8 levels,
    `component` the mean size, in pixels, of the connected parts of the brightest pixels.
    """
    classifier = gs.load(job.folder(runs))
    generator = torch.Generator().manual_seed(0)
    rows: dict[str, list[torch.Tensor]] = {}
    for batch in loader(test_photos(job.data, runs), 50, shuffle=False):
        images, y = to_float(batch.images), batch.labels
        noise = (torch.rand(images.shape, generator=generator) * 2 - 1) * NOISE
        maps, others = (
            heatmap(Gradient()(classifier.network, classifier.space.normalize(part), y))
            for part in (images, (images + noise).clamp(0, 1))
        )
        with torch.no_grad():
            right = (classifier(images).argmax(dim=1) == y).float()
        found = {
            "accuracy": right,
            "gini": gini(maps),
            "ssim": ssim(maps, others),
            "component": connectedness(maps)["mean_component_size"],
        }
        for measure, values in found.items():
            rows.setdefault(measure, []).append(values.detach())
    scores = {measure: float(torch.cat(values).mean()) for measure, values in rows.items()}
    with (job.folder(runs) / "metrics.csv").open() as file:
        scores["seconds"] = sum(float(line["seconds"]) for line in csv.DictReader(file))
    return scores


def test_photos(name: str, runs: Path) -> ImageSet:
    """Return the test photos of a data set."""
    places = {"data_dir": runs, "cache_dir": runs / "cache"}
    return load_data(f"folder:{runs / 'photos' / name}", **places, image_size=SETS[name][0]).test


def write(out: Path, rows: list[dict[str, object]]) -> None:
    """Write one row a run, and a table for each data set and network."""
    with (out / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*Job._fields, *MEASURES], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{v:.4f}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    tables = []
    for data in SETS:
        for network in COMPARED:
            lines = [f"| {data}, {network} | " + " | ".join(MEASURES) + " |", "| --- " * (len(MEASURES) + 1) + "|"]
            for method in METHODS:
                mine = [r for r in rows if (r["data"], r["network"], r["method"]) == (data, network, method)]
                if mine:
                    cells = [summary([float(str(row[m])) for row in mine], m) for m in MEASURES]
                    lines.append(f"| {method} | " + " | ".join(cells) + " |")
            if len(lines) > 2:
                tables.append("\n".join(lines))
    page = out / "README.md"
    before, rest = page.read_text().split("<!-- tables -->\n")
    after = rest.split("<!-- end -->\n", 1)[1]
    page.write_text(f"{before}<!-- tables -->\n" + "\n\n".join(tables) + f"\n<!-- end -->\n{after}")
    print("\n\n".join(tables), flush=True)


def summary(values: list[float], measure: str) -> str:
    """Return a mean and half the range of the seeds."""
    if measure == "seconds":
        return f"{statistics.mean(values):.0f}"
    half = (max(values) - min(values)) / 2
    return (
        f"{statistics.mean(values):.1f} ± {half:.1f}"
        if measure == "component"
        else (f"{statistics.mean(values):.3f} ± {half:.3f}")
    )


def draw(options: argparse.Namespace) -> None:
    """Draw maps of MobileNetV2, of the first seed: a photo of each class of ImageNette a row, a method a column."""
    photos = test_photos("imagenette", options.runs)
    batch = next(iter(loader(photos.subset(np.arange(4) * TEST + 1), 4, shuffle=False)))
    images = to_float(batch.images)
    columns = [plain(images)]
    for method in DRAWN:
        classifier = gs.load(Job("imagenette", "mobilenet_v2", method, options.seeds[0]).folder(options.runs))
        maps = Gradient()(classifier.network, classifier.space.normalize(images), batch.labels)
        columns.append(colour(maps))
    rows = [[column[i] for column in columns] for i in range(4)]
    labels = [photos.classes[i] for i in batch.labels.tolist()]
    sheet = Image.open(io.BytesIO(contact_sheet(rows, ["photo", *DRAWN], labels)))
    sheet.thumbnail((720, 2000))
    sheet.convert("RGB").quantize(160, dither=Image.Dither.NONE).save(options.out / "maps.png", optimize=True)


if __name__ == "__main__":
    main()
