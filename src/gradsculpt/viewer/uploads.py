"""A picture that a visitor uploads: checked by its head, and bounded in the memory that it takes."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image

from gradsculpt.data.decode import decode_whole
from gradsculpt.errors import DataError
from gradsculpt.wording import printable

SIDE = 1024
"""Longer side of a picture that is shown, in pixels."""

PIXELS, JPEG_PIXELS = 16_000_000, 60_000_000
"""Most pixels of a picture; a JPEG is decoded at a fraction of its size, and may have more."""

_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is read. Pillow knows more; some of these start other programs, or are read by little tested code."""

_REMEDY = "upload a picture such as a photograph in JPEG or PNG"
_NAME = 60  # letters of a name that are told
_HEAD = 1024  # bytes in which a drawing says that it is one

# One after the other: each takes up to a few hundred megabytes while it is decoded.
_TURN = threading.Lock()


class TooLargeError(DataError):
    """A picture has more pixels than are decoded."""


@dataclass(frozen=True)
class Upload:
    """A picture that was uploaded.

    Args:
        image: All of it, upright, in RGB, its longer side at most `SIDE` pixels.
        notes: What was done to it that a visitor has to know, in sentences.
    """

    image: Image.Image
    notes: tuple[str, ...] = ()


def picture(path: Path, name: str = "") -> Upload:
    """Return the picture of a file that was uploaded.

    Args:
        path: The file.
        name: What it is called in messages; by default as the file.

    Raises: DataError if it is no picture, damaged, or too large to be decoded in the memory that a visitor has.
    """
    called = told(name or path.name)
    with _TURN:
        notes = _checked(path, called)
        try:
            pixels = decode_whole(path, SIDE)
        except DataError as error:
            reason = str(error).removeprefix(f"{path} ").partition(";")[0]
            raise DataError(f"{called} {reason}; {_REMEDY}.") from error
    return Upload(Image.fromarray(pixels), notes)


def _checked(path: Path, called: str) -> tuple[str, ...]:
    """Return what is to be said of a picture by its head, before anything of it is decoded."""
    if not path.is_file():
        raise DataError(f"{called} is not there any more; upload it again.")
    if path.stat().st_size == 0:
        raise DataError(f"{called} is empty (0 bytes); {_REMEDY}.")
    with path.open("rb") as file:
        if _is_drawing(file.read(_HEAD)):
            raise DataError(f"{called} is a drawing (SVG), which has no pixels; save it as PNG and upload that.")
    with opened(path, called) as image:
        return tuple(_notes(image, called))


@contextmanager
def opened(path: Path, called: str) -> Iterator[Image.Image]:
    """Open a picture, by its head alone; `DataError` if it is none of the `_FORMATS`, `TooLargeError` if too large."""
    try:
        with warnings.catch_warnings():
            # What Pillow finds large is told of here, and only if it is too large.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
                most = JPEG_PIXELS if image.format in ("JPEG", "MPO") else PIXELS
                if image.width * image.height > most:
                    raise _too_large(called, f"{image.width:,} x {image.height:,} pixels", most)
                yield image
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(called, "hundreds of millions of pixels", PIXELS) from error
    # Pillow's readers raise nearly anything on broken files.
    except Exception as error:
        raise DataError(f"{called} is not a picture of a kind that is read here; {_REMEDY}.") from error


@cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _too_large(called: str, has: str, most: int) -> DataError:
    return TooLargeError(f"{called} has {has}, and at most {most // 10**6} million are decoded here; make it smaller.")


def _is_drawing(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text.startswith(b"<") and b"<svg" in text.lower()


def _notes(image: Image.Image, called: str) -> Iterator[str]:
    if getattr(image, "is_animated", False):
        yield f"{called} has several pictures in it; the first one is taken."
    if image.has_transparency_data:
        yield f"{called} is transparent in places, which are laid on white."
    if _turned(image):
        yield f"{called} was turned upright, as the camera noted."
    if image.mode.startswith(("I", "F")):
        yield f"{called} has more than 8 bits a pixel, which were reduced to 8."
    if image.mode in ("CMYK", "YCCK"):
        yield f"{called} is in the colours of print (CMYK), which were turned into those of a screen."


def _turned(image: Image.Image) -> bool:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1)) in range(2, 9)
    except Exception:
        return False


def told(name: str) -> str:
    """Return a name as it is told: without folders, in one line, and not long."""
    shown = printable(PurePosixPath(name.replace("\\", "/")).name or name)
    return shown if len(shown) <= _NAME else f"{shown[: _NAME - 1]}…"
