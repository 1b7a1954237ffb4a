"""Synthetic cells whose discriminative pixels are known: ten classes on three backgrounds, drawn on demand.

Every length below is in units of a 512-pixel canvas, so that a cell can be drawn at any size. A cell is described in
its own upright frame (u to the right, v down, origin at its centre) and evaluated straight at the rotated pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gradsculpt import checks
from gradsculpt.data.base import Bytes

Floats = npt.NDArray[np.float32]

CLASSES = ("ball", "bar", "cross", "red", "green", "blue", "one-tail", "three-tails", "eight-tails", "blank")
BACKGROUNDS = ("none", "blocks", "waves")
LOCALIZATION, DISCRIMINATIVE = 102, 229  # .4 and .9 of 255, rounded down

_CANVAS = 512.0
_RANGES = {
    "radius": (90, 110),
    "stretch": (0.5, 1.5),
    "width": (100, 200),
    "height": (100, 200),
    "border": (10, 30),
    "part": (10, 30),
    "pole": (5, 40),
    "amplitude": (6, 12),
    "roughness": (31, 64),
    "angle": (-math.pi / 3, math.pi / 3),
    "column": (-0.33 * _CANVAS, 0.33 * _CANVAS),
    "row": (-0.33 * _CANVAS, 0.33 * _CANVAS),
}
_BARRED, _CROSSED = 1, 2
_RECTANGLES = (3, 4, 5)
_ONE_TAIL, _THREE_TAILS, _EIGHT_TAILS = 6, 7, 8
_TAIL_ANGLES = {_ONE_TAIL: (0,), _THREE_TAILS: (0, 120, 240), _EIGHT_TAILS: (0, 45)}  # the rest by symmetry
_FINEST = 192  # pixels across, at least, where outlines and waves are drawn: small images are reduced from that
_BAND = 2**15  # pixels worked on at once, few enough for the cache
_PAD = 2  # coarse cells of noise kept beyond the canvas, because the frame of a cell reaches past it


@dataclass(frozen=True)
class CellSample:
    """One drawn cell.

    Args:
        image: uint8 [H, W, 3].
        truth: uint8 [H, W]; 229 where the class can be told, 102 on the rest of the cell, 0 elsewhere.
        label: Index into `CLASSES`.
        background: Index into `BACKGROUNDS`.
    """

    image: Bytes
    truth: Bytes
    label: int
    background: int


def draw(index: int, *, seed: int = 0, size: int = 512) -> CellSample:
    """Draw sample `index` of the endless set `seed`; the same cell at every size, in any order and process.

    The class is `index % 10` and the background `index // 10 % 3`, so that 30 neighbours hold each pair once. A
    cell with one tail is drawn again where the tail covers under .3% of the canvas.

    Args:
        index: Which sample, from 0.
        seed: Which set of samples, from 0.
        size: Height and width in pixels, at least 16; everything scales with it.

    Raises:
        ArgumentError: If an argument is out of range.

    Source: Tjoa and Guan, "Quantifying Explainability of Saliency Methods in Deep Neural Networks With a Synthetic
    Dataset", and the ranges of their published generator.

    Deviation: edges are smoothed where they are drawn and not by rotating a mask; a cell hides the background in
    every channel, however dark it is; a tail is not cut where the canvas ends before the cell is moved.

    Example:
        >>> sample = draw(13, size=64)
        >>> CLASSES[sample.label], BACKGROUNDS[sample.background], sample.image.shape
        ('red', 'blocks', (64, 64, 3))
        >>> sorted(set(sample.truth.ravel().tolist()))
        [0, 102, 229]
    """
    checks.within("index", index, 0, 2**63)
    checks.within("seed", seed, 0, 2**63)
    checks.within("size", size, 16, 16384)
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
    label, background = index % 10, index // 10 % 3
    image = _background(rng, BACKGROUNDS[background], size)
    truth = np.zeros((size, size), np.uint8)
    if CLASSES[label] != "blank":
        _paint(_random_cell(rng, label), image, truth)
    return CellSample(image=image, truth=truth, label=label, background=background)


@dataclass(frozen=True)
class _Cell:
    """What was drawn at random for one cell; `noise` displaces the outline, and the part along u and along v."""

    label: int
    colors: Floats  # [3, 3], RGB in 0..255 of the border, the inside and the part
    noise: Floats  # [3, g, g], padded
    radius: float
    stretch: float
    width: float
    height: float
    border: float
    part: float
    pole: float
    angle: float
    column: float
    row: float

    @property
    def tail_end(self) -> float:
        return 1.5 * self.stretch * self.radius + self.border

    def reach(self) -> tuple[float, float]:
        """Return half the width and height of a box that holds the rotated cell."""
        cosine, sine = math.cos(self.angle), abs(math.sin(self.angle))
        slack = 2 + float(np.abs(self.noise).max()) * max(1, self.stretch)
        if self.label in _RECTANGLES:
            u, v = self.width / 2, self.height / 2
            farthest = math.hypot(u, v)
        else:
            v = self.tail_end if self.label in _TAIL_ANGLES else self.stretch * self.radius
            u = max(self.radius, v) if self.label in (_THREE_TAILS, _EIGHT_TAILS) else self.radius
            farthest = math.hypot(max(u, v), max(self.part, self.pole) / 2)
        u, v, farthest = u + slack, v + slack, farthest + math.hypot(slack, slack)
        return min(cosine * u + sine * v, farthest), min(sine * u + cosine * v, farthest)


def _random_cell(rng: np.random.Generator, label: int) -> _Cell:
    low, high = np.array(list(_RANGES.values())).T
    while True:
        values = dict(zip(_RANGES, rng.uniform(low, high).tolist(), strict=True))
        channel = np.arange(3) == label - _RECTANGLES[0]  # that of a rectangle's colour
        dark, light = (0.6 * channel, 0.2 + 0.7 * channel) if label in _RECTANGLES else (0.5, 0.9)
        border = rng.uniform(dark, light, 3)
        inside = rng.uniform((0.1, 0.1, 0.3), (0.3, 0.3, 0.5))
        colors = 255 * np.array((border, inside, border * (0.75 if label in _TAIL_ANGLES else 1)), np.float32)
        amplitude, side = values.pop("amplitude"), int(_CANVAS / values.pop("roughness"))
        noise = rng.normal(0, amplitude, (3, side, side)).astype(np.float32)
        noise = np.pad(noise, ((0, 0), (_PAD, _PAD), (_PAD, _PAD)), mode="reflect")
        cell = _Cell(label=label, colors=colors, noise=noise, **values)
        # Judged at one fixed size, so that a sample is the same cell at every size.
        if label != _ONE_TAIL or sum(_tails(cell, window).sum() for window in _windows(cell, 128)) >= 0.003 * 128**2:
            return cell


@dataclass(frozen=True)
class _Window:
    """A rectangle of a square canvas around a cell, with its pixels' coordinates in the upright frame of the cell."""

    rows: slice
    columns: slice
    scale: float  # pixels per unit
    angle: float
    u: Floats
    v: Floats

    def displacement(self, noise: Floats) -> Floats:
        """Sample a coarse grid that covers the upright canvas, bilinearly."""
        side = len(noise) - 2 * _PAD
        cosine, sine = (side / _CANVAS / self.scale * part for part in (math.cos(self.angle), math.sin(self.angle)))
        left, top = (side * (float(axis[0, 0]) / _CANVAS + 0.5) + _PAD for axis in (self.u, self.v))
        # Pillow counts from the corner of a pixel, u and v from its middle.
        affine = (cosine, sine, left - (cosine + sine) / 2, -sine, cosine, top - (cosine - sine) / 2)
        kind, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
        return np.asarray(Image.fromarray(noise).transform(self.u.shape[::-1], kind, affine, bilinear))

    def displaced(self, cell: _Cell) -> tuple[Floats, Floats]:
        return self.u + self.displacement(cell.noise[1]), self.v + self.displacement(cell.noise[2])

    def coverage(self, depth: Floats) -> Floats:
        """Turn the distance to an edge, in units and positive inside, into the covered share of each pixel."""
        depth = depth * self.scale + 0.5
        return np.clip(depth, 0, 1, out=depth)


