import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from gradsculpt.data.decode import decode, decode_grey, decode_with_size
from gradsculpt.errors import DataError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def same(path: Path, expected: np.ndarray, tolerance: int = 0) -> None:
    decoded = decode(path, len(expected))
    assert decoded.dtype == np.uint8
    assert decoded.shape == (*expected.shape[:2], 3)
    if expected.ndim == 2:
        expected = np.repeat(expected[:, :, None], 3, axis=2)
    assert np.abs(decoded.astype(int) - expected.astype(int)).max() <= tolerance


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_colours_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    same(save(Image.fromarray(COLOURS), tmp_path / f"a.{suffix}", lossless=True), COLOURS)


def test_greyscale_and_bilevel(tmp_path: Path) -> None:
    same(save(Image.fromarray(RAMP), tmp_path / "grey.png"), RAMP)
    same(save(Image.fromarray(RAMP > 99), tmp_path / "bilevel.png"), np.where(RAMP > 99, 255, 0))


def test_greyscale_jpeg(tmp_path: Path) -> None:
    same(save(Image.fromarray(RAMP), tmp_path / "grey.jpg", quality=100), RAMP, tolerance=3)


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    plain = Image.new("RGB", (16, 16), (200, 30, 60))
    expected = np.full((16, 16, 3), (200, 30, 60))
    same(save(plain.convert("CMYK"), tmp_path / "cmyk.jpg", quality=100), expected, tolerance=4)


def test_palette(tmp_path: Path) -> None:
    image = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (8, 4)), mode=None).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    expected = np.tile(np.array([[10, 20, 30], [200, 100, 50]]), (8, 4, 1))
    same(save(image, tmp_path / "palette.png"), expected)
    expected = np.tile(np.array([[10, 20, 30], [255, 255, 255]]), (8, 4, 1))
    same(save(image, tmp_path / "transparent.png", transparency=1), expected)
    same(save(image, tmp_path / "transparent.gif", transparency=1), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (8, 8), (0, 0, 0, 51) if mode == "RGBA" else (0, 51))
    same(save(image, tmp_path / "half.png"), np.full((8, 8), 204), tolerance=1)


def test_transparent_grey_value(tmp_path: Path) -> None:
    expected = np.where(RAMP == 7, 255, RAMP)
    same(save(Image.fromarray(RAMP), tmp_path / "key.png", transparency=7), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, dtype: type) -> None:
    values: np.ndarray = (RAMP.astype(np.int64) * 257).astype(dtype)
    same(save(Image.fromarray(values), tmp_path / "deep.tif"), RAMP)


def test_sixteen_bit_png(tmp_path: Path) -> None:
    same(save(Image.fromarray(RAMP.astype(np.uint16) * 257), tmp_path / "deep.png"), RAMP)


def test_dark_sixteen_bits_stay_dark(tmp_path: Path) -> None:
    path = save(Image.fromarray(RAMP.astype(np.uint16) * 128), tmp_path / "dark.png")
    same(path, RAMP * (128 / 257), tolerance=1)


def test_big_endian_sixteen_bit_tiff(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (16, 16), (RAMP.astype(">u2") * 257).tobytes())
    same(save(image, tmp_path / "deep.tif"), RAMP)


def test_wider_integers_take_their_own_range(tmp_path: Path) -> None:
    values = RAMP.astype(np.int32) * 1000 - 50_000
    same(save(Image.fromarray(values), tmp_path / "wide.tif"), RAMP)


@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (1.0, 0.0), (0.2, -7.0)])
def test_floating_point(tmp_path: Path, scale: float, offset: float) -> None:
    values = RAMP.astype(np.float32) * np.float32(scale) + np.float32(offset)
    same(save(Image.fromarray(values), tmp_path / "float.tif"), RAMP)


def test_dark_floating_point_stays_dark(tmp_path: Path) -> None:
    same(save(Image.fromarray(RAMP.astype(np.float32) / 510), tmp_path / "dark.tif"), RAMP / 2, tolerance=1)


