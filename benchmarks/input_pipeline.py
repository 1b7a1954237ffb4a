"""Images a second: memory-mapped batches augmented at once, beside per-image decoding and transforms.

Both deliver normalised float batches of 128 x 128 images, mirrored and shifted at random. The other side is
what torchvision's own training scripts do: ImageFolder, RandomHorizontalFlip, RandomCrop with padding, ToTensor and
Normalize in a DataLoader; the faster of 0 and 2 worker processes counts. The two sides take turns in one process.

    python benchmarks/input_pipeline.py [--data PATH] [--images 2048] [--rounds 5] [--threads N]

Both sides have all cores, unless told otherwise. PATH is a folder of class folders (or one with train/ inside);
without it, JPEG files are made in a temporary folder.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from gradsculpt.data import Augment, ImageSet, load_data, loader, to_input
from gradsculpt.inputs import InputSpace

SIZE, BATCH, SHARE = 128, 128, 0.125
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GOAL = 5.0


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


def rate(run: Callable[[], int]) -> float:
    """Return the images a second of `run`."""
    start = time.perf_counter()
    return run() / (time.perf_counter() - start)


def main() -> None:
    """Measure all sides in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.data or write_jpegs(Path(temporary) / "jpegs", arguments.images)
        start = time.perf_counter()
        cache_dir = Path(temporary) / "cache"
        images = load_data(f"folder:{folder}", data_dir=cache_dir, cache_dir=cache_dir, image_size=SIZE).train
        build = time.perf_counter() - start
        images = images.subset(np.linspace(0, len(images) - 1, min(arguments.images, len(images))).astype(np.int64))
        train = folder / "train" if (folder / "train").is_dir() else folder
        contenders = {
            "gradsculpt": lambda: ours(images),
            "torchvision, 0 workers": lambda: theirs(train, len(images), 0),
            "torchvision, 2 workers": lambda: theirs(train, len(images), 2),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        # The first round warms caches up and does not count.
        for round_number in range(arguments.rounds + 1):
            for name, run in contenders.items():
                measured = rate(run)
                if round_number > 0:
                    rates[name].append(measured)
    median = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{len(images)} images of {SIZE} x {SIZE}, batches of {BATCH}, {torch.get_num_threads()} threads")
    print(f"decoding into the cache, once: {build:.1f} s")
    for name, value in median.items():
        print(f"{name:24s} {value:8.0f} images/s   ({', '.join(f'{one:.0f}' for one in rates[name])})")
    ratio = median["gradsculpt"] / max(value for name, value in median.items() if name != "gradsculpt")
    print(f"ratio to the faster of the others: {ratio:.1f} (goal: at least {GOAL:g})")


if __name__ == "__main__":
    main()
