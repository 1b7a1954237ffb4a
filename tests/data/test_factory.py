"""Data from a function of one's own: what it may return, and one line for what cannot be used."""

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradsculpt.data import Splits, load_data, pixel_statistics
from gradsculpt.data.base import ImageSet
from gradsculpt.errors import DataError, GradsculptError

RED = np.zeros((12, 8, 8, 3), np.uint8) + np.array([200, 0, 0], np.uint8)
RED[:, 1, 5] = 255  # so that no turned or mirrored image passes for it
LABELS = np.arange(12) % 3


class Items:
    """A data set as torch knows them."""

    def __init__(self, *items: Any, classes: tuple[str, ...] | None = None) -> None:
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Splits]]:
    module = types.ModuleType("someones_data")
    monkeypatch.setitem(sys.modules, "someones_data", module)

    def loaded(factory: Any, **options: Any) -> Splits:
        module.make = factory  # type: ignore[attr-defined]
        return load_data("python:someones_data:make", data_dir=tmp_path, cache_dir=tmp_path / "cache", **options)

    yield loaded
    assert not (tmp_path / "cache").exists()


def test_arrays_are_taken_as_they_are_and_validation_is_cut_off(load: Callable[..., Splits]) -> None:
    images = RED.copy()
    images[:, 0, 0, 1] = np.arange(12)
    splits = load(lambda: ((images, LABELS), (RED, LABELS)), val_fraction=0.5, seed=3)
    assert splits.train.classes == splits.test.classes == ("0", "1", "2")
    assert (len(splits.train), len(splits.val)) == (6, 6)
    assert np.bincount(splits.val.labels).tolist() == [2, 2, 2]
    seen = np.concatenate([splits.train.images[:][:, 0, 0, 1], splits.val.images[:][:, 0, 0, 1]])
    assert sorted(seen.tolist()) == list(range(12))
    assert splits.test.images is RED
    assert len({*splits.train.names, *splits.val.names}) == 12
    np.testing.assert_allclose(pixel_statistics(splits.test)[0], RED.mean(axis=(0, 1, 2)) / 255)
    assert sorted(load(lambda: ((RED, LABELS), (RED, LABELS)), val_fraction=0.25, train_count=6).train.labels) == [
        *(0, 0, 1, 1, 2, 2)
    ]


def test_a_set_larger_than_the_memory_can_be_a_memory_map(load: Callable[..., Splits], tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", RED)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert load(lambda: ((images, LABELS), (images, LABELS), (images, LABELS))).train.images is images


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RED[0]),
        RED[0],
        torch.from_numpy(RED[0]).permute(2, 0, 1),
        torch.from_numpy(RED[0]).permute(2, 0, 1) / 255,
        RED[0] / 255,
    ],
    ids=["picture", "array", "bytes", "tensor", "floats"],
)
def test_a_data_set_gives_images_in_any_form(load: Callable[..., Splits], image: Any) -> None:
    data = Items((image, 0), (image, torch.tensor(1)), (image, np.int64(1)), (image, 0), classes=("cat", "dog"))
    splits = load(lambda: (data, data, data))
    assert splits.train.classes == ("cat", "dog")
    assert splits.val.labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(splits.train.images, RED[:4])


def test_grey_images_become_colour(load: Callable[..., Splits]) -> None:
    greys = np.full((4, 8, 8), 0.2), torch.full((4, 1, 8, 8), 0.2), np.full((4, 8, 8, 1), 51, np.uint8)
    for grey in greys:
        splits = load(lambda grey=grey: ((grey, [0, 1, 0, 1]),) * 3)
        np.testing.assert_array_equal(splits.test.images, np.full((4, 8, 8, 3), 51))


def test_images_are_cut_and_scaled_to_the_size_that_is_asked_for(load: Callable[..., Splits]) -> None:
    wide, tall = np.zeros((8, 16, 3), np.uint8), np.zeros((24, 12, 3), np.uint8)
    wide[:, 4:12] = tall[6:18] = 255  # the middle squares
    data = Items((wide, 0), (tall, 1), (Image.fromarray(wide), 1))
    splits = load(lambda: (data,) * 3, image_size=10)
    assert splits.train.images.shape == (3, 10, 10, 3)
    assert (splits.train.images[:, 1:-1, 1:-1] == 255).all()
    assert splits.train.images.min() > 200
    assert load(lambda: ((RED, LABELS),) * 3, image_size=16).train.images.shape == (12, 16, 16, 3)


