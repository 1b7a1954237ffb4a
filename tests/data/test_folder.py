import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradsculpt.data import cache
from gradsculpt.data.base import Splits, stratified_subset
from gradsculpt.errors import DataError
from tests.data.conftest import Load, MakeFolder, reader


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return reader(size=16, cache_dir=tmp_path / "cache")


def sizes(splits: Splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.val), len(splits.test)


def names(splits: Splits) -> list[str]:
    return [name for part in (splits.train, splits.val, splits.test) for name in part.names]


def test_three_parts(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"train/cat": 4, "train/dog": 5, "val/cat": 2, "val/dog": 1, "test/dog": 3})
    splits = load(folder)
    assert sizes(splits) == (9, 3, 3)
    assert splits.train.classes == splits.val.classes == splits.test.classes == ("cat", "dog")
    assert splits.test.labels.tolist() == [1, 1, 1]
    assert splits.val.names == ("val/cat/000.png", "val/cat/001.png", "val/dog/000.png")
    for part in (splits.train, splits.val, splits.test):
        for index, name in enumerate(part.names):
            with Image.open(folder / name) as image:
                assert tuple(part.images[index][8, 8]) == image.getpixel((0, 0))
            assert part.classes[part.labels[index]] == name.split("/")[1]


@pytest.mark.parametrize("held_out", ["val", "test", "valid", "validation"])
def test_one_held_out_part_is_the_test_part(make_folder: MakeFolder, load: Load, held_out: str) -> None:
    splits = load(make_folder({"train/a": 10, "train/b": 20, f"{held_out}/a": 3, f"{held_out}/b": 4}))
    assert sizes(splits) == (27, 3, 7)
    assert all(name.startswith(f"{held_out}/") for name in splits.test.names)
    assert all(name.startswith("train/") for name in splits.val.names)
    assert np.bincount(splits.val.labels).tolist() == [1, 2]


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_one_folder_of_classes_is_cut_in_three(make_folder: MakeFolder, load: Load, prefix: str) -> None:
    splits = load(make_folder({f"{prefix}a": 20, f"{prefix}b": 10}), val_fraction=0.2)
    assert sizes(splits) == (18, 6, 6)
    assert np.bincount(splits.val.labels).tolist() == np.bincount(splits.test.labels).tolist() == [4, 2]
    assert len(set(names(splits))) == 30


def test_the_seed_chooses_validation_and_never_test(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 20, "b": 20})
    first, again, other = (load(folder, seed=seed) for seed in (0, 0, 1))
    assert names(first) == names(again)
    assert first.val.names != other.val.names
    assert first.test.names == other.test.names


def test_largest_share_still_trains(make_folder: MakeFolder, load: Load) -> None:
    assert sizes(load(make_folder({"a": 8, "b": 8}), val_fraction=0.5)) == (2, 6, 8)


def test_classes_may_be_called_train_and_test(make_folder: MakeFolder, load: Load) -> None:
    assert load(make_folder({"train": 9, "test": 9, "bus": 9})).train.classes == ("bus", "test", "train")


def test_images_may_lie_deeper(make_folder: MakeFolder, load: Load) -> None:
    splits = load(make_folder({"a/2023": 5, "a/2024/may": 5, "b": 5}))
    assert np.bincount(splits.train.labels).sum() + len(splits.val) + len(splits.test) == 15
    assert splits.train.classes == ("a", "b")


@pytest.mark.parametrize("link", ["a/loop", "a/deep/up", "c"])
@pytest.mark.parametrize("target", ["a", ".", "..", "/"])
def test_a_link_to_a_folder_that_it_lies_in_is_refused(
    make_folder: MakeFolder, load: Load, link: str, target: str
) -> None:
    folder = make_folder({"a": 5, "b": 5, "a/deep": 1})
    above = {"a": folder / "a", ".": folder, "..": Path(os.path.relpath(folder.parent, (folder / link).parent))}
    (folder / link).symlink_to(above.get(target, Path("/")), target_is_directory=True)
    if (link, target) == ("c", "a"):  # it leads to no folder that it lies in
        assert load(folder).train.classes == ("a", "b", "c")
        return
    with pytest.raises(DataError, match=rf"^{folder}/{link} is a link to .*, a folder that it lies in, .*remove the"):
        load(folder)


def test_links_to_files_and_to_other_folders_are_followed(make_folder: MakeFolder, load: Load, tmp_path: Path) -> None:
    folder = make_folder({"a": 5, "b": 5})
    (folder / "b").rename(tmp_path / "elsewhere")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (folder / "a" / "again.png").symlink_to(tmp_path / "elsewhere" / "000.png")
    assert sum(sizes(load(folder))) == 11


