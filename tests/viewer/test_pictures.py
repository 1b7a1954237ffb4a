"""Pictures are those that `gradsculpt explain` would read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gradsculpt.cli.images import collect
from gradsculpt.cli.opened import NamedNetwork, open_run
from gradsculpt.data.decode import decode
from gradsculpt.errors import ArgumentError, DataError, GradsculptError
from gradsculpt.progress import Reporter
from gradsculpt.viewer.pictures import OFFERED, Picture, checked, photographs, pictures_of, thumbnails, uploaded


def written(folder: Path, names: Sequence[str]) -> Path:
    """Write pictures of noise into a folder."""
    pixels = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / name)
    return folder


def same(pictures: Sequence[Picture], network: NamedNetwork, options: dict[str, Any]) -> None:
    """Check pictures against those that a command collects by the same names."""
    split = {"split": "test", "count": OFFERED, "strict": False, "output": "logit", "target": None}
    images, _ = collect(network, [], {**options, **split}, Reporter())
    assert [(each.title, each.label) for each in pictures] == [(image.source, image.label) for image in images]
    for each, image in zip(pictures, images, strict=True):
        np.testing.assert_array_equal(each.at(network.classifier.image_size), image.pixels)


def test_a_run_shows_what_it_held_out(runs: Path, options: dict[str, Any]) -> None:
    network = open_run(runs / "one")
    pictures = pictures_of(network, options, Reporter())
    assert len(pictures) == OFFERED
    options["data"] = None
    images = network.data({**options, "strict": False}, Reporter()).test
    place = {name: i for i, name in enumerate(images.names)}
    for each in pictures:
        np.testing.assert_array_equal(each.at(32), images.images[place[each.title]])
        assert each.label == images.classes[images.labels[place[each.title]]]
        assert each.at(64).shape == (64, 64, 3)


@pytest.mark.parametrize("part", ["val", "test"])
def test_folders_with_parts_show_what_is_held_out(
    part: str, runs: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    names = [f"{where}/{name}/{i}.png" for where in ("train", part) for name in "01" for i in range(20)]
    folder = written(tmp_path / "photos", names)
    options["data"] = f"folder:{folder}"
    pictures = pictures_of(open_run(runs / "one"), options, Reporter())
    assert len(pictures) == OFFERED
    for each in pictures:
        np.testing.assert_array_equal(each.at(32), decode(folder / part / each.title, 32))
        assert each.label == each.title[0]


def test_a_folder_of_photographs_is_shown_as_it_lies(runs: Path, options: dict[str, Any], tmp_path: Path) -> None:
    folder = written(tmp_path / "photos", ["a.png", "b.jpg", "deep er/c.png"])
    options["data"] = f"folder:{folder}"
    pictures = pictures_of(open_run(runs / "one"), options, Reporter())
    for each in pictures:
        assert each.at(8).shape == (8, 8, 3)
        assert str(tmp_path) not in each.title


def test_other_data_are_read_as_the_command_reads_them(options: dict[str, Any], runs: Path) -> None:
    network = NamedNetwork("named", open_run(runs / "one").classifier)
    options["data"] = "digits"
    same(pictures_of(network, options, Reporter()), network, options)


@pytest.mark.parametrize(
    ("data", "kind"), [(None, ArgumentError), ("folder:/nowhere/at/all", DataError), ("folder:{empty}", DataError)]
)
def test_what_is_not_there_is_told(
    data: str | None, kind: type[GradsculptError], options: dict[str, Any], runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    network = NamedNetwork("named", open_run(runs / "one").classifier)
    with pytest.raises(kind):
        pictures_of(network, {**options, "data": data and data.format(empty=tmp_path / "empty")}, Reporter())


def test_an_upload_is_checked_and_told_of_when_it_is_gone(photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match="not a picture"):
        checked(bad)
    copy = tmp_path / "cat.png"
    copy.write_bytes(photo.read_bytes())
    picture = checked(copy)
    np.testing.assert_array_equal(picture.at(16), decode(photo, 16))
    copy.unlink()
    with pytest.raises(DataError, match="upload it again"):
        picture.at(16)
    assert uploaded(copy, "two\nlines").title == r"two\nlines"


def test_photographs_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(each.at(8).shape == (8, 8, 3) for each in photographs())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert photographs() == ()


def test_a_picture_that_cannot_be_read_is_left_out_of_the_small_ones(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 6), (9, 8, 7)).save(tmp_path / "whole.png")
    shown = thumbnails([uploaded(tmp_path / name) for name in ("broken.png", "whole.png", "gone.png")], 4)
    assert [(each.title, small.shape) for each, small in shown] == [("whole.png", (4, 4, 3))]
