"""Attention beside the images of a folder: found, read, and cut and moved as its image is."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from gradsculpt.data import Augment, loader
from gradsculpt.data.attention import check_fit
from gradsculpt.data.base import ImageSet, Splits
from gradsculpt.errors import DataError
from tests.data.conftest import Load, MakeFolder, reader

PARTS = {"train/cat": 4, "train/dog": 4, "test/cat": 3, "test/dog": 3}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return reader(size=10, cache_dir=tmp_path / "cache")


def write_map(folder: Path, name: str, grey: np.ndarray) -> Path:
    """Write the map of the image `name`; images of `make_folder` are 24 x 20."""
    path = (folder / "attention" / name).with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)
    return path


def full(value: int) -> np.ndarray:
    return np.full((20, 24), value, dtype=np.uint8)


def by_name(splits: Splits) -> dict[str, np.ndarray]:
    maps: dict[str, np.ndarray] = {}
    for part in (splits.train, splits.val, splits.test):
        assert part.attention is not None
        assert part.attention.dtype == np.uint8
        maps |= {name: part.attention[index] for index, name in enumerate(part.names)}
    return maps


def every_map(folder: Path) -> dict[str, int]:
    """Give each image a map of a value of its own."""
    images = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    values = {name: 10 * index + 5 for index, name in enumerate(images)}
    for name, value in values.items():
        write_map(folder, name, full(value))
    return values


def test_each_image_has_its_own_map(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    values = every_map(folder)
    for _ in range(2):  # Built, and read from the cache.
        splits = load(folder)
        found = by_name(splits)
        assert splits.train.classes == ("cat", "dog")
        assert splits.notes == ()
        assert splits.skipped == ()
        assert {name: np.unique(grey).tolist() for name, grey in found.items()} == {n: [v] for n, v in values.items()}


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_one_folder_of_classes(make_folder: MakeFolder, load: Load, prefix: str) -> None:
    folder = make_folder({f"{prefix}a": 6, f"{prefix}b": 6})
    values = every_map(folder)
    splits = load(folder)
    assert splits.train.classes == ("a", "b")
    assert {name: int(grey.max()) for name, grey in by_name(splits).items()} == values


def test_attention_may_lie_inside_the_part(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    write_map(folder / "train", "cat/001.png", full(77))
    splits = load(folder)
    assert splits.train.classes == ("cat", "dog")
    assert splits.test.attention is None
    assert splits.train.attention is not None
    assert sorted(int(grey.max()) for grey in by_name_of_train(splits).values()) == [0] * 7 + [77]
    write_map(folder, "train/cat/001.png", full(77))
    with pytest.raises(DataError, match=r"attention and .*train.attention both have maps"):
        load(folder)


def test_images_without_a_map_count_as_looked_at_nowhere_and_are_told(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    write_map(folder, "train/dog/002.png", full(200))
    write_map(folder, "test/cat/000.png", full(100))
    write_map(folder, "test/cat/typo.png", full(100))
    for _ in range(2):
        splits = load(folder)
        values = {name: int(grey.max()) for name, grey in by_name(splits).items()}
        assert {name: value for name, value in values.items() if value} == {
            "train/dog/002.png": 200,
            "test/cat/000.png": 100,
        }
        assert splits.notes == (
            "12 of 14 images have no attention map (the first is train/cat/000.png): they count as looked at nowhere",
            "1 of 3 attention maps belong to no image (the first is attention/test/cat/typo.png)",
        )


def test_a_part_without_any_map_has_none(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    write_map(folder, "train/dog/002.png", full(200))
    assert load(folder).test.attention is None


def test_hidden_files_are_no_maps(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    values = every_map(folder)
    (folder / "attention/train/cat/._000.txt").write_text("what a Mac leaves behind")
    splits = load(folder)
    assert splits.notes == ()
    assert {name: int(grey.max()) for name, grey in by_name(splits).items()} == values


def test_no_folder_no_attention(make_folder: MakeFolder, load: Load) -> None:
    splits = load(make_folder(PARTS))
    assert splits.train.attention is splits.val.attention is splits.test.attention is None


def test_a_folder_in_which_no_map_fits_a_name(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    write_map(folder, "cat/000.png", full(9))  # Without train/.
    with pytest.raises(DataError, match=r"1 map and none belongs .*attention/train/cat/000\.png or its boxes"):
        load(folder)
    (folder / "attention/cat/000.png").unlink()
    with pytest.raises(DataError, match=r"0 maps and none belongs"):
        load(folder)
    assert not (folder.parent / "cache").exists()  # Told before an hour of decoding.


def test_a_changed_map_is_read_again(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    values = every_map(folder)
    load(folder)
    name = "train/cat/002.png"
    path = write_map(folder, name, full(251))
    os.utime(path, (7, 7))
    assert by_name(load(folder))[name].max() == 251
    path.unlink()
    assert by_name(load(folder))[name].max() == 0
    boxes = path.with_suffix(".txt")
    boxes.write_text("0 0 24 20")
    assert by_name(load(folder))[name].min() == 255
    boxes.unlink()
    assert by_name(load(folder))["train/cat/001.png"].max() == values["train/cat/001.png"]


def test_two_maps_of_one_image_and_two_images_of_one_map(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    path = write_map(folder, "train/cat/000.png", full(9))
    path.with_suffix(".txt").touch()
    with pytest.raises(DataError, match=r"000\.png and .*000\.txt are both maps of one image"):
        load(folder)
    path.with_suffix(".txt").unlink()
    Image.new("RGB", (24, 20)).save(folder / "train/cat/000.jpg")
    with pytest.raises(DataError, match=r"000\.jpg and .*000\.png would share the map"):
        load(folder)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".tif", ".bmp", ".webp"])
def test_formats_of_maps(make_folder: MakeFolder, load: Load, suffix: str) -> None:
    folder = make_folder(PARTS)
    path = write_map(folder, "train/cat/000.png", full(0))
    path.unlink()
    Image.fromarray(full(200)).save(path.with_suffix(suffix))
    found = by_name_of_train(load(folder))["train/cat/000.png"]
    assert abs(int(found.min()) - 200) <= 1


def by_name_of_train(splits: Splits) -> dict[str, np.ndarray]:
    parts = [part for part in (splits.train, splits.val) if part.attention is not None]
    return {name: part.attention[i] for part in parts for i, name in enumerate(part.names)}  # type: ignore[index]


def test_masks_of_any_scale_and_values(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    left = np.arange(24) < 12
    for index, (value, scale) in enumerate([(1, 1), (255, 1), (1, 3), (255, 2)]):
        mask = np.kron(np.broadcast_to(left, (20, 24)), np.ones((scale, scale))).astype(np.uint8) * value
        write_map(folder, f"train/cat/{index:03d}.png", mask.astype(np.uint8))
    write_map(folder, "train/dog/000.png", np.broadcast_to(left, (20, 24)).copy())  # 1 bit
    write_map(folder, "train/dog/001.png", np.broadcast_to(left, (5, 24)).astype(np.uint8)[:, ::4] * 255)
    maps = by_name_of_train(load(folder))
    for name, grey in maps.items():
        if name not in ("train/dog/002.png", "train/dog/003.png"):
            # The square in the middle is 20 of 24 columns, ten of them left of the edge.
            assert grey[:, :4].min() >= 250, name
            assert grey[:, 6:].max() <= 5, name


def test_wrong_shapes_are_told_together(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    write_map(folder, "train/cat/000.png", full(3))
    write_map(folder, "train/cat/001.png", full(3).T.copy())
    with pytest.raises(DataError) as raised:
        load(folder)
    assert "001.png is 20 x 24 but" in str(raised.value)
    assert "is 24 x 20, so it is no map" in str(raised.value)
    assert "\n" not in str(raised.value)
    write_map(folder, "train/dog/001.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match=r"^2 attention files cannot be used\. The first: .*cat/001\.png is 20 x 24"):
        load(folder)
    assert not (folder.parent / "cache").exists()


def test_many_wrong_maps_stop_early(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder({"train/cat": 30, "train/dog": 30, "test/cat": 1, "test/dog": 1})
    for index in range(20):
        write_map(folder, f"train/cat/{index:03d}.png", full(3).T.copy())
    calls: list[int] = []
    with pytest.raises(DataError, match="10 or more attention files cannot be used"):
        load(folder, progress=lambda done, _: calls.append(done))
    assert len(calls) < 20


def test_maps_that_cannot_be_read(make_folder: MakeFolder, load: Load) -> None:
    folder = make_folder(PARTS)
    path = write_map(folder, "train/cat/000.png", full(3))
    path.write_text("no image")
    with pytest.raises(DataError, match=r"attention/train/cat/000\.png is not an image"):
        load(folder)
    Image.new("RGB", (24, 20), (200, 10, 10)).save(path)
    with pytest.raises(DataError, match=r"attention/train/cat/000\.png is coloured"):
        load(folder)


@pytest.mark.parametrize("scale", [0.13, 0.5, 1.7, 3.0])
@pytest.mark.parametrize("shape", [(500, 375), (333, 500), (21, 20)])
def test_rounded_copies_fit(shape: tuple[int, int], scale: float) -> None:
    for rounded in (math.floor, math.ceil, round):
        copy = rounded(shape[0] * scale), rounded(shape[1] * scale)
        check_fit("map", copy, Path("image"), shape)
        check_fit("map", shape, Path("image"), copy)
    with pytest.raises(DataError):
        check_fit("map", (shape[0] * 10, shape[1] * 12), Path("image"), (shape[0] * 10, shape[1] * 10))


def smooth(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A picture with detail at several scales."""
    noise = Image.fromarray(generator.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    return np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Pictures of several shapes and orientations whose attention is a copy of their red channel."""
    root = tmp_path_factory.mktemp("red")
    generator = np.random.default_rng(0)
    for label in ("a", "b"):
        for index, (width, height) in enumerate([(40, 30), (30, 41), (33, 33), (90, 64), (17, 29), (64, 20)]):
            for turn in (1, 6) if label == "b" else (1,):
                picture = Image.fromarray(smooth(generator, width, height))
                upright = picture.transpose(Image.Transpose.ROTATE_270) if turn == 6 else picture
                exif = Image.Exif()
                exif[ExifTags.Base.Orientation] = turn
                for folder, what, tags in ((root, picture, exif), (root / "attention", upright.getchannel(0), None)):
                    (folder / "train" / label).mkdir(parents=True, exist_ok=True)
                    name = folder / "train" / label / f"{index}-{turn}.png"
                    what.save(name, exif=tags or Image.Exif())
    splits = reader(size=24, cache_dir=root / "cache", val_fraction=0.01)(root)
    assert splits.notes == ()
    return splits.train


def test_attention_is_cut_as_its_image(red: ImageSet) -> None:
    batch = next(iter(loader(red, len(red), shuffle=False)))
    assert batch.attention is not None
    apart = (batch.images[:, :1].int() - batch.attention.int()).abs().amax(dim=(1, 2, 3))
    turned = torch.tensor(["-6" in name for name in red.names])
    assert bool(turned.any())
    assert int(apart[~turned].max()) == 0
    assert int(apart[turned].max()) <= 1  # Scaled before or after the turn.


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flip=st.booleans(),
    crop=st.sampled_from([0.0, 0.125, 0.4]),
    zoom=st.sampled_from([(1.0, 1.0), (0.6, 0.9), (0.8, 1.7)]),
    seed=st.integers(0, 99),
)
def test_attention_follows_its_image_all_the_way(
    red: ImageSet, flip: bool, crop: float, zoom: tuple[float, float], seed: int
) -> None:
    augment = Augment(flip=flip, crop=crop, zoom=zoom)
    for batch in loader(red, 7, shuffle=True, seed=seed):
        images, attention = augment(batch.images, batch.attention, torch.Generator().manual_seed(seed))
        assert attention is not None
        assert attention.dtype == torch.uint8
        assert int((images[:, :1].int() - attention.int()).abs().max()) <= 2