def test_what_is_no_regular_file_is_skipped_at_once(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 5, "b": 5})
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "b" / "device.jpg").symlink_to("/dev/zero")
    reasons = [each.reason for each in load(folder).skipped]
    assert len(reasons) == 2
    assert all("is a pipe or a device, and no regular file; replace or remove it." in each for each in reasons)


def test_files_of_other_kinds_are_passed_over(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 5, "b": 5, ".hidden": 2, "__MACOSX": 1})
    for name in ("README.txt", ".DS_Store", "a/Thumbs.db", "a/._000.png", "b/labels.csv", "a/.cat.jpg"):
        (folder / name).write_text("nothing to see")
    splits = load(folder)
    assert sum(sizes(splits)) == 10
    assert splits.skipped == ()


def test_upper_case_suffixes_count(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 5, "b": 5})
    (folder / "a" / "000.png").rename(folder / "a" / "000.PNG")
    assert sum(sizes(load(folder))) == 10


def test_bad_files_are_left_out_and_told(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"train/a": 6, "train/b": 6, "test/a": 4, "test/b": 4})
    (folder / "train/a/002.png").write_text("no image")
    (folder / "test/b/zzz.heic").write_text("no decoder")
    (folder / "train/b/link.jpg").symlink_to("nowhere.jpg")
    for _ in range(2):  # Built, and read from the cache.
        splits = load(folder)
        assert sum(sizes(splits)) == 19
        assert "train/a/002.png" not in names(splits)
        assert [item.name for item in splits.skipped] == ["train/a/002.png", "train/b/link.jpg", "test/b/zzz.heic"]
        assert "is not an image" in splits.skipped[0].reason
        assert "does not exist" in splits.skipped[1].reason
    for part in (splits.train, splits.val):
        for index, name in enumerate(part.names):
            with Image.open(folder / name) as image:
                assert tuple(part.images[index][8, 8]) == image.getpixel((0, 0))


def test_strict_raises_even_from_the_cache(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 6, "b": 6})
    (folder / "a/002.png").write_text("no image")
    with pytest.raises(DataError, match=r"002\.png is not an image"):
        load(folder, strict=True)
    load(folder)
    with pytest.raises(DataError, match=r"002\.png is not an image"):
        load(folder, strict=True)


def test_images_beside_the_class_folders_are_told(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 5, "b": 5})
    Image.new("RGB", (9, 9)).save(folder / "lost.png")
    splits = load(folder)
    assert sum(sizes(splits)) == 10
    assert [(item.name, item.reason) for item in splits.skipped] == [("lost.png", "lies outside the class folders")]


def test_a_class_of_bad_files(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 9, "b": 1})
    (folder / "b/000.png").write_text("no image")
    with pytest.raises(DataError, match=r"no image file of b can be decoded .*b/000\.png"):
        load(folder)
    assert not (folder.parent / "cache").exists()


def test_mostly_bad_files(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"a": 5, "b": 5})
    for index in range(3):
        for name in "ab":
            (folder / name / f"{index:03d}.png").write_text("no image")
    with pytest.raises(DataError, match="6 of 10 image files cannot be decoded"):
        load(folder)


def test_a_changed_folder_is_decoded_again(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"train/a": 5, "train/b": 5, "test/a": 2, "test/b": 2})
    calls: list[tuple[int, int]] = []

    def decoded() -> list[tuple[int, int]]:
        calls.clear()
        load(folder, progress=lambda done, total: calls.append((done, total)))
        return calls

    both_parts = [(done, total) for total in (10, 4) for done in range(1, total + 1)]
    assert decoded() == both_parts
    assert decoded() == []
    Image.new("RGB", (9, 9)).save(folder / "test/a/new.png")
    assert decoded() == [(done, 5) for done in range(1, 6)]
    os.utime(folder / "train/a/000.png", (1, 1))
    assert len(decoded()) == 10
    load(folder, size=24)
    assert decoded() == []  # Another size does not push this one out.
    (folder / "train/a/000.png").rename(folder / "train/a/first.png")
    assert len(decoded()) == 10


def test_two_folders_of_one_name_share_a_cache(make_folder: MakeFolder, load: Load) -> None:
    first = make_folder({"a": 5, "b": 5})
    second = first.parent / "elsewhere" / first.name
    shutil.copytree(first, second)
    Image.new("RGB", (9, 9)).save(second / "a" / "more.png")
    assert [sum(sizes(load(folder))) for folder in (first, second)] == [10, 11]
    load(first, progress=lambda *_: pytest.fail("the second folder pushed the first one out"))


def test_missing_folder(tmp_path: Path, load: Load) -> None:
    with pytest.raises(DataError, match=r"none does not exist"):
        load(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file is not a folder"):
        load(tmp_path / "file")


def test_no_images_at_all(tmp_path: Path, make_folder: MakeFolder, load: Load) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="has no images and no class folders"):
        load(tmp_path / "bare")
    with pytest.raises(DataError, match=r"has no images in its class folders \(a, b\)"):
        load(make_folder({"a": 0, "b": 0}))


