"""One image file, of whatever kind, to an 8-bit RGB square; one map file to 8-bit grey."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from gradsculpt.accidents import OF_THE_MACHINE, told
from gradsculpt.data.room import Room, size_of
from gradsculpt.errors import DataError, first_line

if TYPE_CHECKING:  # processes that decode have no use for PyTorch, which takes seconds to import
    from gradsculpt.data.base import Bytes

# Pillow's own threshold for a warning; twice this is an error there. A set of images has no use for either.
PIXEL_LIMIT = 89_478_485
_REASONS = {
    FileNotFoundError: "does not exist; check the spelling of the path.",
    UnidentifiedImageError: "is not an image of a known format; replace or remove it.",
    Image.DecompressionBombError: f"has more than {PIXEL_LIMIT:,} pixels, too many to decode safely; "
    "make it smaller or remove it.",
}
_PROGRAMS = ("EPS", "WMF")  # whatever their names are; Pillow would let other programs draw them
ROOMS = Room()
"""The memory that all threads of this process share."""
_BUFFER = 1 << 16  # bytes that are read from a file at once
# Lossy compression tints grey pixels a little.
_GREY_TOLERANCE = 16
# What makes an image of each EXIF orientation upright, from 2 on; those from 5 on lie on their side.
_NAMES = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
_TURNS = {orientation: Image.Transpose[name] for orientation, name in enumerate(_NAMES, start=2)}


class NotReadError(DataError):
    """A file could not be read for want of memory or file handles, or as the disk failed: nothing is said of it."""


def decode(path: Path, size: int) -> "Bytes":
    """Read an image file, scale its shorter side to `size` and cut the square in the middle: uint8 [size, size, 3].

    The first frame of an animation is taken, transparency is laid on white, the EXIF orientation is applied, and
    greyscale values of 16 bits or more are scaled rather than clipped: 16-bit integers from 0...65535,
    floating-point values from 0...1, and anything that does not fit those from its own minimum...maximum. Raises
    `DataError` if the file is missing, empty, no image, corrupt, truncated or larger than `PIXEL_LIMIT` pixels;
    it is a `NotReadError` where that is the machine's fault, so that the file must not be left out.
    """
    return decode_with_size(path, size)[0]


def decode_with_size(path: Path, size: int) -> "tuple[Bytes, tuple[int, int]]":
    """Return what `decode` does, with the width and height of the whole image as it is displayed."""
    # Twice the target leaves the resampling enough.
    with _loaded(path, 2 * size) as (image, (width, height)):
        square = _square(_rgb(path, image), size, image.size)
        whole = (height, width) if _orientation(image) in range(5, 9) else (width, height)
        return np.array(_upright(square, image), dtype=np.uint8), whole


def decode_whole(path: Path, most: int) -> "Bytes":
    """Return all of an image as `decode` sees it, uint8 [height, width, 3], its longer side reduced to `most` pixels.

    A smaller image stays as it is. Raises as `decode` does.
    """
    with _loaded(path, most) as (image, _):
        pixels = _rgb(path, image)
        pixels.thumbnail((most, most), Image.Resampling.BICUBIC)
        return np.array(_upright(pixels, image), dtype=np.uint8)


def decode_grey(path: Path) -> "Bytes":
    """Read a greyscale map or mask, upright and of its own size: uint8 [height, width].

    Values are 0...255, or 0 and 1 for a mask, which become 0 and 255; integers of more bits that exceed 255 are taken
    as 0...65535 and floating-point values as 0...1. Where the map is transparent it is 0. Raises `DataError` if the
    file is coloured, or cannot be read as an image.
    """
    with _loaded(path) as (image, _):
        grey = np.asarray(_upright(Image.fromarray(_grey(path, image)), image))
        return np.where(grey > 0, np.uint8(255), grey) if grey.max() == 1 else grey


def cut_square(pixels: "Bytes", size: int, like: tuple[int, int] | None = None) -> "Bytes":
    """Scale and cut an upright image or its map as `decode` does: uint8 [height, width(, 3)] to [size, size(, 3)].

    The pixels may be a copy, at any scale, of an image of the width and height `like`.
    """
    image = Image.fromarray(pixels)
    return np.array(_square(image, size, like or image.size), dtype=np.uint8)


def middle_square(width: int, height: int) -> tuple[float, float, int]:
    """Return left, top and side of the square that `decode` keeps of an upright image."""
    side = min(width, height)
    return (width - side) / 2, (height - side) / 2, side


@contextmanager
def _loaded(path: Path, least: int | None = None) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """Decode an image, and tell its width and height in the file; `DataError` as of `_opened`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that leaves it `least` pixels wide and high.
    """
    with _opened(path) as image:
        whole = image.size
        if least is not None:
            image.draft(None, (least, least))
        with ROOMS.taken(size_of(image, whole)):
            image.load()
            yield image, whole


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever goes wrong until it is closed is a `DataError` that names the file."""
    try:
        # One read for a small file: Pillow alone asks the system for it piece by piece.
        with open(path, "rb", buffering=_BUFFER, opener=_without_waiting) as file, _image(path, file) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise Image.DecompressionBombError
            yield image
    except DataError:
        raise
    except MemoryError as error:
        raise NotReadError(f"{path} cannot be decoded, as {told(error)}") from error
    # Pillow's decoders raise nearly anything (SyntaxError, struct.error, zlib.error, ...) on broken files.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            error.filename = error.filename or str(path)
            raise NotReadError(f"{told(error)}") from error
        reasons = (reason for kind, reason in _REASONS.items() if isinstance(error, kind))
        broken = f"cannot be decoded ({first_line(error, kind=False)}); replace or remove it."
        raise DataError(f"{path} {next(reasons, broken)}") from error


