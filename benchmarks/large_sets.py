"""What a large set takes of memory beside a small one: listed, decoded, trained on and scored, each in a process.

`python benchmarks/large_sets.py --images 100000` prints the peak of a process's memory (VmHWM: all that it had mapped
and touched, files too) with 1,000 images and with so many, and the bytes a file that a listing of as many takes.
Images are small, and few of them are different: what is measured is what grows with their number.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
from PIL import Image

from gradsculpt.data.listing import list_images

_FEW, _SIDE, _DIFFERENT, _CLASSES = 1000, 16, 50, 10
_CHILD = """
import sys
from gradsculpt.cli.main import main
status = main(sys.argv[1:])
lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(status, *(lines[name].split()[0] for name in ("VmHWM", "RssAnon", "RssFile")))
"""


def generate(folder: Path, count: int) -> Path:
    """Write a folder of so many images, of which only a few are different; the others are links to these."""
    draws = np.random.default_rng(0)
    originals = [folder / f"{number}.png" for number in range(_DIFFERENT)]
    folder.mkdir(parents=True)
    for original in originals:
        Image.fromarray(draws.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)).save(original)
    for part, share in (("train", 10), ("test", 1)):
        for index in range(count * share // 10):
            place = folder / "set" / part / f"n{index % _CLASSES:08d}" / f"n{index % _CLASSES:08d}_{index:08d}.png"
            if index < _CLASSES:
                place.parent.mkdir(parents=True)
            os.link(originals[index % _DIFFERENT], place)
    return folder / "set"


def peak(words: list[str]) -> dict[str, float]:
    """Run a command in a process of its own; return the megabytes that it took."""
    done = subprocess.run([sys.executable, "-c", _CHILD, *words], capture_output=True, text=True, check=False)
    numbers = done.stdout.split()[-4:]
    if done.returncode or numbers[:1] != ["0"]:
        raise RuntimeError(done.stderr[-2000:])
    return {name: int(number) / 1024 for name, number in zip(("peak", "anonymous", "files"), numbers[1:], strict=True)}


def listed(folder: Path) -> tuple[float, float]:
    """Return the bytes a file that a listing takes, and that making it took at most."""
    tracemalloc.start()
    listing = list_images(folder / "train")
    now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return now / len(listing.files), most / len(listing.files)


def measure(images: int, folder: Path) -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """Return what each command took with a few images and with many."""
    rows = []
    sets = [generate(folder / str(count), count) for count in (_FEW, images)]
    train = ["--image-size", "16", "--model", "lenet", "--batch-size", "128", "--epochs", "1", "--threads", "1"]
    runs = [["train", "--data", f"folder:{each}", *train, "--out", f"{each}-run"] for each in sets]
    scores = [["evaluate", f"{each}-run", "--groups", "accuracy", "--split", "train"] for each in sets]
    for name, pair in (("train", runs), ("evaluate", scores)):
        rows.append((name, *(peak(words) for words in pair)))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        for name, few, many in measure(options.images, Path(made)):
            for kind in few:
                sys.stdout.write(
                    f"{name:<9} {kind:<10} {few[kind]:7.0f} MB of {_FEW:,} images, {many[kind]:7.0f} MB of "
                    f"{options.images:,}: {many[kind] / max(1, few[kind]) - 1:+.1%}\n"
                )
        now, most = listed(Path(made) / str(options.images) / "set")
        sys.stdout.write(f"listing   {now:.0f} bytes a file, {most:.0f} while it is made\n")
