"""Images a second: batches from memory, augmented at once, and files decoded once, beside what a user would do instead.

- pipeline: normalised float batches of 128 x 128 images, mirrored and shifted at random, from a memory map; beside
  torchvision's own training scripts: ImageFolder, RandomHorizontalFlip, RandomCrop with padding, ToTensor and Normalize
  in a DataLoader; the faster of 0 and 2 worker processes counts. The two sides take turns in one process.
- decoding: small PNG files into the cache, once, on so many cores; beside one pass of ImageFolder and ToTensor in a
  DataLoader with a worker process a core, which each epoch repeats.
- device: the same batches as in the pipeline, of 32 x 32 images, from a set that stays on the device, beside batches
  that are read and sent there; the host's time a batch is told apart, as it may not be longer than a training step.

    python benchmarks/input_pipeline.py [--part pipeline decoding device] [--device cpu|cuda] [--data PATH]
        [--images 2048] [--files 8000] [--rounds 5] [--threads N]

All sides have all cores, unless told otherwise. PATH is a folder of class folders (or one with train/ inside), for the
pipeline; without it, JPEG files are made in a temporary folder. PNG files always are.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from gradsculpt.data import Augment, ImageSet, load_data, loader, to_input
from gradsculpt.data.cache import workers
from gradsculpt.data.resident import ResidentLoader
from gradsculpt.inputs import InputSpace

SIZE, BATCH, SHARE = 128, 128, 0.125
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GOAL = 5.0
SMALL = 32
FILES, SECONDS, CORES = 50_000, 8, 16  # so many small files in so many seconds on so many cores


def write_jpegs(folder: Path, count: int) -> Path:
    """Write images that are as smooth, and so compress as well, as photographs."""
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        place = folder / f"class{index % 10}" / f"{index:05d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(place, quality=90)
    return folder


def ours(images: ImageSet) -> int:
    """Run one epoch of this project's pipeline and return the number of images."""
    space, augment, generator = InputSpace(MEAN, STD), Augment(flip=True, crop=SHARE), torch.Generator().manual_seed(0)
    seen = 0
    for batch in loader(images, BATCH, shuffle=True):
        changed, _ = augment(batch.images, None, generator)
        seen += len(to_input(changed, space))
    return seen


def theirs(folder: Path, count: int, workers: int) -> int:
    """Run one epoch of torchvision's pipeline and return the number of images."""
    transform = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(SIZE, padding=round(SHARE * SIZE), padding_mode="reflect"),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    data_set = ImageFolder(str(folder), transform)
    chosen = Subset(data_set, np.linspace(0, len(data_set) - 1, count).astype(int).tolist())
    return sum(len(x) for x, _ in DataLoader(chosen, BATCH, shuffle=True, num_workers=workers))


def write_pngs(folder: Path, count: int) -> Path:
    """Write images of 32 x 32 pixels that compress as small photographs do."""
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        place = folder / f"class{index % 10}" / f"{index:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((SMALL, SMALL), Image.Resampling.BICUBIC).save(place, compress_level=1)
    return folder


def decoded(folder: Path, cache_dir: Path) -> int:
    """Decode a folder into a new cache and return the number of images."""
    shutil.rmtree(cache_dir, ignore_errors=True)
    splits = load_data(f"folder:{folder}", data_dir=cache_dir, cache_dir=cache_dir, image_size=SMALL)
    return len(splits.train) + len(splits.val) + len(splits.test)


def opened(folder: Path, processes: int) -> int:
    """Decode a folder once as torchvision's users do and return the number of images."""
    data_set = ImageFolder(str(folder), transforms.ToTensor())
    return sum(len(x) for x, _ in DataLoader(data_set, BATCH, num_workers=processes))


def rate(run: Callable[[], int]) -> float:
    """Return the images a second of `run`."""
    start = time.perf_counter()
    return run() / (time.perf_counter() - start)


