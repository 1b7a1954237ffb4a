"""Which images are drawn, and how they are found again in the data of other networks."""

from pathlib import Path

import numpy as np
import pytest

from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.studies.experiments import Maps
from gradsculpt.studies.experiments.chosen import drawn
from tests.studies.experiments.by_hand import by_hand, images

LABELS = np.array([2, 2, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


@pytest.mark.parametrize("seed", range(4))
def test_classes_take_turns_and_more_images_hold_fewer(seed: int) -> None:
    before: set[int] = set()
    for count in range(1, len(LABELS) + 1):
        places = drawn(LABELS, count, seed)
        labels = LABELS[places]
        assert len(set(places)) == count
        assert before < set(places)
        assert list(labels) == sorted(labels)
        counts = [int((labels == label).sum()) for label in range(3)]
        full = np.bincount(LABELS).tolist()
        most = max(counts)
        assert all(number in (most, most - 1) or number == of for number, of in zip(counts, full, strict=True))
        before = set(places)


def test_seeds_draw_other_images_and_classes() -> None:
    assert len({tuple(drawn(LABELS, 4, seed)) for seed in range(8)}) > 3
    assert {int(LABELS[drawn(LABELS, 1, seed)[0]]) for seed in range(20)} == {0, 1, 2}
    with pytest.raises(ArgumentError, match="count=14 images cannot be shown, as there are only 13; pass fewer"):
        drawn(LABELS, 14, 0)


def test_all_networks_see_the_same_images_whatever_the_order_of_their_data(tmp_path: Path) -> None:
    given = by_hand(tmp_path, {"one": images(), "other": images(order=np.arange(14)[::-1])})
    views = [view for _, _, view in Maps(count=5).views(given)]
    assert views[0].names == views[1].names
    np.testing.assert_array_equal(views[0].pixels, views[1].pixels)
    np.testing.assert_array_equal(views[0].labels, views[1].labels)
    named = [view for _, _, view in Maps(images=("i3", "i1")).views(given)]
    assert named[1].names == ("i3", "i1")
    np.testing.assert_array_equal(named[1].pixels, images().images[[3, 1]])


def test_images_that_are_not_there_are_named(tmp_path: Path) -> None:
    given = by_hand(tmp_path, {"one": images(), "other": images(order=[0, 1])})
    with pytest.raises(ArgumentError, match=r"test images of one have none of the name j1, .* Did you mean i1"):
        Maps(images=("j1",)).run(given)
    with pytest.raises(DataError, match=r"test images of other have none of the name .*, which the first network's"):
        Maps(count=5).run(given)