def _image(path: Path, file: BinaryIO) -> Image.Image:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is a pipe or a device, and no regular file; replace or remove it.")
    if status.st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); replace or remove it.")
    image = Image.open(file)
    if image.format in _PROGRAMS:
        raise DataError(f"{path} is a program that draws ({image.format}), which is not run; save it as PNG.")
    return image


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe too, that nobody writes to."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _square(image: Image.Image, size: int, like: tuple[int, int]) -> Image.Image:
    """Scale the middle square of an image of the size `like`, which this is, or a scaled copy of it."""
    left, top, side = middle_square(*like)
    # Multiplied before it is divided: exact where nothing is scaled.
    box = (
        left * image.width / like[0],
        top * image.height / like[1],
        (left + side) * image.width / like[0],
        (top + side) * image.height / like[1],
    )
    if [*image.size, *box] == [size, size, 0, 0, size, size]:
        return image  # Pillow would copy it
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return pixels if turn is None else pixels.transpose(turn)


def _rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bits(path, image)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey(path: Path, image: Image.Image) -> "Bytes":
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        small = image.mode.startswith("I") and values.min() >= 0 and values.max() <= 255
        return np.array(values, dtype=np.uint8) if small else _to_8_bits(path, image)
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return np.array(image.convert("L"), dtype=np.uint8)
    layers: npt.NDArray[np.int64] = np.array(image.convert("RGBA"), dtype=np.int64)
    colours, opaque = layers[..., :3], layers[..., 3]
    if (np.ptp(colours, axis=2) > _GREY_TOLERANCE)[opaque > 0].any():
        raise DataError(
            f"{path} is coloured, so it does not say how much each pixel was looked at; save it in shades of grey, "
            "black where nobody looked."
        )
    return np.array(np.rint(colours.mean(axis=2) * opaque / 255), dtype=np.uint8)


def _to_8_bits(path: Path, image: Image.Image) -> "Bytes":
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{path} has pixels that are not finite numbers; replace or remove it.")
    low, high = 0.0, 1.0 if image.mode.startswith("F") else 65535.0
    if values.min() < low or values.max() > high:
        low, high = float(values.min()), float(values.max())
    # A constant image outside the usual range has no range of its own; it becomes black.
    return np.rint((values - low) / max(high - low, 1e-300) * 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    # Damaged metadata is no reason to lose a picture that decoded well.
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
