"""Pictures and folders of them that are odd, or none."""

import io
import os
import random
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

_SIZES = ((1, 1), (1, 50), (50, 1), (8, 8), (17, 5), (3000, 1))
_MODES = ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I", "I;16", "F", "YCbCr", "HSV", "LAB")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "ICO", "TGA")


def plain(seed: int, side: int = 8, form: str = "PNG") -> bytes:
    """Return the file of a small picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def odd(rng: random.Random) -> bytes:
    """Return the file of a picture that is odd, damaged or none."""
    from tests.faults.inputs import damaged

    kind = rng.randrange(8)
    if kind < 3:
        return _of_mode(rng)
    if kind == 3:
        return damaged(plain(rng.getrandbits(30), form=rng.choice(_FORMATS[:6])), rng)[0]
    if kind == 4:
        return _header(rng.choice([0, 1, 2**16, 2**31 - 1]), rng.choice([0, 1, 2**16, 2**31 - 1]))
    if kind == 5:
        return _animated(rng)
    if kind == 6:
        return rng.choice(
            [b"<svg/>", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%PDF-1.4", b"P6\n-1 5\n255\n"]
        )
    return damaged(_of_mode(rng), rng)[0]


def _of_mode(rng: random.Random) -> bytes:
    mode, size = rng.choice(_MODES), rng.choice(_SIZES)
    stream = io.BytesIO()
    for form in rng.sample(_FORMATS, len(_FORMATS)):
        with suppress(OSError, ValueError, KeyError, SystemError, struct.error):
            Image.new(mode, size).save(stream, form)
            return stream.getvalue()
    return b""


def _animated(rng: random.Random) -> bytes:
    frames = [Image.new("RGB", (8, 8), (i * 40, 0, 0)) for i in range(4)]
    stream = io.BytesIO()
    frames[0].save(stream, rng.choice(["GIF", "PNG", "WEBP", "TIFF"]), save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and has almost nothing in it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\x00" * 100)) + chunk(b"IEND", b"")


def fill(folder: Path | str, count: int = 3, seed: int = 0) -> None:
    """Put small pictures into a folder."""
    os.makedirs(folder, exist_ok=True)
    for i in range(count):
        (Path(folder) / f"{i}.png").write_bytes(plain(seed + i))


def odd_folder(folder: Path, rng: random.Random) -> None:
    """Make a folder of images that is odd, or something else in its place."""
    kind = rng.randrange(16)
    inner = folder / "train" if rng.random() < 0.3 else folder
    if kind == 0:
        folder.mkdir()
    elif kind == 1:
        fill(inner / "cat")
    elif kind == 2:
        (inner / "cat").mkdir(parents=True)
        (inner / "dog").mkdir()
    elif kind == 3:
        fill(inner / "cat" / "deep" / "deeper")
        fill(inner / "dog")
    elif kind == 4:
        fill(inner)
    elif kind == 5:
        for name in ("a\nb", "\udce9", "[/b]", "a" * 200, " ", "\x1b[31m", "..."):
            fill(os.path.join(inner, name), 2)
    elif kind == 6:
        for i in range(300):
            fill(inner / f"class{i}", 1, seed=i)
    elif kind == 7:
        fill(inner / "cat")
        (inner / "dog").symlink_to("cat")
    elif kind == 8:
        fill(inner / "cat")
        (inner / "dog").symlink_to("nowhere")
        (inner / "cat" / "x.png").symlink_to("x.png")
    elif kind == 9:
        folder.write_bytes(b"no folder")
    elif kind == 10:
        folder.symlink_to(rng.choice(["odd", "nowhere", "cat.png"]))
    elif kind == 11:
        for name in ("cat", "dog"):
            os.makedirs(inner / name)
            for i in range(4):
                (inner / name / f"{i}.png").write_bytes(odd(rng))
    elif kind == 12:
        fill(inner / "cat", 5)
        fill(inner / "dog", 1)
    elif kind == 13:
        fill(folder / "train" / "cat")
        fill(folder / "train" / "dog")
        fill(folder / rng.choice(["val", "test"]) / rng.choice(["bird", "cat"]))
    elif kind == 14:
        for name in ("cat", "Cat", "cat ", "ca\u0301t", "c\u00e1t"):
            fill(inner / name, 2)
    else:
        fill(inner / "cat")
        fill(inner / "dog")
        (inner / "dog" / "folder.png").mkdir()
        os.mkfifo(inner / "dog" / "pipe.png")
