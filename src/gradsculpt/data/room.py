"""The memory that images take while they are decoded, shared by all threads of a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from gradsculpt.errors import DataError

ROOM = 2 << 30
"""Bytes that all images together may take; one that takes more is decoded alone."""

SMALL = 32 << 20
"""Bytes of an image that waits for nobody: photographs, which are decoded at a fraction of their size, take less."""

# Bytes a pixel that decoding and bringing to 8 bits, RGB, on white, take at most, with the copies in between.
_PLAIN, _TRANSPARENT, _DEEP, _PROGRESSIVE = 8, 20, 40, 6


class LargeError(DataError):
    """An image takes more memory than a process may give it that decodes small ones alone."""


class Room:
    """Memory for images: those of many threads at once, as far as they fit.

    Args:
        total: Bytes; 0 if nothing but small images is to be decoded.
    """

    def __init__(self, total: int = ROOM) -> None:
        self.total, self._taken, self._changed = total, 0, threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Wait until there is room for so many bytes, and take it while the block lasts.

        Raises: LargeError if they are too many for a process that decodes small images alone.
        """
        if size <= SMALL:
            yield
            return
        if not self.total:
            raise LargeError(f"an image takes {size:,} bytes to decode")
        size = min(size, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + size <= self.total)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


def size_of(image: Image.Image, whole: tuple[int, int]) -> int:
    """Return how many bytes an image that is not decoded yet may take until it is RGB.

    Args:
        image: The image; a JPEG may be about to be decoded at a fraction of its size.
        whole: Its width and height in the file.

    Example:
        >>> size_of(Image.new("RGB", (4000, 3000)), (4000, 3000))
        96000000
    """
    deep = image.mode.startswith(("I", "F"))
    clear = image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info
    held = image.width * image.height * (_DEEP if deep else _TRANSPARENT if clear else _PLAIN)
    # All coefficients of a progressive JPEG are held, however small it becomes.
    return held + (whole[0] * whole[1] * _PROGRESSIVE if image.info.get("progressive") else 0)
