from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gradsculpt.data import SOURCES, ImageSet, Splits, load_data
from gradsculpt.data.base import swapped
from gradsculpt.data.cells import draw
from gradsculpt.data.load import find_source
from gradsculpt.errors import ArgumentError, DataError, GradsculptError
from tests.data.conftest import MakeFolder


@pytest.fixture
def load(tmp_path: Path) -> "partial[Splits]":
    return partial(load_data, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")


def test_digits(load: "partial[Splits]") -> None:
    assert load("digits").train.images.shape[1:] == (32, 32, 3)
    assert load("digits", image_size=16).train.images.shape[1:] == (16, 16, 3)


def test_folder(load: "partial[Splits]", make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 10, "b": 10})
    (folder / "a" / "bad.png").touch()
    splits = load(f"folder:{folder}")
    assert splits.train.images.shape == (16, 128, 128, 3)
    assert [item.name for item in splits.skipped] == ["a/bad.png"]
    with pytest.raises(DataError, match=r"bad\.png is empty"):
        load(f"folder:{folder}", strict=True)


def test_folder_in_the_home(load: "partial[Splits]", make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make_folder({"a": 5, "b": 5}).parent))
    assert len(load("folder:~/photos", image_size=8).train) == 6


def test_cells(load: "partial[Splits]") -> None:
    calls: list[tuple[int, int]] = []
    splits = load("cells", image_size=16, train_count=40, progress=lambda *done: calls.append(done))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (30, 10, 10)
    assert calls == [(done, 50) for done in range(1, 51)]
    drawn = {f"cells-s0-{index:05d}": draw(index, seed=0, size=16) for index in range(40)}
    for part in (splits.train, splits.val):
        assert part.attention is not None
        for index, name in enumerate(part.names):
            np.testing.assert_array_equal(part.images[index], drawn[name].image)
            np.testing.assert_array_equal(part.attention[index], drawn[name].truth)
            assert part.labels[index] == drawn[name].label
    assert sorted((*splits.train.names, *splits.val.names)) == list(drawn)
    assert not set(splits.test.names) & set(drawn)
    assert len(np.unique(splits.test.labels)) == 10
    calls.clear()
    other = load("cells", image_size=16, train_count=40, seed=1, progress=lambda *done: calls.append(done))
    assert len(calls) == 40  # New cells to train on, the same ones for the test.
    assert other.test.names == splits.test.names
    assert not set(other.train.names) & set(splits.train.names)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cub", "did you mean cub-gha"),
        ("cifar", "did you mean cifar10"),
        ("Cells", "did you mean cells"),
        ("imagnette", "did you mean imagenette"),
        ("folder", "choose from cells, digits, cifar10, imagenette, cub-gha, folder:PATH"),
        ("folder:", "choose from"),
        ("xyzzy", "not known, so there is nothing to read; choose from"),
    ],
)
def test_unknown_name(load: "partial[Splits]", name: str, hint: str) -> None:
    with pytest.raises(DataError, match=hint) as raised:
        load(name)
    assert repr(name) in str(raised.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"val_fraction": 0.6},
        {"val_fraction": -0.1},
        {"seed": -1},
        {"seed": 2**31 - 1},
        {"image_size": 0},
        {"train_count": 5},
    ],
)
def test_numbers_out_of_range(load: "partial[Splits]", arguments: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        load("cells", **arguments)


def test_train_count_thins_the_training_part_alone(load: "partial[Splits]") -> None:
    whole, thin = load("digits", image_size=8), load("digits", image_size=8, train_count=100)
    assert len(thin.train) == 100
    assert set(thin.train.names) < set(whole.train.names)
    assert np.bincount(thin.train.labels).tolist() == [10] * 10
    assert (thin.val.names, thin.test.names) == (whole.val.names, whole.test.names)
    assert load("digits", image_size=8, train_count=100, seed=1).train.names != thin.train.names
    for count, words in ((9999, "there are only 129"), (9, "10 classes")):
        with pytest.raises(ArgumentError, match=rf"train_count={count} .*{words}"):
            load("digits", image_size=8, train_count=count)


def test_the_seed_chooses_which_training_images_stay(load: "partial[Splits]", make_folder: MakeFolder) -> None:
    folder = make_folder({f"{part}/{name}": 20 for part in ("train", "val", "test") for name in "ab"})
    first, again, other = (load(f"folder:{folder}", image_size=8, train_count=10, seed=seed) for seed in (0, 0, 1))
    assert len(first.train) == 10
    assert first.train.names == again.train.names != other.train.names
    assert (len(first.val), first.val.names, first.test.names) == (40, other.val.names, other.test.names)


@pytest.mark.parametrize(
    ("name", "options"), [("digits", {}), ("cells", {"train_count": 200}), ("digits", {"train_count": 90})]
)
def test_shuffled_labels(load: "partial[Splits]", name: str, options: dict[str, int]) -> None:
    plain, shuffled = (load(name, image_size=16, shuffle_labels=shuffle, **options) for shuffle in (False, True))
    for part in ("train", "val"):
        before, after = getattr(plain, part), getattr(shuffled, part)
        assert before.names == after.names
        assert sorted(before.labels) == sorted(after.labels)
        assert (before.labels == after.labels).mean() < 0.5
        np.testing.assert_array_equal(before.images[0], after.images[0])
        assert (before.attention is None) == (after.attention is None)
        if before.attention is not None:
            np.testing.assert_array_equal(before.attention[3], after.attention[3])
    np.testing.assert_array_equal(plain.test.labels, shuffled.test.labels)
    again = load(name, image_size=16, shuffle_labels=True, **options)
    np.testing.assert_array_equal(again.train.labels, shuffled.train.labels)
    other = load(name, image_size=16, shuffle_labels=True, **options | {"seed": 1})
    assert other.train.labels.tolist() != shuffled.train.labels.tolist()


@pytest.mark.parametrize(
    ("name", "options"), [("digits", {}), ("cells", {"train_count": 200}), ("digits", {"train_count": 90})]
)
def test_swapped_images(load: "partial[Splits]", name: str, options: dict[str, int]) -> None:
    plain, after_it = (load(name, image_size=16, swap=swap, **options) for swap in (0, 30))
    assert after_it.val.names == plain.val.names
    everything: dict[str, tuple[ImageSet, int]]
    everything = {n: (p, i) for p in (plain.train, plain.test) for i, n in enumerate(p.names)}
    for before, after, rest in ((plain.train, after_it.train, plain.test), (plain.test, after_it.test, plain.train)):
        assert len(after) == len(before)
        moved = [i for i in range(len(after)) if after.names[i] != before.names[i]]
        assert len(moved) == 30
        assert {after.names[i] for i in moved} < set(rest.names)
        rows = np.arange(len(after))
        for images in (after.images[rows], after.images[:], [after.images[i] for i in rows]):
            for i in range(len(after)):
                part, place = everything[after.names[i]]
                np.testing.assert_array_equal(images[i], part.images[place])
        for i in range(len(after)):
            part, place = everything[after.names[i]]
            assert after.labels[i] == part.labels[place]
            if part.attention is not None and after.attention is not None:
                np.testing.assert_array_equal(after.attention[i], part.attention[place])
        assert (after.attention is None) == (before.attention is None)
    assert not set(after_it.train.names) & set(after_it.test.names)
    again, other = (load(name, image_size=16, swap=30, seed=seed, **options) for seed in (0, 1))
    assert (again.train.names, again.test.names) == (after_it.train.names, after_it.test.names)
    assert other.test.names != after_it.test.names


def test_all_may_change_places_but_no_more(load: "partial[Splits]") -> None:
    tested = len(load("digits", image_size=8).test)
    assert not set(load("digits", image_size=8, swap=tested).test.names) & set(load("digits", image_size=8).test.names)
    for wrong, words in ((tested + 1, f"there are .* to train on and {tested} to test on"), (-1, "of at least 0")):
        with pytest.raises(ArgumentError, match=f"swap={wrong} .*{words}"):
            load("digits", image_size=8, swap=wrong)


def test_what_cannot_be_told_apart_changes_no_places(load: "partial[Splits]") -> None:
    splits = load("cells", image_size=16, train_count=60)
    with pytest.raises(DataError, match="only the training images"):
        swapped(splits.train, replace(splits.test, attention=None), 5, 0)
    with pytest.raises(DataError, match="the same name"):
        swapped(splits.train, splits.train, 5, 0)


def test_an_unreadable_folder_is_an_error_of_ours(
    load: "partial[Splits]", make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder = make_folder({"a": 5, "b": 5})
    monkeypatch.setattr("gradsculpt.data.listing.os.scandir", forbidden)
    with pytest.raises(GradsculptError, match="Permission denied"):
        load(f"folder:{folder}")


def test_no_validation_images(load: "partial[Splits]") -> None:
    with pytest.raises(DataError, match="val part has no images"):
        load("digits", val_fraction=0.0)


def test_sources() -> None:
    assert {source.name: source.image_size for source in SOURCES} == {
        "cells": 64,
        "digits": 32,
        "cifar10": 32,
        "imagenette": 128,
        "cub-gha": 224,
        "folder:PATH": 128,
        "python:MODULE:FACTORY": None,
    }
    assert not find_source("digits").augment().flip
    assert find_source("folder:x").augment().crop == 0.125
    for source in SOURCES:
        assert source.description
        assert "\n" not in source.description


@pytest.mark.parametrize("size", [16, 128, 512])
def test_cells_go_to_the_cache_as_they_are_drawn(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradsculpt.data import cells
    from gradsculpt.data.building import Building

    drawn, written, most, add = list[int](), list[int](), list[int](), Building.add

    def draw(index: int, *, seed: int, size: int) -> cells.CellSample:
        drawn.append(index)
        blank = np.zeros((size, size, 3), np.uint8)
        return cells.CellSample(blank, blank[..., 0], index % 10, 0)

    def noted(self: Building, row: object) -> None:
        most.append(len(drawn) - len(written))
        written.append(1)
        add(self, row)  # type: ignore[arg-type]

    monkeypatch.setattr(cells, "draw", draw)
    monkeypatch.setattr(Building, "add", noted)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    load_data("cells", data_dir=tmp_path, cache_dir=tmp_path, image_size=size, train_count=400)
    assert len(written) == 500
    assert max(most) <= min(256, 2**25 // (4 * size**2)) + 2
