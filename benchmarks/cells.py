"""Milliseconds to draw a synthetic cell with its truth, beside a plain version that works on whole canvases.

One thread. The plain version draws balls with three tails: masks on the upright canvas, then turned and moved.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import ndimage

from gradsculpt.data.cells import draw

SIZES = (512, 64)


def plain(random: np.random.Generator, background: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a ball with three tails, step by step on the whole canvas; return image and truth."""
    unit = size / 512
    y, x = np.mgrid[:size, :size] - size / 2

    def smooth(low: float, high: float, side: int) -> np.ndarray:
        return ndimage.zoom(random.uniform(low, high, (side, side)), size / side, order=1)[:size, :size]

    radius, stretch, thickness = random.uniform((90, 0.5, 10), (110, 1.5, 30)) * (unit, 1, unit)
    distance = np.hypot(x, y / stretch) + smooth(-16 * unit, 16 * unit, 10)
    border, inside = (distance <= radius) & (distance > radius - thickness), distance <= radius - thickness
    u, v = (axis + smooth(-16 * unit, 16 * unit, 10) for axis in (x, y))
    tails = np.zeros_like(border)
    for angle in np.radians((0, 120, 240)):
        across, along = np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v
        tails |= (abs(across) < 10 * unit) & (along > 0.8 * stretch * radius) & (along < 1.5 * stretch * radius)
    colors = random.uniform(0.5, 0.9, (3, 3))
    cell = (border & ~tails)[..., None] * colors[0] + (inside & ~tails)[..., None] * colors[1]
    cell = cell + tails[..., None] * colors[2]
    truth = np.where(tails, 0.9, np.where(border | inside, 0.4, 0))
    turn, move = random.uniform(-60, 60), random.uniform(-0.33 * size, 0.33 * size, 2)
    cell = ndimage.shift(ndimage.rotate(cell, turn, reshape=False, order=1), (*move, 0), order=1)
    truth = ndimage.shift(ndimage.rotate(truth, turn, reshape=False, order=0), move, order=0)
    behind = np.zeros_like(cell)
    if background == 1:
        behind = np.stack([smooth(0.2, 0.7, 8) for _ in range(3)], axis=-1)
    elif background == 2:
        far = np.hypot(x - 0.5 * size, y - 0.5 * size) / unit
        waves = (random.uniform(0.006, 0.06) * far * (1 + smooth(-0.3, 0.3, 16)) for _ in range(3))
        behind = np.stack([0.25 * np.sin(wave) + 0.25 for wave in waves], axis=-1)
    image = np.where(cell.sum(axis=-1, keepdims=True) > 0.02, cell, behind)
    return (255 * image).astype(np.uint8), (255 * truth).astype(np.uint8)


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the shortest of some runs: on a shared machine the others measure the neighbours."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)


def shrunken(random: np.random.Generator, background: int, size: int) -> None:
    """Draw at 512 pixels and average, which keeps thin parts and short waves, as `draw` does."""
    block = 512 // size
    for array in plain(random, background, 512):
        array.reshape(size, block, size, block, -1).mean(axis=(1, 3))


def middle(work: Callable[[int], object], repeats: int) -> float:
    """Return the median over the backgrounds."""
    return float(np.median([milliseconds(partial(work, background), repeats) for background in range(3)]))


def main() -> None:
    """Print the median over all classes and backgrounds, and the ratio to the plain version for one class."""
    random = np.random.default_rng(0)
    for size in SIZES:
        each = [milliseconds(partial(draw, index, size=size), 7) for index in range(30)]
        print(f"cells, {size} x {size}: median {np.median(each):.2f} ms a sample, slowest kind {max(each):.2f} ms")
        ours = float(np.median(each[7::10]))
        for name, work in (("plain", plain), ("plain, drawn at 512 and averaged", shrunken)):
            if (work, size) != (shrunken, 512):
                theirs = middle(partial(_sized, work, random, size), 3)
                print(f"  three tails: {ours:.2f} ms; {name}: {theirs:.2f} ms; ratio {theirs / ours:.1f}")


def _sized(work: Callable[..., object], random: np.random.Generator, size: int, background: int) -> object:
    return work(random, background, size)


if __name__ == "__main__":
    main()
