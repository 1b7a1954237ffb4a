"""Pictures that strangers upload: what can be shown is shown as it should be, anything else is one sentence."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradsculpt.data.decode import decode
from gradsculpt.errors import DataError
from gradsculpt.viewer.uploads import SIDE, picture
from tests.viewer.hostile import encoded, photo, png_header

SENTENCE = r"[^\n<>/]+; [^\n]+\."
"""The name of the file, without its folders; what is wrong; what can be done."""


def _written(folder: Path, content: bytes, name: str = "x.png") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _animation() -> bytes:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.open(io.BytesIO(photo(24))), "JPEG", exif=exif, quality=95)


REFUSED = {
    "no image": (b"This is a letter.\n" * 50, "not a picture of a kind"),
    "empty": (b"", "is empty"),
    "truncated": (photo(200)[:150], "cannot be decoded"),
    "truncated in its head": (photo()[:20], "not a picture of a kind"),
    "header alone": (png_header(20_000, 20_000), "pixels, and at most"),
    "header between Pillow's warning and its error": (png_header(10_000, 10_000), "10,000 x 10,000 pixels"),
    "a bomb": (png_header(5000, 5000, bytes(75_000_000)), "5,000 x 5,000 pixels"),
    "a header that lies": (png_header(4000, 3000, b"\0" * 100), "cannot be decoded"),
    "no pixels": (png_header(0, 0), "not a picture of a kind"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "is a drawing"),
    "svg with a prologue": (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x --><svg onload="alert(1)"/>', "is a drawing"),
    "html": (b"<html><script>alert(1)</script></html>", "not a picture of a kind"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not a picture of a kind"),
    "zip": (b"PK\x05\x06" + bytes(18), "not a picture of a kind"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_one_sentence(tmp_path: Path, kind: str) -> None:
    content, said = REFUSED[kind]
    with pytest.raises(DataError, match=said) as raised:
        picture(_written(tmp_path, content))
    assert re.fullmatch(SENTENCE, str(raised.value)), str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_what_is_not_there_any_more_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there any more; upload it again"):
        picture(tmp_path / "gone.png")


@pytest.mark.parametrize("kind", ["header alone", "a bomb", "header between Pillow's warning and its error"])
def test_what_is_refused_takes_no_memory(tmp_path: Path, kind: str) -> None:
    path = _written(tmp_path, REFUSED[kind][0])
    assert _peak(path) < 20e6


def test_the_largest_picture_takes_a_bounded_memory(tmp_path: Path) -> None:
    # Transparent, whose layers are laid over each other: the costliest kind.
    path = _written(tmp_path, encoded(Image.new("RGBA", (4000, 4000), (9, 9, 9, 90)), compress_level=1))
    assert _peak(path) < 450e6


def _peak(path: Path) -> float:
    """Return the bytes that a process takes more when it reads a picture."""
    code = """
import resource, sys
from gradsculpt.viewer.uploads import picture
from tests.viewer.hostile import photo
from pathlib import Path
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small = Path(sys.argv[1]).with_name("small.png")
small.write_bytes(photo())
picture(small)  # libraries are loaded
before = peak()
try:
    picture(Path(sys.argv[1]))
except Exception as error:
    assert type(error).__name__ in ("DataError", "TooLargeError"), error
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def _shown(folder: Path, content: bytes, name: str = "x") -> tuple[np.ndarray, tuple[str, ...]]:
    upload = picture(_written(folder, content, name))
    assert upload.image.mode == "RGB"
    return np.asarray(upload.image), upload.notes


def test_a_picture_is_itself(tmp_path: Path) -> None:
    pixels, notes = _shown(tmp_path, photo(24))
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(photo(24)))))
    assert notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    pixels, notes = _shown(tmp_path, _exif(orientation))
    # Where the bright upper half of what was stored is to stand: EXIF 2.32, table 4.6.5.
    side = {1: "top", 2: "top", 3: "bottom", 4: "bottom", 5: "left", 6: "right", 7: "right", 8: "left"}[orientation]
    halves = {"top": pixels[:10], "bottom": pixels[14:], "left": pixels[:, :10], "right": pixels[:, 14:]}
    assert max(halves, key=lambda name: halves[name].mean()) == side
    assert any("turned upright" in note for note in notes) == (orientation > 1)


def test_kinds_of_colours(tmp_path: Path) -> None:
    size = (16, 12)
    cases = {
        "transparent": (Image.new("RGBA", size, (255, 0, 0, 0)), "PNG", (255, 255, 255), "transparent"),
        "half": (Image.new("RGBA", size, (255, 0, 0, 128)), "PNG", (255, 127, 127), "transparent"),
        "16 bits": (Image.fromarray(np.full((12, 16), 32768, np.uint16)), "PNG", (128, 128, 128), "more than 8 bits"),
        "print": (Image.new("CMYK", size, (0, 255, 255, 0)), "TIFF", (255, 0, 0), "CMYK"),
        "palette": (_palette(size), "PNG", (255, 255, 255), "transparent"),
        "grey": (Image.new("L", size, 77), "PNG", (77, 77, 77), None),
        "mask": (Image.new("1", size, 1), "PNG", (255, 255, 255), None),
    }
    for name, (image, kind, colour, note) in cases.items():
        pixels, notes = _shown(tmp_path, encoded(image, kind), name)
        assert pixels.shape == (12, 16, 3), name
        np.testing.assert_allclose(pixels, np.broadcast_to(colour, pixels.shape), atol=2, err_msg=name)
        assert (note is None and not notes) or any(str(note) in each for each in notes), (name, notes)


def _palette(size: tuple[int, int]) -> Image.Image:
    image = Image.new("P", size, 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.info["transparency"] = 0
    return image


def test_of_an_animation_the_first_picture_is_taken_and_said_so(tmp_path: Path) -> None:
    pixels, notes = _shown(tmp_path, _animation(), "moving.gif")
    np.testing.assert_array_equal(pixels, np.broadcast_to((255, 0, 0), (9, 9, 3)))
    assert notes == ("moving.gif has several pictures in it; the first one is taken.",)


def test_a_large_picture_is_shown_smaller_with_its_proportions(tmp_path: Path) -> None:
    pixels, _ = _shown(tmp_path, encoded(Image.new("RGB", (3000, 1500), "navy")))
    assert pixels.shape[:2] == (SIDE // 2, SIDE)


def test_what_is_shown_is_what_a_network_would_see(tmp_path: Path) -> None:
    path = _written(tmp_path, photo(24))
    np.testing.assert_array_equal(np.asarray(picture(path).image), decode(path, 24))


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "..\\..\\windows\\system.ini", "<img src=x onerror=alert(1)>.png", "a\nb.png", "é" * 300],
)
def test_a_name_is_told_without_folders_and_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as raised:
        picture(_written(tmp_path, b"nothing"), name)
    told = str(raised.value)
    assert "\n" not in told
    assert ".." not in told.partition(" is not")[0]
    assert "/" not in told.partition(" is not")[0]
    assert len(told) < 200
