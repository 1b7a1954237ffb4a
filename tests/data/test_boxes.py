from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradsculpt.data.attention import draw_boxes, read_boxes
from gradsculpt.errors import DataError

SHAPE = (40, 30)


def boxes(tmp_path: Path, text: str) -> list[tuple[float, ...]]:
    path = tmp_path / "x.txt"
    path.write_text(text)
    return read_boxes(path, SHAPE)  # type: ignore[return-value]


def test_lines_are_boxes(tmp_path: Path) -> None:
    text = "\ufeff0 0 40 30\n\n 1.5,2, 3.5\t4 \r\n-1 -1 41 31\n"
    assert boxes(tmp_path, text) == [(0, 0, 40, 30), (1.5, 2, 3.5, 4), (-1, -1, 41, 31)]
    assert boxes(tmp_path, "\n") == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 2 3", "no box; write four numbers"),
        ("0 .5 .5 .2 .3", "no box; write four numbers"),
        ("dog 1 2 3", "no box; write four numbers"),
        ("10 10 60 20", "lies outside its image, which is 40 x 30"),
        ("10 10 20 33", "lies outside"),
        ("-5 10 20 20", "lies outside"),
        ("10 -5 20 20", "lies outside"),
        ("20 10 10 20", "is empty"),
        ("10 10 20 10", "is empty"),
        ("nan 10 20 20", "is empty"),
        (".1 .2 .6 .7", "within a single pixel; write pixels, not shares"),
    ],
)
def test_what_is_no_box_is_named(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(DataError, match=rf"x\.txt, line 2: .*{words}") as raised:
        boxes(tmp_path, f"1 1 9 9\n{line}\n")
    assert "\n" not in str(raised.value)


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match=r"x\.txt cannot be read as text"):
        read_boxes(tmp_path / "x.txt", SHAPE)


corners = st.tuples(*(st.integers(0, side) for side in (*SHAPE, *SHAPE)))


@given(drawn=st.lists(corners, max_size=3), size=st.sampled_from([1, 5, 7, 15, 30]))
def test_boxes_are_the_share_of_each_place_that_they_cover(drawn: list[tuple[int, ...]], size: int) -> None:
    found = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in drawn]
    expected = np.zeros((size, size))
    for left, top, right, bottom in found:
        # Plain and slow: pixels so fine that each place is a whole number of them.
        fine = np.zeros((30 * size, 40 * size))
        fine[size * top : size * bottom, size * left : size * right] = 1
        square = fine[:, 5 * size : 35 * size]
        expected = np.maximum(expected, square.reshape(size, 30, size, 30).mean(axis=(1, 3)))
    np.testing.assert_allclose(draw_boxes(found, size, SHAPE), 255 * expected, atol=0.51)


def test_upright_images_are_cut_above_and_below() -> None:
    drawn = draw_boxes([(0, 0, 30, 20)], 6, (30, 40))
    assert (drawn[:3] == 255).all()
    assert (drawn[3:] == 0).all()
