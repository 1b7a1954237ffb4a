"""Folders of photographs that nothing is trained on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradsculpt.data.base import Request
from gradsculpt.data.photos import list_photos, read_photos
from gradsculpt.errors import DataError


def photos(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 10, 3), 9 * i, np.uint8)).save(root / name)
    return root


def request(tmp_path: Path) -> Request:
    return Request(8, cache_dir=tmp_path / "cache")


def test_class_folders_are_taken_as_a_whole(tmp_path: Path) -> None:
    listed = list_photos(photos(tmp_path / "p", "b/1.png", "a/x/2.png", "a/3.jpg", "stray.png", ".hidden/4.png"))
    assert listed is not None
    assert (listed.classes, listed.labelled) == (("a", "b"), True)
    images, skipped, _ = read_photos(listed, request(tmp_path))
    assert images.names == ("a/3.jpg", "a/x/2.png", "b/1.png")
    assert images.labels.tolist() == [0, 0, 1]
    assert images.images.shape == (3, 8, 8, 3)
    assert [skip.name for skip in skipped] == ["stray.png"]


def test_one_class_is_enough(tmp_path: Path) -> None:
    listed = list_photos(photos(tmp_path, "cat/1.png"))
    assert listed is not None
    assert listed.classes == ("cat",)


@pytest.mark.parametrize("loose", [True, False])
def test_photos_that_are_not_sorted_have_no_classes(tmp_path: Path, loose: bool) -> None:
    names = ("1.png", "2.png") if loose else ("2025/1.png", "2026/2.png")
    listed = list_photos(photos(tmp_path / "p", *names), labelled=None if loose else False)
    assert listed is not None
    assert (listed.classes, listed.labelled) == (("",), False)
    images, _, _ = read_photos(listed, request(tmp_path))
    assert images.names == names


def test_attention_is_read_and_is_no_class(tmp_path: Path) -> None:
    listed = list_photos(photos(tmp_path / "p", "a/1.png", "b/2.png", "attention/a/1.png"))
    assert listed is not None
    assert listed.classes == ("a", "b")
    images, _, notes = read_photos(listed, request(tmp_path))
    assert images.attention is not None
    assert any("1 of the 2" in note or "1 " in note for note in notes)


@pytest.mark.parametrize("part", ["test", "val", "valid", "validation"])
def test_a_part_alone_is_what_is_listed_and_one_to_train_on_makes_parts(tmp_path: Path, part: str) -> None:
    folder = photos(tmp_path, f"{part}/a/1.png", f"{part}/b/2.png")
    listed = list_photos(folder)
    assert listed is not None
    assert listed.classes == ("a", "b")
    photos(tmp_path, "train/a/1.png", "train/b/2.png")
    assert list_photos(folder) is None


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "file.jpg").write_text("no image")
    with pytest.raises(DataError, match="has no photos"):
        list_photos(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        list_photos(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a folder"):
        list_photos(tmp_path / "file.jpg")
    with pytest.raises(DataError, match="no class folders"):
        list_photos(photos(tmp_path / "flat", "1.png"), labelled=True)
    listed = list_photos(tmp_path)
    assert listed is not None
    (tmp_path / "flat" / "1.png").write_text("no image")
    with pytest.raises(DataError, match="1 of 1 image files cannot be decoded"):
        read_photos(listed, request(tmp_path))
