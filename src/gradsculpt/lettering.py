"""Texts of any script in figures: each letter in an installed font that has it."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

MISSING = "\u25a1"
"""A square, which stands for a letter that no installed font has."""

_USUAL = "DejaVu Sans"  # it comes with matplotlib
_UNFIT = ("Last Resort", "Emoji")  # pictures of what is missing, and bitmaps that matplotlib cannot scale


def save(figure: Figure, stream: IO[bytes] | IO[str], **options: Any) -> None:
    """Save a figure as `Figure.savefig` does, without warnings of letters that its font lacks."""
    with lettered(figure, squares=options.get("format") != "svg"):
        figure.savefig(stream, **options)


@contextmanager
def lettered(figure: Figure, *, squares: bool) -> Iterator[None]:
    """Within the block a figure can be drawn without warnings of letters that its font lacks.

    Such letters come from other installed fonts. What none has becomes a square, if that is wanted; in an SVG, the
    browser has it.
    """
    with _without_advice():
        for text in figure.findobj(Text):
            if isinstance(text, Text) and (lacking := _lacking(text.get_text())):
                fonts = fallbacks(lacking)
                text.set_fontfamily([_USUAL, *fonts])
                there = {letter for letter in lacking for font in fonts if ord(letter) in _letters(font)}
                left = lacking - there if squares else frozenset()
                text.set_text("".join(MISSING if letter in left else letter for letter in text.get_text()))
        yield


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence what matplotlib warns and logs of fonts: ticks take their texts anew, and a font may come bold alone."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    with warnings.catch_warnings():
        for message in ("Glyph .* missing from font", "Matplotlib currently does not support"):
            warnings.filterwarnings("ignore", message=message)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def fallbacks(letters: Iterable[str]) -> list[str]:
    """Return few installed fonts that have as many of the letters as can be had, the most useful first."""
    left, fonts = {ord(letter) for letter in letters}, list[str]()
    while left:
        best = max(_installed(), key=lambda font: len(left & _letters(font)), default=_USUAL)
        if not left & _letters(best):
            break
        fonts.append(best)
        left -= _letters(best)
    return fonts


def _lacking(text: str) -> frozenset[str]:
    """Return the letters of a text that the usual font lacks; most texts have none."""
    if text.isascii():
        return frozenset()
    return frozenset(letter for letter in text if letter.isprintable() and ord(letter) not in _letters(_USUAL))


@cache
def _installed() -> tuple[str, ...]:
    names = dict.fromkeys(entry.name for entry in font_manager.fontManager.ttflist if entry.style == "normal")
    return tuple(name for name in names if not any(word in name for word in _UNFIT))


@cache
def _letters(font: str) -> frozenset[int]:
    """Return the code points that an installed font can draw."""
    try:
        return frozenset(FT2Font(font_manager.findfont(font, fallback_to_default=False)).get_charmap())
    except (RuntimeError, ValueError, OSError):  # damaged, gone, or of a kind that cannot be read
        return frozenset()
