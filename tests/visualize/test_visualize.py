"""Pictures of maps."""

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from gradsculpt.attributions import heatmap, signed_heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.visualize import colour, contact_sheet, difference, overlay, plain, png
from gradsculpt.visualize.render import amplification, coloured


def test_stronger_pixels_are_lighter() -> None:
    ramp = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    (picture,) = colour(ramp, clip=100.0)
    lightness = picture.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness.ravel()) > -1).all()
    assert lightness.ravel()[-1] > lightness.ravel()[0] + 150


def test_overlay_shows_the_grey_image_where_the_map_is_zero() -> None:
    images, maps = torch.rand(2, 3, 6, 6), torch.zeros(2, 3, 6, 6)
    maps[:, :, 2, 3] = 5
    for picture, image in zip(overlay(images, maps), images, strict=True):
        grey = (image.mean(0).numpy()[..., None] * 255).round()
        away = np.ones((6, 6), bool)
        away[2, 3] = False
        assert np.abs(picture.astype(float) - grey)[away].max() <= 1
        assert picture[2, 3].max() - picture[2, 3].min() > 20


def test_plain_is_the_image_in_8_bits_and_grey_gets_three_channels() -> None:
    pixels = torch.randint(0, 256, (2, 1, 4, 5), dtype=torch.uint8)
    for picture, image in zip(plain(pixels.float() / 255), pixels, strict=True):
        assert picture.shape == (4, 5, 3)
        assert np.array_equal(picture[..., 1], image[0].numpy())


def test_png_is_lossless_and_enlarged_in_whole_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(png(picture, 60))))
    assert read.shape == (64, 64, 3)
    assert np.array_equal(read[::8, ::8], picture)


def test_pictures_keep_more_colours_than_a_palette_has() -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for content in (png(photograph), png(photograph, 200), contact_sheet([[photograph]], [""], [""], bar="signed")):
        image = Image.open(io.BytesIO(content))
        assert image.mode == "RGB"
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 2000


def test_a_contact_sheet_is_a_picture_as_wide_as_its_columns() -> None:
    rows = [[np.full((8, 8, 3), 60 * j, np.uint8) for j in range(4)] for _ in range(2)]
    image = Image.open(io.BytesIO(contact_sheet(rows, ["a", "b", "c", "d"], ["one", "two"])))
    assert image.width > image.height


def test_a_signed_heat_map_adds_channels_with_their_signs() -> None:
    maps = np.random.default_rng(1).normal(size=(2, 3, 5, 7))
    for found, one in zip(signed_heatmap(torch.from_numpy(maps), clip=90.0).numpy(), maps, strict=True):
        sums = one.sum(axis=0)
        np.testing.assert_allclose(found, np.clip(sums / np.percentile(np.abs(sums), 90), -1, 1), atol=1e-12)
    positive = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(signed_heatmap(positive), heatmap(positive))
    assert not signed_heatmap(torch.zeros(1, 3, 2, 2)).any()


def test_signs_are_told_apart_by_red_and_blue() -> None:
    maps = torch.tensor([[[-2.0, 0.0, 2.0]]])
    blue, white, red = colour(maps, signed=True, clip=100.0)[0][0].astype(int)
    assert blue[2] - blue[0] > 80
    assert red[0] - red[2] > 80
    assert white.min() > 240
    laid = overlay(torch.full((1, 3, 1, 3), 0.5), maps, signed=True, clip=100.0)[0][0].astype(int)
    assert laid[0, 2] - laid[0, 0] > 50
    assert laid[2, 0] - laid[2, 2] > 50
    assert (laid[1] == 128).all()