def test_a_function_is_told_what_it_has_parameters_for(load: Callable[..., Splits], tmp_path: Path) -> None:
    told: dict[str, Any] = {}

    def make(seed: int, data_dir: Path, image_size: int | None = 5) -> Any:
        told.update(seed=seed, data_dir=data_dir, image_size=image_size)
        return ((RED, LABELS),) * 3

    load(make, seed=7, image_size=8)
    assert told == {"seed": 7, "data_dir": tmp_path, "image_size": 8}
    load(make)
    assert told["image_size"] is None


def test_splits_are_handed_on(load: Callable[..., Splits]) -> None:
    part = ImageSet(RED, LABELS, ("a", "b", "c"), tuple(map(str, range(12))), np.zeros((12, 8, 8), np.uint8))
    splits = Splits(part, part, part, notes=("a note",))
    assert load(lambda: splits, image_size=8) is splits
    with pytest.raises(DataError, match="gave images of 8 pixels, not 16; let the function take image_size"):
        load(lambda: splits, image_size=16)


def with_labels(*labels: Any) -> Any:
    return lambda: ((RED[: len(labels)], labels),) * 3


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (3, "has no callable 'make'"),
        (lambda: 1 / 0, r"failed: make\(\) raised ZeroDivisionError: .*image_size if it has a parameter of that name"),
        (lambda: None, r"gave a NoneType for make\(\); return \(train, test\) or"),
        (lambda: ((RED, LABELS),), r"gave a tuple for make\(\); return \(train, test\)"),
        (lambda: (RED, LABELS), r"train has a ndarray as item 0; return \(image, label\)"),
        (lambda: (iter([]), iter([])), r"train is a list_iterator without items"),
        (lambda: (Items(), Items()), r"train is a Items without items"),
        (lambda: ((RED, LABELS[:5]), (RED, LABELS)), "train has 12 and 5 items"),
        (lambda: (Items(*zip(RED, LABELS, strict=True)), Items((RED[0], 1), RED[0])), "test has a ndarray as item 1"),
        (lambda: ((RED, LABELS), (RED, LABELS + 5), (RED, LABELS - 1)), "test has labels from -1 to 1.* from 0 to 7"),
        (
            lambda: (Items((RED[0], 2), classes=("a", "b")),) * 2,
            "train has labels from 2 to 2.* from 0 to 1",
        ),
        (lambda: (Items((RED[0], 0), classes=("a", "b")), Items((RED[0], 0), classes=("b", "a"))), "test has other cl"),
        (with_labels("cat", "dog"), "train has labels such as 'cat'; give each image the number of its class"),
        (with_labels(0.5, 1.5), r"train has labels such as 0.5"),
        (with_labels([0, 1], [1, 0]), r"train has labels such as \[0, 1\]"),
        (
            lambda: (Items((RED[0], 0), (RED[0][:6, :6], 1)),) * 2,
            "image 1, is 6 x 6 and the first is 8 x 8",
        ),
        (
            lambda: (Items((RED[0][:6], 0)),) * 2,
            "image 0, is 8 x 6 and .* pass --image-size, or return squares",
        ),
        (
            lambda: (Items((RED[0][..., :2], 0)),) * 2,
            r"image 0, is a ndarray of shape \[8, 8, 2\] in",
        ),
        (lambda: (Items(("x.png", 0)),) * 2, r"image 0, is a str of shape \[\]"),
        (
            lambda: (Items((RED[0] / 100, 0)),) * 2,
            r"values from 0 to 2.55; return values from 0 to 1, before",
        ),
        (lambda: (Items((np.full((8, 8), np.nan), 0)),) * 2, r"values from nan to nan"),
    ],
)
def test_what_cannot_be_used_is_one_line(load: Callable[..., Splits], factory: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"^python:someones_data:make.*{said}") as raised:
        load(factory)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("python:nowhere_at_all:make", "no module 'nowhere_at_all' .*PYTHONPATH=FOLDER"),
        ("python:json", "write python:package.module:function"),
        ("python:json:lods", "has no callable 'lods'. Did you mean loads?"),
        ("python:", "did you mean python:MODULE:FACTORY|choose from cells"),
    ],
)
def test_a_name_that_leads_nowhere(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(GradsculptError, match=said):
        load_data(name, data_dir=tmp_path, cache_dir=tmp_path)