@pytest.mark.parametrize("part", ["train", "test"])
def test_empty_class_folder(make_folder: MakeFolder, load: Load, part: str) -> None:
    counts = {"train/a": 3, "train/b": 3, "train/c": 3, "test/a": 3, "test/b": 3, "test/c": 3, f"{part}/c": 0}
    with pytest.raises(DataError, match=rf"{part} has class folders without images \(c\)"):
        load(make_folder(counts))


def test_one_class(make_folder: MakeFolder, load: Load) -> None:
    with pytest.raises(DataError, match=r"only one class \(cats\)"):
        load(make_folder({"cats": 5}))


def test_classes_that_training_lacks(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"train/a": 3, "train/b": 3, "test/a": 3, "test/x": 3, "test/y": 3})
    with pytest.raises(DataError, match=r"test has classes that the training images lack \(x, y\)"):
        load(folder)
    assert not (folder.parent / "cache").exists()  # Told before an hour of decoding.


@pytest.mark.parametrize("prefix", ["", "train"])
def test_images_without_class_folders(make_folder: MakeFolder, load: Load, prefix: str) -> None:
    folder = make_folder({prefix or ".": 3} | ({"val": 2} if prefix else {}))
    with pytest.raises(DataError, match="has images but no class folders"):
        load(folder)


def test_nothing_to_train_on(make_folder: MakeFolder, load: Load) -> None:
    with pytest.raises(DataError, match="has test/ but no train/"):
        load(make_folder({"test/a": 3, "test/b": 3}))


def test_two_folders_for_validation(make_folder: MakeFolder, load: Load) -> None:
    with pytest.raises(DataError, match="has val/ and valid/, which mean the same"):
        load(make_folder({"train/a": 3, "train/b": 3, "val/a": 3, "valid/a": 3}))


def test_too_few_images_to_cut(make_folder: MakeFolder, load: Load) -> None:
    with pytest.raises(DataError, match="part has no images"):
        load(make_folder({"a": 1, "b": 1}))


def decoded(cache: Path) -> list[int]:
    """Return how many images the sets in a cache have, the smallest first."""
    return sorted(len(np.load(file)) for file in cache.glob("*/images.npy"))


@pytest.mark.parametrize(
    ("folders", "sizes"),
    [
        ({"a": 40, "b": 40, "c": 40}, [8 + 12 + 12]),
        ({"train/a": 40, "train/b": 40, "test/a": 4, "test/b": 5}, [8 + 8, 9]),
        ({"train/a": 40, "train/b": 40, "val/a": 2, "val/b": 1, "test/a": 4, "test/b": 5}, [8, 3, 9]),
    ],
)
def test_only_the_training_images_that_are_wanted_are_decoded(
    make_folder: MakeFolder, load: Load, tmp_path: Path, folders: dict[str, int], sizes: list[int]
) -> None:
    folder = make_folder(folders)
    few = load(folder, train_count=8)
    assert decoded(tmp_path / "cache") == sorted(sizes)
    assert len(few.train) == 8
    whole = load(folder, cache_dir=tmp_path / "whole")
    assert (few.val.names, few.test.names) == (whole.val.names, whole.test.names)
    chosen = stratified_subset(whole.train, 8, 0)
    for one, other in ((few.train, chosen), (few.val, whole.val), (few.test, whole.test)):
        assert one.names == other.names
        assert np.array_equal(one.images[:], other.images[:])
        assert np.array_equal(one.labels, other.labels)


def test_a_broken_file_among_the_few_is_left_out_as_of_all(make_folder: MakeFolder, load: Load, tmp_path: Path) -> None:
    folder = make_folder({"a": 12, "b": 12})
    broken = load(folder, train_count=8).train.names[2]
    (folder / broken).write_bytes(b"broken")
    few = load(folder, train_count=8)
    whole = load(folder, cache_dir=tmp_path / "whole")
    assert broken not in names(whole)
    assert (few.val.names, few.test.names, few.skipped) == (whole.val.names, whole.test.names, whole.skipped)
    assert len(few.train) == 8
    assert set(few.train.names) < set(whole.train.names)
    with pytest.raises(DataError, match=r"is not an image|cannot be decoded"):
        load(folder, train_count=8, strict=True, cache_dir=tmp_path / "strict")


def test_images_that_the_disk_has_no_room_for_are_refused_before_one_is_decoded(
    make_folder: MakeFolder, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder({"a": 40, "b": 40})
    monkeypatch.setattr(cache, "free_disk", lambda place: 40 * 16 * 16 * 3)
    monkeypatch.setattr("gradsculpt.data.decoders.decode_with_size", None)
    with pytest.raises(DataError, match=r"would take 0.1 MB in .*, where 0.0 MB are free.*--image-size"):
        load(folder)
    assert not (tmp_path / "cache").exists()
