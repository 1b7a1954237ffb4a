import numpy as np
import pytest

from gradsculpt.data.augment import pixel_statistics
from gradsculpt.data.base import ImageSet
from gradsculpt.errors import ArgumentError


def image_set(images: np.ndarray) -> ImageSet:
    count = len(images)
    return ImageSet(images, np.zeros(count, np.int64), ("a",), tuple(map(str, range(count))))


@pytest.mark.parametrize("count", [1, 12, 600])
def test_mean_and_spread_of_each_channel(count: int) -> None:
    generator = np.random.default_rng(0)
    images = (generator.integers(0, 256, (count, 5, 7, 3)) // [1, 2, 5]).astype(np.uint8)
    mean, std = pixel_statistics(image_set(images))
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-9)


def test_white_images_do_not_overflow() -> None:
    mean, _ = pixel_statistics(image_set(np.full((300, 64, 64, 3), 255, np.uint8)))
    np.testing.assert_allclose(mean, 1.0)


def test_the_limit_takes_evenly_spaced_images() -> None:
    images = np.repeat(np.arange(9, dtype=np.uint8), 3).reshape(9, 1, 1, 3)
    mean, std = pixel_statistics(image_set(images), limit=3)
    np.testing.assert_allclose(mean, 4 / 255)
    np.testing.assert_allclose(std, np.std([0, 4, 8]) / 255)


def test_a_constant_channel_can_still_be_divided_by() -> None:
    _, std = pixel_statistics(image_set(np.full((4, 2, 2, 3), 7, np.uint8)))
    np.testing.assert_allclose(std, 0.5 / 255)


def test_of_a_subset(noise: np.ndarray) -> None:
    rows = np.array([7, 1, 4])
    assert pixel_statistics(image_set(noise).subset(rows)) == pixel_statistics(image_set(noise[rows]))


def test_limit_must_be_positive(noise: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="limit=0"):
        pixel_statistics(image_set(noise), limit=0)