def medians(contenders: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Let all sides take turns, print what each reaches, and return the medians; the first round does not count."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(rounds + 1):
        for name, run in contenders.items():
            measured = rate(run)
            if round_number > 0:
                rates[name].append(measured)
    median = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in median.items():
        print(f"{name:34s} {value:9.0f} images/s   ({', '.join(f'{one:.0f}' for one in rates[name])})")
    return median


def ratio(median: dict[str, float]) -> float:
    """Return the first side's rate by that of the fastest of the others."""
    first, *others = median.values()
    return first / max(others)


def pipeline(arguments: argparse.Namespace, temporary: Path) -> None:
    """Compare batches from the cache with those that are decoded and changed one by one."""
    folder = arguments.data or write_jpegs(temporary / "jpegs", arguments.images)
    start, cache_dir = time.perf_counter(), temporary / "cache"
    images = load_data(f"folder:{folder}", data_dir=cache_dir, cache_dir=cache_dir, image_size=SIZE).train
    build = time.perf_counter() - start
    images = images.subset(np.linspace(0, len(images) - 1, min(arguments.images, len(images))).astype(np.int64))
    train = folder / "train" if (folder / "train").is_dir() else folder
    print(f"{len(images)} images of {SIZE} x {SIZE}, batches of {BATCH}, {torch.get_num_threads()} threads")
    print(f"decoding into the cache, once: {build:.1f} s")
    sides: dict[str, Callable[[], int]] = {
        "gradsculpt": lambda: ours(images),
        "torchvision, 0 workers": lambda: theirs(train, len(images), 0),
        "torchvision, 2 workers": lambda: theirs(train, len(images), 2),
    }
    print(f"ratio to the faster of the others: {ratio(medians(sides, arguments.rounds)):.1f} (goal: at least {GOAL:g})")


def decoding(arguments: argparse.Namespace, temporary: Path) -> None:
    """Compare the cache's decoding with a pass of torchvision's."""
    folder, count = write_pngs(temporary / "pngs", arguments.files), workers()
    print(f"{arguments.files} PNG files of {SMALL} x {SMALL}, {count} cores")
    sides: dict[str, Callable[[], int]] = {
        "gradsculpt, into the cache": lambda: decoded(folder, temporary / "decoded"),
        f"torchvision, {count} workers": lambda: opened(folder, count),
    }
    median = medians(sides, arguments.rounds)
    each, goal = median["gradsculpt, into the cache"] / count, FILES / SECONDS / CORES
    print(f"ratio: {ratio(median):.1f}; files a second a core: {each:.0f} (goal: at least {goal:.0f})")
    print(f"so {FILES} take {FILES / each / count:.1f} s on {count} cores (goal: {SECONDS * CORES / count:.0f} s)")


def on_device(arguments: argparse.Namespace, temporary: Path) -> None:
    """Compare batches of a set that stays on the device with batches that are sent there."""
    device, count = torch.device(arguments.device), 16 * arguments.images
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    pixels = np.random.default_rng(0).integers(0, 256, (count, SMALL, SMALL, 3), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(count) % 10, tuple("abcdefghij"), tuple(map(str, range(count))))
    space, augment, host = InputSpace(MEAN, STD), Augment(flip=True, crop=SHARE), dict[str, list[float]]()
    ahead = device if device.type == "cuda" else None
    resident = ResidentLoader(images, BATCH, device, shuffle=True, augment=augment)
    read = loader(images, BATCH, shuffle=True, ahead=ahead)

    def epoch(name: str, batches: Any, change: Augment | None) -> int:
        start, seen = time.perf_counter(), 0
        for number, batch in enumerate(batches):
            x = batch.images.to(device, non_blocking=True)
            if change is not None:
                x, _ = change(x, None, torch.Generator().manual_seed(number))
            seen += len(to_input(x, space))
        host.setdefault(name, []).append((time.perf_counter() - start) / len(batches))
        if device.type == "cuda":
            torch.cuda.synchronize()
        return seen

    print(f"{count} images of {SMALL} x {SMALL}, batches of {BATCH}, on {device}")
    sides: dict[str, Callable[[], int]] = {
        "stay on the device": lambda: epoch("stay on the device", resident, None),
        "read and sent": lambda: epoch("read and sent", read, augment),
    }
    print(f"ratio: {ratio(medians(sides, arguments.rounds)):.1f}")
    for name, seconds in host.items():
        print(f"{name:34s} {1e6 * statistics.median(seconds[1:]):9.0f} us of the host a batch")


def main() -> None:
    """Measure the parts that are asked for."""
    parts = {"pipeline": pipeline, "decoding": decoding, "device": on_device}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--files", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for part in arguments.part:
        with tempfile.TemporaryDirectory() as temporary:
            parts[part](arguments, Path(temporary))


if __name__ == "__main__":
    main()
