"""What a reader brings: a folder of photos and a photo, small, drawn by a seed."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def bring(folder: Path, *, count: int = 24, side: int = 48) -> None:
    """Write `photos/{train,val}/CLASS/N.png` with attention for each, and `cat.jpg`, into a folder."""
    random = np.random.default_rng(0)
    for split, share in (("train", 1), ("val", 3)):
        for k, name in enumerate(CLASSES):
            for i in range(count // share):
                pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
                pixels[8:24, 8:24, k] = 255
                _write(folder / "photos" / split / name / f"{i}.png", pixels)
                mask = np.zeros((side, side), np.uint8)
                mask[8:24, 8:24] = 255
                _write(folder / "photos" / "attention" / split / name / f"{i}.png", mask)
    Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / "cat.jpg")


def _write(path: Path, pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
