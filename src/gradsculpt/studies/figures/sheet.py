"""Pictures and maps in a grid with words around them, as a figure whose PNG is small enough to be kept in Git.

All is laid out in pixels, so that a pixel of a map is a square of whole pixels of the figure, or several are averaged.
"""

import textwrap
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from gradsculpt.attributions import heatmap, signed_heatmap
from gradsculpt.studies.figures.compact import DOTS, LIMIT, Compact
from gradsculpt.visualize.render import coloured
from gradsculpt.wording import printable

if TYPE_CHECKING:
    import numpy.typing as npt

MARKED = "#c03000"
"""The colour of captions that say that something is not as it should be."""

_LETTER_BYTES = 12  # of a letter of what is written
_LARGEST, _SMALLEST, _WIDEST = 160, 24, 1800  # side of a cell, and width of all, in pixels
_STEP = 0.9  # by which cells become smaller

# Noise in 256 colours weighs twice as much as in 32, which the eye tells as little apart; photographs keep 64 levels a
# channel. Nothing is dithered.
_LEVELS, _PHOTO = 32, 0xFC

_GAP, _MARGIN, _BAR = 4, 6, (160, 8)
_TEXT, _CAPTION, _NOTE = 7.5, 6.5, 7.0  # points
_LETTER, _LINE = 0.58, 1.3  # width and height of a letter as shares of its size, on average
_LABEL_LETTERS, _WORDS = 22, 84  # letters of a label's line; pixels that words widen a column to at most


@dataclass(frozen=True)
class Cell:
    """A picture of 8 bits [H, W, 3], or a map [H, W] up to scale, with a caption of a few lines under it.

    The brightest colour of a map is its `clip`-th percentile, at the size that it is drawn in; see `heatmap`.
    """

    content: "npt.NDArray[Any]"
    signed: bool = False
    clip: float = 99.0
    caption: str = ""
    marked: bool = False


def sheet(
    rows: "Sequence[Sequence[Cell | None]]",
    headings: Sequence[str],
    labels: Sequence[str],
    note: str = "",
    bar: bool | None = None,
) -> Compact:
    """Return a figure of cells in rows, all of one size.

    Args:
        rows: As many cells a row as there are headings; None leaves a place empty.
        headings: One a column, on several lines if they are long.
        labels: One a row, to the left of it.
        note: A sentence or two at the foot.
        bar: Explain the colours of maps, with signs (True) or without (False); None for not at all.
    """
    figures = (_figure(rows, headings, labels, note, bar, side) for side in _sides(rows, headings, labels, note))
    figure = next(figures)
    while figure.weight() > LIMIT and (smaller := next(figures, None)) is not None:
        figure = smaller
    return figure


