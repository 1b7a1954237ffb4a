"""A folder that was listed before is looked over: whatever was added, removed, renamed or changed is noticed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradsculpt.data import known_listing
from gradsculpt.data.known_listing import remembered
from gradsculpt.data.listing import Files, Listing, list_images
from gradsculpt.data.names import Names

OLD = 1_600_000_000


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_listing, "_MANY", 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for index in range(12):
        place = root / "ab"[index % 2] / ("" if index < 6 else "deep") / f"{index:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"." * index)
        os.utime(place, (OLD, OLD))
    (root / "stray.png").write_text("")
    aged(root)
    return root


def aged(root: Path) -> None:
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, (OLD, OLD))


def same(one: Listing, other: Listing) -> bool:
    assert one.facts is not None
    assert other.facts is not None
    lists = (one.classes, list(one.files), one.stray) == (other.classes, list(other.files), other.stray)
    return lists and np.array_equal(one.labels, other.labels) and np.array_equal(one.facts, other.facts)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the folders that are listed anew."""
    folders = list[Path]()

    def noted(folder: Path, classes: tuple[str, ...] | None = None) -> Listing:
        folders.append(folder)
        return list_images(folder, classes)

    monkeypatch.setattr(known_listing, "list_images", noted)
    return folders


def test_a_folder_is_listed_once(photos: Path, tmp_path: Path, listed: list[Path]) -> None:
    first, again = (remembered(photos, None, tmp_path / "store") for _ in range(2))
    assert listed == [photos]
    assert same(first, again)
    assert same(again, list_images(photos))
    other = remembered(photos, ("b", "a"), tmp_path / "store")
    assert other.classes == ("b", "a")
    assert remembered(photos, None, None).classes == ("a", "b")


def add(photos: Path) -> None:
    (photos / "a" / "deep" / "99.png").write_text("")


def add_class(photos: Path) -> None:
    (photos / "c").mkdir()
    (photos / "c" / "1.png").write_text("")


def remove(photos: Path) -> None:
    (photos / "b" / "01.png").unlink()


def rename(photos: Path) -> None:
    (photos / "b" / "01.png").rename(photos / "b" / "98.png")


def put_in_place(photos: Path) -> None:
    (photos / "new.png").write_text("other")
    (photos / "new.png").replace(photos / "a" / "00.png")


def grow(photos: Path) -> None:
    with (photos / "a" / "02.png").open("ab") as file:
        file.write(b"more")
    os.utime(photos / "a" / "02.png", (OLD, OLD))


def touch(photos: Path) -> None:
    os.utime(photos / "a" / "02.png", (OLD + 1, OLD + 1))


def add_folder(photos: Path) -> None:
    (photos / "b" / "deep" / "deeper").mkdir()
    (photos / "b" / "deep" / "deeper" / "1.png").write_text("")


@pytest.mark.parametrize("change", [add, add_class, remove, rename, put_in_place, grow, touch, add_folder])
def test_a_change_is_noticed(change: Callable[[Path], None], photos: Path, tmp_path: Path, listed: list[Path]) -> None:
    before = remembered(photos, None, tmp_path / "store")
    change(photos)
    after = remembered(photos, None, tmp_path / "store")
    assert same(after, list_images(photos))
    assert not same(before, after)
    assert listed == ([photos] if change in (grow, touch) else [photos, photos])


def test_a_folder_that_was_changed_just_now_is_listed_again(photos: Path, tmp_path: Path, listed: list[Path]) -> None:
    os.utime(photos / "a")
    for _ in range(2):
        remembered(photos, None, tmp_path / "store")
    assert listed == [photos, photos]


def damaged(place: Path, at: float) -> None:
    content = bytearray(place.read_bytes())
    content[int(at * (len(content) - 1))] ^= 255
    place.write_bytes(content)


@pytest.mark.parametrize("at", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0, None])
def test_of_a_damaged_listing_nothing_is_used(at: float | None, photos: Path, tmp_path: Path) -> None:
    remembered(photos, None, tmp_path / "store")
    (place,) = (tmp_path / "store").iterdir()
    if at is None:
        place.write_bytes(place.read_bytes()[:-30])
    else:
        damaged(place, at)
    assert same(remembered(photos, None, tmp_path / "store"), list_images(photos))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/../../secret.png"])
def test_a_listing_of_somebody_else_leads_nowhere_else(name: str, photos: Path, tmp_path: Path) -> None:
    listing = list_images(photos)
    forged = Listing(
        listing.classes,
        Files(photos, Names([name, *listing.names(photos)])),
        np.concatenate([[0], np.asarray(listing.labels)]),
        (),
        None,
        listing.folders,
    )
    remembered(photos, None, tmp_path / "store")
    (place,) = (tmp_path / "store").iterdir()
    known_listing._write(place, photos, forged, 2**62)
    assert same(remembered(photos, None, tmp_path / "store"), listing)


def test_where_nothing_can_be_kept_the_folder_is_listed_all_the_same(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    assert same(remembered(photos, None, tmp_path / "store"), list_images(photos))


def test_a_folder_that_was_moved_is_another(photos: Path, tmp_path: Path) -> None:
    remembered(photos, None, tmp_path / "store")
    moved = photos.with_name("moved")
    shutil.move(photos, moved)
    assert all(file.is_file() for file in remembered(moved, None, tmp_path / "store").files)