@pytest.mark.parametrize("signed", [False, True])
def test_the_top_share_is_the_largest_pixels_and_nothing_else(signed: bool) -> None:
    maps = torch.randn(2, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    nothing = colour(torch.zeros(1, 1, 1, 1), signed=signed)[0][0, 0]
    for picture, values in zip(colour(maps, signed=signed, top=0.07, clip=50.0), maps.abs().flatten(1), strict=True):
        shown = (picture != nothing).any(axis=2).ravel()
        assert set(np.flatnonzero(shown)) == set(values.topk(7).indices.tolist())
    with pytest.raises(ArgumentError, match="share"):
        colour(maps, top=0.0)


def sheet(side: int, captions: Sequence[Sequence[str]] | None = None, note: str = "") -> Image.Image:
    rows = [[np.full((side, side, 3), 60 * j, np.uint8) for j in range(2)] for _ in range(2)]
    headings = ["image", "a heading with many words that has to be broken into several lines"]
    return Image.open(io.BytesIO(contact_sheet(rows, headings, ["one", "two"], captions=captions, note=note)))


@pytest.mark.parametrize("side", [32, 200])
def test_a_sheet_keeps_every_colour_of_its_pictures(side: int) -> None:
    # A palette holds 256 colours; those of a photograph are many more, however small it is.
    photograph = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    drawn = np.asarray(Image.open(io.BytesIO(contact_sheet([[photograph]], [""], [""]))))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 900


@pytest.mark.parametrize("bar", ["absolute", "signed"])
def test_a_bar_shows_the_colours_of_maps_from_end_to_end(bar: Literal["absolute", "signed"]) -> None:
    rows = [[np.full((16, 16, 3), 255, np.uint8)] * 2]
    bare, told = (
        np.asarray(Image.open(io.BytesIO(contact_sheet(rows, ["", ""], [""], bar=each)))) for each in (None, bar)
    )
    assert told.shape[0] > bare.shape[0]
    values = np.linspace(-1 if bar == "signed" else 0, 1, 9, dtype=np.float32)[None]
    wanted = coloured(values, bar == "signed")[0].astype(int)
    there = np.unique(told.reshape(-1, 3), axis=0).astype(int)
    assert all(np.abs(there - each).sum(axis=1).min() < 30 for each in wanted)


def test_captions_and_a_note_stand_below_the_pictures() -> None:
    bare, told = sheet(16), sheet(16, captions=[["", "cat"], ["", "dog"]], note="red is more")
    assert told.width == bare.width
    assert told.height > bare.height + 20


def test_the_last_row_of_a_sheet_may_be_shorter() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    drawn = contact_sheet([[picture] * 3, [picture]], [""] * 3, ["", ""], captions=[["a", "b", "c"], ["d"]])
    pixels = np.asarray(Image.open(io.BytesIO(drawn)).convert("L"))
    height, width = pixels.shape
    dark = pixels < 128
    assert dark[: height // 2, : width // 3].mean() > 0.5
    assert dark[: height // 2, -width // 4 :].mean() > 0.5
    assert dark[height // 2 :, : width // 3].mean() > 0.5
    assert dark[height // 2 :, -width // 4 :].mean() < 0.01


def test_a_difference_is_grey_where_nothing_changed_and_scaled_by_itself() -> None:
    images = torch.full((2, 3, 20, 20), 0.5)
    changed = images.clone()
    changed[:, 0, :, 10:] += torch.tensor([0.001, 0.1]).view(2, 1, 1)
    changed[:, 1, 0, 0] -= 0.4  # a single entry, which goes beyond the colours
    for picture in difference(images, changed):
        assert (picture[:, :10, 2] == 128).all()
        assert (picture[:, 10:, 0] == 255).all()
        assert picture[0, 0, 1] == 0
    assert (difference(images, images)[0] == 128).all()
    factor = amplification(images, changed).view(2, 1, 1, 1)
    shown = [(picture / 255 - 0.5) for picture in difference(images, changed)]
    expected = ((changed - images) * factor).clamp(-0.5, 0.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(np.stack(shown) - expected).max() < 1 / 255
    assert amplification(images, images).tolist() == [1.0, 1.0]