def test_floating_point_that_is_not_finite(tmp_path: Path) -> None:
    values = np.full((4, 4), np.nan, np.float32)
    path = save(Image.fromarray(values), tmp_path / "nan.tif")
    with pytest.raises(DataError, match=r"nan\.tif.*not finite"):
        decode(path, 4)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animation_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = save(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(path) as written:
        assert getattr(written, "n_frames", 1) == 2
    same(path, np.full((8, 8, 3), (255, 0, 0)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(16, 16), (16, 23), (22, 16)])
def test_exif_orientation(tmp_path: Path, orientation: int, shape: tuple[int, int]) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    # How the camera stored it, so that a viewer who follows the tag sees `upright`.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "turned.png", exif=exif)
    expected = decode(save(Image.fromarray(upright), tmp_path / "upright.png"), 16)
    np.testing.assert_array_equal(decode(path, 16), expected)


def test_middle_square_of_a_wide_image(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    same(save(Image.fromarray(wide), tmp_path / "wide.png"), np.full((20, 20), 255))
    same(save(Image.fromarray(wide.transpose(1, 0, 2)), tmp_path / "tall.png"), np.full((20, 20), 255))


def test_reduction_averages(tmp_path: Path) -> None:
    # Every other pixel of a checkerboard would be all black or all white.
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    same(save(Image.fromarray(board), tmp_path / "board.png"), np.full((16, 16), 127), tolerance=2)


def test_large_jpeg_is_reduced_well(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    path = save(Image.fromarray(np.tile(ramp, (1024, 1))), tmp_path / "large.jpg", quality=95)
    same(path, np.tile(ramp.reshape(32, 32).mean(axis=1), (32, 1)), tolerance=3)


def test_enlarging(tmp_path: Path) -> None:
    same(save(Image.new("RGB", (3, 3), (5, 6, 7)), tmp_path / "small.png"), np.full((32, 32, 3), (5, 6, 7)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        decode(tmp_path / "none.png", 8)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(DataError, match=r"empty\.jpg is empty"):
        decode(path, 8)


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("a photograph of a cat")
    with pytest.raises(DataError, match=r"text\.png is not an image"):
        decode(path, 8)


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(tmp_path, 8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_file(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(Image.fromarray(noise), tmp_path / f"cut.{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"cut\.{suffix}"):
        decode(path, 8)


def test_corrupt_png(tmp_path: Path) -> None:
    path = save(Image.fromarray(COLOURS), tmp_path / "bad.png")
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT") + 8
    data[start : start + 20] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
        decode(path, 8)


@pytest.mark.parametrize("side", [10_000, 100_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b""))
    with pytest.raises(DataError, match=r"bomb\.png has more than .* pixels"):
        decode(path, 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_metadata_does_not_lose_the_picture(tmp_path: Path) -> None:
    path = save(Image.fromarray(COLOURS), tmp_path / "odd.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    same(path, COLOURS)


def grey(path: Path, expected: np.ndarray) -> None:
    found = decode_grey(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


MASK = RAMP > 99
WHITE_ON_BLACK = np.where(MASK, 255, 0)


def test_grey_keeps_its_values_and_shape(tmp_path: Path) -> None:
    tall = np.vstack([RAMP, RAMP])
    grey(save(Image.fromarray(tall), tmp_path / "grey.png"), tall)
    grey(save(Image.fromarray(np.stack([tall] * 3, 2)), tmp_path / "rgb.png"), tall)
    grey(save(Image.fromarray(tall // 2), tmp_path / "dim.png"), tall // 2)  # Not stretched.


def test_masks_of_zero_and_one(tmp_path: Path) -> None:
    grey(save(Image.fromarray(MASK), tmp_path / "1bit.png"), WHITE_ON_BLACK)
    grey(save(Image.fromarray(MASK.astype(np.uint8)), tmp_path / "8bit.png"), WHITE_ON_BLACK)
    grey(save(Image.fromarray(MASK.astype(np.uint16)), tmp_path / "16bit.png"), WHITE_ON_BLACK)
    grey(save(Image.fromarray(MASK.astype(np.float32)), tmp_path / "float.tif"), WHITE_ON_BLACK)
    grey(save(Image.fromarray(np.zeros_like(RAMP)), tmp_path / "none.png"), np.zeros_like(RAMP))


def test_grey_of_16_bits(tmp_path: Path) -> None:
    grey(save(Image.fromarray(RAMP.astype(np.uint16)), tmp_path / "small.png"), RAMP)
    grey(save(Image.fromarray(RAMP.astype(np.uint16) * 257), tmp_path / "large.png"), RAMP)


def test_transparent_is_looked_at_nowhere(tmp_path: Path) -> None:
    white = np.full_like(RAMP, 255)
    grey(save(Image.fromarray(np.dstack([white, RAMP])), tmp_path / "la.png"), RAMP)
    # What colour a hidden pixel has is no matter.
    hidden = np.dstack([white, white, np.where(MASK, 255, 0).astype(np.uint8), np.where(MASK, 255, 0).astype(np.uint8)])
    grey(save(Image.fromarray(hidden), tmp_path / "rgba.png"), WHITE_ON_BLACK)


def test_a_coloured_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"jet\.png is coloured.*shades of grey"):
        decode_grey(save(Image.fromarray(COLOURS), tmp_path / "jet.png"))
    palette = Image.fromarray(MASK.astype(np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    with pytest.raises(DataError, match=r"voc\.png is coloured"):
        decode_grey(save(palette, tmp_path / "voc.png"))


def test_grey_jpeg_is_not_taken_for_coloured(tmp_path: Path) -> None:
    path = save(Image.fromarray(np.stack([RAMP] * 3, 2)), tmp_path / "rgb.jpg", quality=60)
    assert np.abs(decode_grey(path).astype(int) - RAMP).mean() < 8
    tinted = np.stack([RAMP // 2, RAMP // 2 + 9, RAMP // 2], 2)
    grey(save(Image.fromarray(tinted), tmp_path / "tinted.png"), RAMP // 2 + 3)


def test_a_map_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    grey(save(Image.fromarray(RAMP[:5]), tmp_path / "turned.png", exif=exif), np.rot90(RAMP[:5]))


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (8, (30, 40))])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_size_told_is_that_of_the_upright_file(
    tmp_path: Path, orientation: int, size: tuple[int, int], suffix: str
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = save(Image.new("RGB", (40, 30)), tmp_path / f"a.{suffix}", exif=exif)
    pixels, found = decode_with_size(path, 4)  # A JPEG is decoded at less than its size.
    assert (pixels.shape, found) == ((4, 4, 3), size)
