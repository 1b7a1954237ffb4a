"""Files that a stranger might upload, made here, each of its kind."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

Entry = tuple[str | zipfile.ZipInfo, bytes]


def photo(side: int = 24, colour: tuple[int, int, int] = (200, 80, 40), kind: str = "PNG") -> bytes:
    """Return a small picture whose upper half has the colour, and whose lower half is black."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[: side // 2] = colour
    return encoded(Image.fromarray(pixels), kind)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    """Return a PNG that claims a size, and has whatever data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def packed(path: Path, entries: Iterable[Entry]) -> Path:
    """Write a zip of entries, whose names are taken as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def named(name: str, mode: int = 0, flags: int = 0) -> zipfile.ZipInfo:
    """Return an entry with a name that `zipfile` would not write, or of a kind of file."""
    entry = zipfile.ZipInfo("x")
    entry.filename, entry.external_attr, entry.create_system = name, mode << 16, 3
    entry.flag_bits |= flags
    return entry


def classes(count: int = 2, each: int = 2) -> list[Entry]:
    """Return entries of class folders with small pictures."""
    return [(f"class {i}/{j}.png", photo(colour=(40 * i, 90, 10 * j))) for i in range(count) for j in range(each)]
