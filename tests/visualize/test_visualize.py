"""Pictures of maps."""

import io

import numpy as np
import torch
from PIL import Image

from gradsculpt.visualize import colour, contact_sheet, overlay, plain, png


def test_stronger_pixels_are_lighter():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    (picture,) = colour(ramp, clip=100.0)
    lightness = picture.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness.ravel()) > -1).all()
    assert lightness.ravel()[-1] > lightness.ravel()[0] + 150


def test_overlay_shows_the_grey_image_where_the_map_is_zero():
    images, maps = torch.rand(2, 3, 6, 6), torch.zeros(2, 3, 6, 6)
    maps[:, :, 2, 3] = 5
    for picture, image in zip(overlay(images, maps), images, strict=True):
        grey = (image.mean(0).numpy()[..., None] * 255).round()
        away = np.ones((6, 6), bool)
        away[2, 3] = False
        assert np.abs(picture.astype(float) - grey)[away].max() <= 1
        assert picture[2, 3].max() - picture[2, 3].min() > 20


def test_plain_is_the_image_in_8_bits_and_grey_gets_three_channels():
    pixels = torch.randint(0, 256, (2, 1, 4, 5), dtype=torch.uint8)
    for picture, image in zip(plain(pixels.float() / 255), pixels, strict=True):
        assert picture.shape == (4, 5, 3)
        assert np.array_equal(picture[..., 1], image[0].numpy())


def test_png_is_lossless_and_enlarged_in_whole_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(png(picture, 60))))
    assert read.shape == (64, 64, 3)
    assert np.array_equal(read[::8, ::8], picture)


def test_a_contact_sheet_is_a_picture_as_wide_as_its_columns():
    rows = [[np.full((8, 8, 3), 60 * j, np.uint8) for j in range(4)] for _ in range(2)]
    image = Image.open(io.BytesIO(contact_sheet(rows, ["a", "b", "c", "d"], ["one", "two"])))
    assert image.width > image.height