def _figure(
    rows: "Sequence[Sequence[Cell | None]]",
    headings: Sequence[str],
    labels: Sequence[str],
    note: str,
    bar: bool | None,
    side: int,
) -> Compact:
    """Return the figure with cells of so many pixels a side."""
    pitch = _pitch(rows, headings, side)
    heads = [_wrapped(text, pitch, _TEXT, 5) for text in headings]
    lines = [
        _wrapped(text, _LABEL_LETTERS * _letter(_TEXT), _TEXT, max(2, int(side / _line(_TEXT)))) for text in labels
    ]
    left = _MARGIN + max((_width(text, _TEXT) for text in lines), default=0) + _GAP
    top = _MARGIN + max(_height(text, _TEXT) for text in heads) + _GAP
    under = [max((c.caption.count("\n") + 1 for c in row if c and c.caption), default=0) for row in rows]
    heights = [side + _GAP + round(count * _line(_CAPTION)) for count in under]
    width = max(left + len(headings) * (pitch + _GAP) + _MARGIN, 2 * _BAR[0])
    foot = textwrap.fill(printable(note), max(20, int((width - 2 * _MARGIN) / _letter(_NOTE)))) if note else ""
    below = top + sum(heights) + _GAP
    height = below + (0 if bar is None else _BAR[1] + round(_line(_NOTE)) + _GAP) + _height(foot, _NOTE) + _MARGIN
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    figure = Compact(figsize=(width / DOTS, height / DOTS), dpi=DOTS)
    write = _Writer(figure, width, height)
    for column, text in enumerate(heads):
        write(left + column * (pitch + _GAP) + pitch / 2, top - _GAP, text, _TEXT, ha="center", va="bottom")
    y = top
    for row, label, tall in zip(rows, lines, heights, strict=True):
        write(left - _GAP, y + side / 2, label, _TEXT, ha="right", va="center")
        for column, cell in enumerate(row):
            if cell is not None:
                x = left + column * (pitch + _GAP) + (pitch - side) // 2
                canvas[y : y + side, x : x + side] = drawn(cell, side)
                caption = "\n".join(_cut(line, pitch, _CAPTION) for line in cell.caption.split("\n"))
                colour = MARKED if cell.marked else "black"
                write(x + side / 2, y + side + 1, caption, _CAPTION, ha="center", va="top", color=colour)
        y += tall
    if bar is not None:
        _explain(canvas, write, (width - _BAR[0]) // 2, below, signed=bar)
    write(_MARGIN, height - _MARGIN, foot, _NOTE, ha="left", va="bottom")
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axis.imshow(canvas, interpolation="nearest", aspect="auto")
    axis.set_axis_off()
    return figure


def drawn(cell: Cell, side: int) -> "npt.NDArray[np.uint8]":
    """Return the pixels of a cell, [side, side, 3], in few enough colours to be kept in few bytes."""
    if cell.content.ndim == 3:
        channels = [_sized(channel, side) for channel in np.moveaxis(cell.content, 2, 0)]
        reduced = np.stack(channels, axis=2).round().astype(np.uint8) & np.uint8(_PHOTO)
        picture: npt.NDArray[np.uint8] = reduced | reduced >> np.uint8(6)  # black stays black and white stays white
        return picture
    shown = torch.from_numpy(_sized(cell.content, side).copy())[None]
    values = (signed_heatmap if cell.signed else heatmap)(shown, cell.clip)[0] * (_LEVELS - 1)
    return coloured((values.round() / (_LEVELS - 1)).numpy(), cell.signed)


def _sized(values: "npt.NDArray[Any]", side: int) -> "npt.NDArray[np.float32]":
    """Return values as a square of so many pixels: averaged where they are more, sharp where they are less."""
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    method = Image.Resampling.BOX if min(image.size) > side else Image.Resampling.NEAREST
    resized: npt.NDArray[np.float32] = np.asarray(image.resize((side, side), method), dtype=np.float32)
    return resized


def _pitch(rows: "Sequence[Sequence[Cell | None]]", headings: Sequence[str], side: int) -> int:
    """Return how wide a column is: as its cells, or as the words over them and the captions under them need it."""
    words = [(word, _TEXT) for heading in headings for word in heading.split()]
    words += [(line, _CAPTION) for row in rows for cell in row if cell for line in cell.caption.split("\n")]
    return max(side, min(_WORDS, max((_width(word, points) for word, points in words), default=0)))


def _sides(
    rows: "Sequence[Sequence[Cell | None]]", headings: Sequence[str], labels: Sequence[str], note: str
) -> Iterator[int]:
    """Yield sides of cells, larger ones first, from the largest at which all together may be small enough.

    As long as it can be, a pixel of a map is a square of whole pixels.
    """
    cells = [cell for row in rows for cell in row if cell is not None]
    words = [*headings, *labels, note, *(cell.caption for cell in cells)]
    left = LIMIT - _LETTER_BYTES * sum(map(len, words))
    native = max((max(cell.content.shape[:2]) for cell in cells), default=_SMALLEST)
    sides = [native * times for times in range(_LARGEST // native, 0, -1)] or [_LARGEST]
    side = float(sides[-1])
    while (side := side * _STEP) > _SMALLEST:
        sides.append(int(side))
    fitting = [side for side in sides if side * len(headings) <= _WIDEST]
    yield from [*fitting, _SMALLEST][bisect_left(fitting, True, key=lambda side: _weight(cells, side) <= left) :]


def _weight(cells: Sequence[Cell], side: int) -> int:
    """Return about how many bytes cells of a size have in a file."""
    return len(zlib.compress(np.concatenate([drawn(cell, side) for cell in cells], axis=1).tobytes(), 6))


class _Writer:
    """Writes on a figure at places in pixels from its upper left corner."""

    def __init__(self, figure: Compact, width: int, height: int) -> None:
        self._figure, self._width, self._height = figure, width, height

    def __call__(self, x: float, y: float, text: str, points: float, **options: Any) -> None:
        if text:
            place = (x / self._width, 1 - y / self._height)
            self._figure.text(*place, text, fontsize=points, parse_math=False, linespacing=1.05, **options)


def _explain(canvas: "npt.NDArray[np.uint8]", write: _Writer, x: int, y: int, *, signed: bool) -> None:
    """Draw the colours of maps from end to end, and what the ends mean."""
    length, height = _BAR
    ramp = np.linspace(-1.0 if signed else 0.0, 1.0, length, dtype=np.float32)
    canvas[y : y + height, x : x + length] = coloured(np.tile(ramp, (height, 1)), signed)
    ends = {0.0: "against", 0.5: "nothing", 1.0: "for"} if signed else {0.0: "nothing", 1.0: "most"}
    for place, text in ends.items():
        write(x + place * length, y + height + 1, text, _CAPTION, ha="center", va="top")


def _letter(points: float) -> float:
    return points * DOTS / 72 * _LETTER


def _line(points: float) -> float:
    return points * DOTS / 72 * _LINE


def _width(text: str, points: float) -> int:
    return round(max(map(len, text.split("\n"))) * _letter(points))


def _height(text: str, points: float) -> int:
    return round((text.count("\n") + 1) * _line(points)) if text else 0


def _wrapped(text: str, pixels: float, points: float, most: int) -> str:
    """Break a text into lines of so many pixels, at most so many lines; what is left over ends in an ellipsis."""
    letters = max(5, int(pixels / _letter(points)))
    lines = [line for part in text.split("\n") for line in textwrap.wrap(printable(part), letters) or [""]]
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: letters - 1] + "…"]
    return "\n".join(lines)


def _cut(text: str, pixels: float, points: float) -> str:
    letters = max(5, int(pixels / _letter(points)))
    text = printable(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"