def _windows(cell: _Cell, pixels: int, block: int = 1) -> Iterator[_Window]:
    """Cover `cell` on a canvas of `pixels` x `pixels` by bands of rows, with edges at multiples of `block`."""
    scale = pixels / _CANVAS
    starts, stops = [], []
    for centre, reach in zip((cell.row, cell.column), cell.reach()[::-1], strict=True):
        low, high = ((_CANVAS / 2 + centre + sign * reach) * scale / block for sign in (-1, 1))
        starts.append(max(0, int(low)) * block)
        stops.append(min(pixels, (int(high) + 1) * block))
    columns = slice(starts[1], stops[1])
    step = -(-_BAND // ((stops[1] - starts[1]) * block)) * block
    cosine, sine = math.cos(cell.angle), math.sin(cell.angle)
    places = (np.arange(pixels, dtype=np.float32) + 0.5) / scale - _CANVAS / 2
    x = places[columns] - cell.column
    for top in range(starts[0], stops[0], step):
        rows = slice(top, min(top + step, stops[0]))
        y = places[rows, None] - cell.row
        yield _Window(rows, columns, scale, cell.angle, u=cosine * x + sine * y, v=cosine * y - sine * x)


def _paint(cell: _Cell, image: Bytes, truth: Bytes) -> None:
    """Draw `cell` over `image` and `truth`, in place."""
    size = len(truth)
    block = -(-_FINEST // size)
    for window in _windows(cell, size * block, block):
        whole, inside = (_rectangle if cell.label in _RECTANGLES else _ball)(cell, window)
        layers = [whole - inside, inside]
        if cell.label in _PARTS:
            part = _PARTS[cell.label](cell, window)
            layers = [*(layer * (1 - part) for layer in layers), part]
            whole = whole * (1 - part) + part
        # As in the original, an edge is mixed with black and not with the background: half a unit, at any scale.
        spill = 1 - max(0.0, 1 - window.scale) ** 0.5
        behind = 1 - _reduced(np.minimum(1, whole + spill * (whole > 0.02)), block)
        whole, *layers = (_reduced(layer, block) for layer in (whole, *layers))
        rows, columns = (slice(span.start // block, span.stop // block) for span in (window.rows, window.columns))
        for channel in range(3):
            plane = image[rows, columns, channel] * behind
            for layer, color in zip(layers, cell.colors[:, channel].tolist(), strict=False):
                plane += layer * color
            image[rows, columns, channel] = plane + 0.5
        telling = layers[2] if cell.label in _PARTS else layers[0]
        # A quarter of a pixel is enough: the thinnest pole stays whole where it straddles two pixels.
        truth[rows, columns] = np.where(telling >= 0.25, DISCRIMINATIVE, np.where(whole >= 0.25, LOCALIZATION, 0))


def _ball(cell: _Cell, window: _Window) -> tuple[Floats, Floats]:
    across, along = np.square(window.u), np.square(window.v / cell.stretch)
    distance = np.sqrt(across + along) + 1e-3
    slope = np.sqrt(across + along / cell.stretch**2) / distance + 1e-3
    depth = cell.radius - distance - window.displacement(cell.noise[0])
    return window.coverage(depth / slope), window.coverage((depth - cell.border) / slope)


def _rectangle(cell: _Cell, window: _Window) -> tuple[Floats, Floats]:
    shift = window.displacement(cell.noise[0])  # one shift for both directions, as in the original
    depth = np.minimum(cell.width / 2 - np.abs(window.u + shift), cell.height / 2 - np.abs(window.v + shift))
    return window.coverage(depth), window.coverage(depth - cell.border)


def _bars(cell: _Cell, window: _Window) -> Floats:
    u, v = (np.abs(axis) for axis in window.displaced(cell))
    depth = np.minimum(cell.radius - u, cell.part / 2 - v)
    if cell.label == _CROSSED:
        depth = np.maximum(depth, np.minimum(cell.pole / 2 - u, cell.stretch * cell.radius - v))
    return window.coverage(depth)


def _tails(cell: _Cell, window: _Window) -> Floats:
    u, v = window.displaced(cell)
    if cell.label == _EIGHT_TAILS:
        # All eight are mirror images of two halves: one along v, one between the axes.
        u, v = np.minimum(np.abs(u), np.abs(v)), np.maximum(np.abs(u), np.abs(v))
    start, end = 0.8 * cell.stretch * cell.radius, cell.tail_end
    depths = []
    for degrees in _TAIL_ANGLES[cell.label]:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        across, along = np.abs(cosine * u - sine * v), sine * u + cosine * v
        depths.append(np.minimum(cell.part / 2 - across, (end - start) / 2 - np.abs(along - (start + end) / 2)))
    return window.coverage(np.maximum.reduce(depths))


_PARTS = {_BARRED: _bars, _CROSSED: _bars, **dict.fromkeys(_TAIL_ANGLES, _tails)}


def _background(rng: np.random.Generator, kind: str, size: int) -> Bytes:
    if kind == "blocks":
        return np.array(_enlarged((255 * rng.uniform(0.2, 0.7, (8, 8, 3)) + 0.5).astype(np.uint8), size))
    image = np.zeros((size, size, 3), np.uint8)
    if kind == "waves":
        # Waves far from the middle are too short for the pixels of a small image: average finer ones.
        block = -(-_FINEST // size)
        middle = rng.uniform(_CANVAS / 4, _CANVAS * 3 / 4, 2)  # from the canvas' centre, so often out of sight
        place = (np.arange(size * block) + 0.5) * (_CANVAS / (size * block)) - _CANVAS / 2
        y, x = (((place - centre) ** 2).astype(np.float32) for centre in middle)
        distance = np.sqrt(y[:, None] + x)
        stretch = rng.uniform(1e-4, 1e-3, (3, 1, 1)) * 180 / math.pi  # radians a unit
        for channel, grid in enumerate(stretch * (1 + rng.uniform(-0.3, 0.3, (3, 16, 16)))):
            phase = _enlarged(grid.astype(np.float32), size * block) * distance
            image[..., channel] = 63.75 * _reduced(np.sin(phase, out=phase), block) + 64.25
    return image


def _enlarged(grid: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Resize float32 [g, g] or uint8 [g, g, 3] bilinearly, mirrored about the outermost samples at the edges."""
    margins = ((1, 1), (1, 1), (0, 0))[: grid.ndim]
    padded, end = Image.fromarray(np.pad(grid, margins, mode="reflect")), len(grid) + 1
    # Not by matrix products: in a pool of workers, the threads of the linear algebra library stand in each other's way.
    return np.asarray(padded.resize((size, size), Image.Resampling.BILINEAR, (1, 1, end, end)))


def _reduced(plane: Floats, block: int) -> Floats:
    """Average blocks of `block` x `block` pixels."""
    if block == 1:
        return plane
    rows = sum((plane[i::block] for i in range(1, block)), plane[::block])
    total: Floats = sum((rows[:, i::block] for i in range(1, block)), rows[:, ::block])
    total /= block**2
    return total
