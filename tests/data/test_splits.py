from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gradsculpt.data.base import ImageSet, shuffled_labels, stratified_cut, stratified_subset
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


@pytest.mark.parametrize("count", [3, 4, 10, 33, 69, 70])
def test_a_subset_keeps_the_shares_of_the_classes(count: int) -> None:
    sizes = np.array([10, 20, 40])
    kept = stratified_subset(images(sizes.tolist()), count, seed=3)
    assert len(kept) == len(set(kept.names)) == count
    found = np.bincount(kept.labels)
    assert found.min() >= 1
    assert np.abs(found - count * sizes / 70).max() <= 1
    for index, name in enumerate(kept.names):
        assert kept.images[index][0, 0, 0] == int(name)
    assert list(kept.names) == sorted(kept.names, key=int)


def test_a_rare_class_stays() -> None:
    assert np.bincount(stratified_subset(images([1, 50]), 5, seed=0).labels).tolist() == [1, 4]


def test_a_smaller_subset_is_part_of_a_larger_one() -> None:
    whole = images([10, 20, 40])
    names = [set(stratified_subset(whole, count, seed=1).names) for count in range(3, 71)]
    assert all(small < large for small, large in pairwise(names))


def test_the_seed_decides_which_images_and_which_classes_give_one_more() -> None:
    whole = images([30, 30, 30])
    whole = whole.subset(np.argsort(whole.labels, kind="stable"))  # As a folder is listed.
    kept = [stratified_subset(whole, 31, seed) for seed in (0, 0, *range(1, 30))]
    assert kept[0].names == kept[1].names != kept[2].names
    assert {int(np.argmax(np.bincount(part.labels))) for part in kept} == {0, 1, 2}


def test_a_subset_of_all_is_all() -> None:
    assert stratified_subset(images([3, 4]), 7, seed=0).names == tuple("0123456")


@pytest.mark.parametrize(
    ("count", "words"), [(71, "there are only 70"), (2, "they are of 3 classes"), (0, "3 classes"), (-1, "3 classes")]
)
def test_subsets_that_cannot_be(count: int, words: str) -> None:
    with pytest.raises(ArgumentError, match=rf"train_count={count} .*{words}; pass a number from 3 to 70"):
        stratified_subset(images([10, 20, 40]), count, seed=0)


def test_shuffled_labels_are_a_permutation_and_nothing_else_moves() -> None:
    whole = images([20, 20, 40])
    whole = replace(whole, attention=whole.images[..., 0])
    first, again, other = (shuffled_labels(whole, seed) for seed in (5, 5, 6))
    assert np.bincount(first.labels).tolist() == [20, 20, 40]
    assert first.labels.dtype == np.int64
    assert first.labels.tolist() == again.labels.tolist() != other.labels.tolist()
    # Independent of the labels that there were: a match is as likely as in two draws from the classes.
    agree = [np.mean(shuffled_labels(whole, seed).labels == whole.labels) for seed in range(40)]
    assert abs(np.mean(agree) - (0.25**2 + 0.25**2 + 0.5**2)) < 0.03
    assert first.names == whole.names
    np.testing.assert_array_equal(first.images, whole.images)
    np.testing.assert_array_equal(first.attention, whole.attention)
    assert np.bincount(whole.labels).tolist() == [20, 20, 40]


def test_what_a_seed_chooses_stays_what_it_was() -> None:
    labels = np.arange(30) % 3
    whole = ImageSet(np.zeros((30, 2, 2, 3), np.uint8), labels, ("a", "b", "c"), tuple(map(str, range(30))))
    assert stratified_cut(whole, 0.2, seed=7)[1].names == ("0", "1", "5", "17", "24", "28")
    assert stratified_subset(whole, 8, seed=7).names == ("4", "5", "6", "7", "8", "14", "22", "24")
    shuffled = "".join(map(str, shuffled_labels(whole, seed=7).labels))
    assert shuffled == "101211011022202221220001100210"
