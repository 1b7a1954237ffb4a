import gzip
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradsculpt.data import Splits, load_data
from gradsculpt.data.cub_gha import read_list
from gradsculpt.errors import DataError

BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two kinds of birds, six training and two test images each, of which the last has no recording."""
    root = tmp_path / "data"
    (root / "cub_gha").mkdir(parents=True)
    rows: dict[str, list[str]] = {"train": ["split,img,label,gaze"], "test": ["split,img,label,gaze"]}
    looks = []
    number = 0
    for label, bird in enumerate(BIRDS):
        (root / "CUB_200_2011/images" / bird).mkdir(parents=True)
        for index in range(8):
            number += 1
            part = "test" if index < 2 else "train"
            name = f"images/{bird}/Bird_{index:04d}.jpg"
            Image.new("RGB", (50, 40), (number, 0, 0)).save(root / "CUB_200_2011" / name)
            rows[part].append(f"{int(part == 'train')},{name},{label},CUB_GHA/{number}.jpg")
            if number < 16:
                looks.append(f"{number},50,40,{5 + number + 0.5},{10.5},300")
    (root / "cub_gha/test.csv").write_text("\n".join(rows["test"]) + "\n")
    (root / "cub_gha/train.csv.gz").write_bytes(gzip.compress("\n".join(rows["train"]).encode()))
    (root / "cub_gha/fixations_run1.txt.gz").write_bytes(gzip.compress("\n".join(looks[:9]).encode()))
    (root / "cub_gha/Fixation_run2.txt").write_text("\n".join(looks[9:]))
    return root


@pytest.fixture
def load(data: Path, tmp_path: Path) -> "partial[Splits]":
    return partial(load_data, "cub-gha", data_dir=data, cache_dir=tmp_path / "cache", image_size=40)


def test_birds_and_where_they_were_looked_at(load: "partial[Splits]") -> None:
    for _ in range(2):
        splits = load()
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [10, 2, 4]
        assert splits.train.classes == ("Black footed Albatross", "Laysan Albatross")
        assert splits.test.labels.tolist() == [0, 0, 1, 1]
        assert splits.test.names[1] == "images/001.Black_footed_Albatross/Bird_0001.jpg"
        for part in (splits.train, splits.val, splits.test):
            assert part.attention is not None
            for name, grey, label in zip(part.names, np.asarray(part.attention[:]), part.labels, strict=True):
                number = 8 * int(label) + int(name[-8:-4]) + 1
                if number < 16:  # The square in the middle begins five pixels from the left.
                    assert np.unravel_index(grey.argmax(), grey.shape) == (10, number)
                else:
                    assert not grey.any()
        assert splits.notes == ("1 of 16 images have no gaze recording: they count as looked at nowhere",)


def test_both_parts_stay_in_the_cache(load: "partial[Splits]") -> None:
    load()
    load(progress=lambda *_: pytest.fail("one part pushed the other out"))


def test_new_recordings_are_noticed(load: "partial[Splits]", data: Path) -> None:
    load()
    with (data / "cub_gha/Fixation_run2.txt").open("a") as file:
        file.write("\n16,50,40,30.5,10.5,300\n")
    assert load().notes == ()


@pytest.mark.parametrize("lost", ["CUB_200_2011/images", "cub_gha/test.csv", "cub_gha/train.csv"])
def test_what_is_missing_is_named(load: "partial[Splits]", data: Path, lost: str) -> None:
    path = data / lost if (data / lost).exists() else data / f"{lost}.gz"
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(DataError, match=rf"data lacks {lost}, so there is no cub-gha to read.*--data-dir"):
        load()


def test_without_recordings(load: "partial[Splits]", data: Path) -> None:
    for name in ("fixations_run1.txt.gz", "Fixation_run2.txt"):
        (data / "cub_gha" / name).unlink()
    with pytest.raises(DataError, match=r"lacks cub_gha/fixation\*\.txt"):
        load()


@pytest.mark.parametrize("text", ["img,label\na/b.jpg,0\n", "img,label,gaze\na/b.jpg,zero,1.jpg\n", "\x00"])
def test_a_list_in_another_format(load: "partial[Splits]", data: Path, text: str) -> None:
    (data / "cub_gha/test.csv").write_text(text)
    with pytest.raises(DataError, match=r"test\.csv is no list of images with the columns img, label and gaze"):
        load()


def test_lists_of_different_classes(load: "partial[Splits]", data: Path) -> None:
    lines = (data / "cub_gha/test.csv").read_text().splitlines()
    (data / "cub_gha/test.csv").write_text("\n".join(lines[:3]))
    with pytest.raises(DataError, match="are of different classes"):
        load()
    (data / "cub_gha/test.csv").write_text("\n".join([lines[0], *lines[3:]]))
    with pytest.raises(DataError, match="lacks images of some classes"):
        load()


DATA = Path(os.environ.get("GRADSCULPT_DATA", "")) / "cub_gha"


@pytest.mark.skipif("GRADSCULPT_DATA" not in os.environ or not DATA.is_dir(), reason="needs CUB-GHA")
@pytest.mark.parametrize(("part", "count"), [("train", 5990), ("test", 5790)])
def test_the_published_split(part: str, count: int) -> None:
    listing, numbers = read_list(DATA / f"{part}.csv.gz", Path("root"))
    assert len(listing.files) == len(set(listing.files)) == len(set(numbers)) == count
    assert len(set(listing.classes)) == 200
    assert listing.classes[0] == "Black footed Albatross"
    assert set(numbers) <= set(range(1, 11789))
