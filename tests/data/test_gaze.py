import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradsculpt.data.gaze import GazeMaps, Recording, by_image, gaze_map, read_recordings
from gradsculpt.errors import ArgumentError, DataError

RUN = "8464,500,375,200,145,179,160,168,765\n\n17,50,100,10,20,100\n18,400,100,1,2,100\n"
ALL = "8464,500,400,1000,800,460,140,860,540,179,460,140,765\n"


def plain_map(fixations: np.ndarray, width: int, height: int, sigma: float) -> np.ndarray:
    """The definition, pixel by pixel."""
    total = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            for x, y, duration in fixations:
                squared = (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2
                total[row, column] += duration * np.exp(-squared / (2 * sigma**2))
    return np.asarray(total / total.max())


fixation = st.tuples(st.floats(-2, 10), st.floats(-2, 8), st.floats(1, 900))


@given(fixations=st.lists(fixation, min_size=1, max_size=4), sigma=st.floats(0.8, 5))
def test_a_map_is_gaussians_weighted_by_duration(fixations: list[tuple[float, ...]], sigma: float) -> None:
    looked = np.array(fixations)
    found = gaze_map(looked, (9, 6), sigma)
    np.testing.assert_allclose(found, plain_map(looked, 9, 6, sigma), atol=1e-9)
    assert found.max() == 1.0


def test_each_fixation_may_have_its_own_sigma() -> None:
    looked = np.array([[2.5, 2.5, 1.0], [20.5, 2.5, 1.0]])
    found = gaze_map(looked, (24, 5), np.array([1.0, 2.0]))
    np.testing.assert_allclose([found[2, 3], found[2, 21]], np.exp([-1 / 2, -1 / 8]), rtol=1e-6)


def test_nobody_looked() -> None:
    assert not gaze_map(np.zeros((0, 3)), (4, 3), 2.0).any()
    assert not gaze_map(np.array([[1.0, 1.0, 0.0]]), (4, 3), 2.0).any()
    assert not gaze_map(np.array([[1e9, 1.0, 5.0]]), (4, 3), 2.0).any()


@pytest.mark.parametrize("bad", [[1.0, 1.0, -1.0], [np.nan, 1.0, 1.0], [1.0, np.inf, 1.0]])
def test_fixations_that_make_no_sense(bad: list[float]) -> None:
    with pytest.raises(ArgumentError, match="not finite or a negative duration"):
        gaze_map(np.array([bad]), (4, 3), 2.0)


def test_sigma_must_be_positive() -> None:
    with pytest.raises(ArgumentError, match=r"sigma=0\.0"):
        gaze_map(np.ones((1, 3)), (4, 3), 0.0)


def test_from_the_display_to_the_image(tmp_path: Path) -> None:
    corners = "460,140,1,1460,940,2,960,540,3"
    (tmp_path / "all.txt").write_text(f"7,500,400,1000,800,460,140,{corners}\n7,100,50,200,100,10,20,60,30,200\n")
    whole, other = read_recordings(tmp_path / "all.txt")
    np.testing.assert_array_equal(whole.fixations, [[0, 0, 1], [500, 400, 2], [250, 200, 3]])
    np.testing.assert_array_equal(other.fixations, [[25, 5, 200]])


@pytest.mark.parametrize("packed", [False, True])
def test_recordings_of_single_runs(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("run.txt.gz" if packed else "run.txt")
    path.write_bytes(gzip.compress(RUN.encode()) if packed else RUN.encode())
    first, second, wide = read_recordings(path)
    assert (first.image, first.size, first.magnification) == (8464, (500, 375), 1080 / 375)
    assert first.fixations.tolist() == [[200, 145, 179], [160, 168, 765]]
    assert (second.image, second.size, second.magnification) == (17, (50, 100), 10.8)
    assert second.fixations.tolist() == [[10, 20, 100]]
    assert wide.magnification == 1920 / 400


def test_recordings_in_pixels_of_the_display(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text(ALL)
    (found,) = read_recordings(tmp_path / "all.txt")
    assert (found.image, found.size, found.magnification) == (8464, (500, 400), 2.0)
    assert found.fixations.tolist() == [[200, 200, 179], [0, 0, 765]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1,500,375,200,145", "line 2 has 5 numbers, which is no gaze recording"),
        ("1", "line 2 has 1 number"),
        ("1,0,375,200,145,30", "line 2 has 6 numbers"),
        ("1,500,375,0,800,10,10", "line 2 has 7 numbers"),
        ("1,500,375,-9,800,10,10", "line 2 has 7 numbers"),
        ("1,500,375,a,b,c", "line 2 has something that is no number"),
    ],
)
def test_lines_in_no_known_format(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "run.txt").write_text(f"1,50,40,2,2,100\n{line}\n")
    with pytest.raises(DataError, match=words):
        read_recordings(tmp_path / "run.txt")


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "run.txt.gz").write_bytes(gzip.compress(RUN.encode())[:-12])
    with pytest.raises(DataError, match=r"run\.txt\.gz cannot be read"):
        read_recordings(tmp_path / "run.txt.gz")
    with pytest.raises(DataError, match=r"none\.txt cannot be read"):
        read_recordings(tmp_path / "none.txt")


def test_a_file_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "run.txt.gz").write_bytes(gzip.compress(b"1" * (65 << 20), compresslevel=1))
    with pytest.raises(DataError, match="unpacks to more than 64 MiB"):
        read_recordings(tmp_path / "run.txt.gz")


