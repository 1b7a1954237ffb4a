import numpy as np
import pytest

from gradsculpt.data.base import ImageSet
from gradsculpt.data.splits import stratified_cut
from gradsculpt.errors import ArgumentError


def images(counts: list[int]) -> ImageSet:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8)
    return ImageSet(pixels, labels, tuple("abcdef"[: len(counts)]), tuple(str(i) for i in range(len(labels))))


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3, 0.5])
def test_each_class_gives_its_share(fraction: float) -> None:
    counts = [10, 20, 40]
    stay, cut = stratified_cut(images(counts), fraction, seed=3)
    assert sorted((*stay.names, *cut.names), key=int) == [str(i) for i in range(70)]
    assert np.bincount(cut.labels).tolist() == [max(1, round(fraction * count)) for count in counts]


def test_pixels_labels_and_names_stay_together() -> None:
    whole = images([10, 20])
    for part in stratified_cut(whole, 0.3, seed=0):
        for index, name in enumerate(part.names):
            assert part.images[index][0, 0, 0] == int(name)
            assert part.labels[index] == whole.labels[int(name)]


def test_the_seed_decides() -> None:
    whole = images([30, 30])
    cuts = [stratified_cut(whole, 0.2, seed)[1].names for seed in (0, 0, 1)]
    assert cuts[0] == cuts[1] != cuts[2]


def test_order_is_kept() -> None:
    for part in stratified_cut(images([30, 30]), 0.2, seed=5):
        assert list(part.names) == sorted(part.names, key=int)


def test_small_classes_keep_an_image() -> None:
    stay, cut = stratified_cut(images([1, 2, 3]), 0.9, seed=0)
    assert np.bincount(stay.labels, minlength=3).tolist() == [1, 1, 1]
    assert np.bincount(cut.labels, minlength=3).tolist() == [0, 1, 2]


def test_nothing_is_cut_for_zero() -> None:
    assert len(stratified_cut(images([4, 4]), 0.0, seed=0)[1]) == 0


def test_fraction_out_of_range() -> None:
    with pytest.raises(ArgumentError, match=r"fraction=1\.5"):
        stratified_cut(images([4, 4]), 1.5, seed=0)
