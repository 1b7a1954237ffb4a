"""One image file, of whatever kind, to an 8-bit RGB square."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from gradsculpt.data.base import Bytes
from gradsculpt.errors import DataError

# Pillow's own threshold for a warning; twice this is an error there. A set of images has no use for either.
PIXEL_LIMIT = 89_478_485

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, size: int) -> Bytes:
    """Read an image file, scale its shorter side to `size` and cut the square in the middle.

    The first frame of an animation is taken, transparency is laid on white, the EXIF orientation is applied, and
    greyscale values of 16 bits or more are scaled rather than clipped: 16-bit integers from 0...65535,
    floating-point values from 0...1, and anything that does not fit those from its own minimum...maximum.

    Args:
        path: The file.
        size: Side of the square, in pixels.

    Returns:
        uint8 [size, size, 3].

    Raises:
        DataError: If the file is missing, empty, no image, corrupt, truncated or larger than `PIXEL_LIMIT` pixels.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes); replace or remove it.")
        with Image.open(path) as image:
            return _square(path, image, size)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the spelling of the path.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is not an image of a known format; replace or remove it.") from None
    except Image.DecompressionBombError:
        raise DataError(_too_large(path)) from None
    # Pillow's decoders raise nearly anything (SyntaxError, struct.error, zlib.error, ...) on broken files.
    except Exception as error:
        raise DataError(f"{path} cannot be decoded ({_first_line(error)}); replace or remove it.") from error


def _square(path: Path, image: Image.Image, size: int) -> Bytes:
    if image.width * image.height > PIXEL_LIMIT:
        raise DataError(_too_large(path))
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; twice the target leaves the resampling enough to average.
    image.draft(None, (2 * size, 2 * size))
    image.load()
    rgb = _rgb(path, image)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    rgb = rgb.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    turn = _TURNS.get(_orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    return np.array(rgb, dtype=np.uint8)


def _rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8_bits(path, image)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(path: Path, image: Image.Image) -> Bytes:
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{path} has pixels that are not finite numbers; replace or remove it.")
    low, high = 0.0, 1.0 if image.mode.startswith("F") else 65535.0
    if values.min() < low or values.max() > high:
        low, high = float(values.min()), float(values.max())
    # A constant image outside the usual range has no range of its own; it becomes black.
    scaled = (values - low) / max(high - low, 1e-300) * 255
    return np.rint(scaled).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    # Damaged metadata is no reason to lose a picture that decoded well.
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _too_large(path: Path) -> str:
    return f"{path} has more than {PIXEL_LIMIT:,} pixels, too many to decode safely; make it smaller or remove it."


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