@pytest.mark.parametrize("name", ["run.txt", "run.txt.gz"])
def test_a_file_that_is_no_text_or_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe1,50")
    with pytest.raises(DataError, match="cannot be read"):
        read_recordings(tmp_path / name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read_recordings(tmp_path / name)


def recording(x: float, y: float, magnification: float = 10.0, size: tuple[int, int] = (60, 40)) -> Recording:
    return Recording(3, size, magnification, np.array([[x, y, 100.0]]))


def test_all_recordings_of_an_image_make_one_map() -> None:
    looks = (recording(20.5, 10.5), recording(40.5, 10.5, magnification=25.0))
    maps = GazeMaps({Path("a"): looks}, sigma=50.0)
    found = maps.read(Path("a"), 40, (60, 40))
    assert found.dtype == np.uint8
    assert found.shape == (40, 40)
    # The square in the middle begins ten pixels from the left; sigma is 5 and 2 pixels of the image.
    expected = [np.exp(-d * d / (2 * s * s)) for d, s in ((5, 5), (2, 2))]
    np.testing.assert_allclose(found[[15, 12], [10, 30]] / 255, expected, atol=0.01)
    half = maps.read(Path("a"), 20, (600, 400))  # A larger copy of the image, at a smaller size.
    np.testing.assert_allclose(half[5, [5, 15]] / 255, [0.99, 0.9], atol=0.03)
    with pytest.raises(DataError, match="the gaze recording of a is 60 x 40 but a is 40 x 60"):
        maps.read(Path("a"), 20, (40, 60))


def test_facts_change_with_what_the_map_depends_on() -> None:
    file = Path("a")
    several = [
        GazeMaps({file: (recording(2, 2),)}),
        GazeMaps({file: (recording(2, 3),)}),
        GazeMaps({file: (recording(2, 2, magnification=3.0),)}),
        GazeMaps({file: (recording(2, 2), recording(2, 2))}),
        GazeMaps({file: (recording(2, 2),)}, sigma=9.0),
    ]
    assert len({maps.facts(file) for maps in several}) == 5
    assert several[0].facts(file) == GazeMaps({file: (recording(2, 2),)}).facts(file)
    assert several[0].facts(Path("b")) is None


def test_recordings_by_image() -> None:
    one, two = recording(1, 1), recording(2, 2)
    assert by_image([one, two]) == {3: (one, two)}
    with pytest.raises(DataError, match=r"image 3 is \(60, 40\) in one recording and \(40, 60\)"):
        by_image([one, recording(1, 1, size=(40, 60))])


DATA = Path(os.environ.get("GRADSCULPT_DATA", "")) / "cub_gha"


@pytest.mark.skipif("GRADSCULPT_DATA" not in os.environ or not DATA.is_dir(), reason="needs CUB-GHA")
def test_the_published_recordings() -> None:
    files = sorted(DATA.glob("fixations_run*.txt.gz"))
    looks = [one for file in files for one in read_recordings(file)]
    images = by_image(looks)
    assert len(files) == 5
    assert len(images) == 11788
    assert set(images) == set(range(1, 11789))
    inside = np.concatenate([one.fixations[:, :2] / one.size for one in looks])
    assert inside.min() >= 0
    assert inside.max() <= 1
    # A fourteenth of the display's height, at most: the image fills it.
    sigmas = np.array([75 / one.magnification / min(one.size) for one in looks])
    assert sigmas.min() > 0.069
    maps = GazeMaps({Path("a"): images[1]})
    found = maps.read(Path("a"), 32, images[1][0].size)
    # The first albatross was looked at above the middle.
    assert found.max() > 240
    assert found[:12].sum() > found[20:].sum()
