"""Figures whose PNG files are small: many are kept in Git, and pages show many at once."""

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gradsculpt.drawing import Drawing

if TYPE_CHECKING:
    import numpy.typing as npt

LIMIT = 295_000
"""Bytes that no PNG of a figure of a study should have more of."""

DOTS = 100
"""Dots an inch of every figure, as it is saved."""

_COARSEST, _STEP = 60, 0.9


class Compact(Drawing):
    """A drawing that is saved as PNG in as few bytes as can be without a loss."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save the figure as matplotlib does."""
        suffix = "" if hasattr(fname, "write") else Path(fname).suffix[1:]
        if options.get("format", suffix or "png").lower() != "png":
            super().savefig(fname, **options)
            return
        stream = io.BytesIO()
        super().savefig(stream, **{**options, "format": "png"})
        content = smallest(stream.getvalue())
        if hasattr(fname, "write"):
            fname.write(content)
        else:
            Path(fname).write_bytes(content)

    def weight(self) -> int:
        """Return the bytes of the figure as PNG."""
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.tell()


def light(figure: Compact) -> Compact:
    """Return a figure with so few dots an inch that its PNG is small enough, down to what can still be read."""
    while figure.weight() > LIMIT and figure.dpi * _STEP >= _COARSEST:
        figure.dpi = int(figure.dpi * _STEP)
    return figure


def smallest(content: bytes) -> bytes:
    """Return a PNG as it is, or without an alpha channel and prediction, whichever is smaller.

    Of noise in few colours, a difference from its neighbour has more values than a pixel has: predicted as encoders do
    it, it has twice the bytes. What is transparent stays so.
    """
    image = Image.open(io.BytesIO(content))
    if image.mode == "RGBA" and np.asarray(image)[..., 3].min() < 255:
        return content
    return min(content, unpredicted(np.asarray(image.convert("RGB"))), key=len)


def unpredicted(pixels: "npt.NDArray[np.uint8]") -> bytes:
    """Return pixels [H, W, 3] as PNG without prediction."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # a 0 before each line says that it is as it is
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
