"""Connected components against a flood fill and scikit-image."""

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import measure

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import connectedness

Neighbours = Literal[4, 8]


def plain_marks(values: np.ndarray, k: float) -> np.ndarray:
    places = sorted(np.ndindex(values.shape), key=lambda place: (-values[place], place))
    marks = np.zeros(values.shape, dtype=bool)
    for place in places[: max(1, math.floor(k * values.size + 0.5))]:
        marks[place] = values[place] > 0
    return marks


def flood(marks: np.ndarray, connectivity: int) -> list[int]:
    """Sizes of the components, by walking from pixel to pixel."""
    left, sizes = {tuple(place) for place in np.argwhere(marks).tolist()}, []
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if 0 < abs(i) + abs(j) <= (1 if connectivity == 4 else 2)]
    while left:
        waiting, size = [left.pop()], 0
        while waiting:
            y, x = waiting.pop()
            size += 1
            around = {(y + i, x + j) for i, j in steps} & left
            left -= around
            waiting += around
        sizes.append(size)
    return sizes


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 12)] * 2),
    k=st.sampled_from([0.05, 0.2, 0.5, 1.0]),
    levels=st.sampled_from([0, 1, 1000]),
    connectivity=st.sampled_from([4, 8]),
)
def test_equals_a_flood_fill_and_scikit_image(
    seed: int, shape: tuple[int, ...], k: float, levels: int, connectivity: Neighbours
) -> None:
    maps = np.random.default_rng(seed).integers(-levels, levels + 1, size=shape).astype(float)
    found = connectedness(torch.from_numpy(maps), k, connectivity)
    for i, one in enumerate(maps):
        marks = plain_marks(np.abs(one).sum(axis=0), k)
        sizes = flood(marks, connectivity)
        expected = (len(sizes), max(sizes) / sum(sizes), sum(sizes) / len(sizes)) if sizes else (0, 0, 0)
        assert tuple(value[i].item() for value in found.values()) == pytest.approx(expected, abs=1e-12)
        theirs: Any = measure
        assert theirs.label(marks, return_num=True, connectivity=connectivity // 4)[1] == len(sizes)


def test_diagonal_neighbours() -> None:
    maps = torch.eye(10)[None]
    assert connectedness(maps, k=0.1)["components"].item() == 1
    assert connectedness(maps, k=0.1, connectivity=4)["components"].item() == 10


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("turned", range(4))
def test_a_long_winding_line_is_one(turned: int, connectivity: Neighbours) -> None:
    marks = np.ones((41, 41))
    marks[1::4, :-1] = 0
    marks[3::4, 1:] = 0
    maps = torch.from_numpy(np.rot90(marks, turned).copy())[None]
    size = int(marks.sum())
    values = [value.item() for value in connectedness(maps, size / marks.size, connectivity).values()]
    assert values == [1, 1, size]


def test_one_patch_is_more_connected_than_scattered_pixels() -> None:
    patch, scattered = torch.zeros(2, 1, 20, 20)
    patch[:, :5, :8] = 1
    scattered[:, ::4, ::3] = 1
    found = connectedness(torch.cat([patch, scattered])[:, None])
    assert found["components"].tolist() == [1, 35]
    torch.testing.assert_close(found["largest_component"], torch.tensor([1, 1 / 35]))
    assert found["mean_component_size"].tolist() == [40, 1]


def test_a_zero_map_has_no_components() -> None:
    for value in connectedness(torch.zeros(2, 3, 5, 5)).values():
        assert value.tolist() == [0, 0]


def test_zeros_are_not_marked() -> None:
    maps = torch.zeros(1, 10, 10)
    maps[0, 5, 5] = -1
    assert [value.item() for value in connectedness(maps, k=0.4).values()] == [1, 1, 1]


def test_bad_arguments_are_named() -> None:
    maps = torch.ones(1, 4, 4)
    with pytest.raises(ArgumentError, match="connectivity=6"):
        connectedness(maps, connectivity=6)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="is not a share"):
        connectedness(maps, k=0)
    with pytest.raises(ArgumentError, match="maps holds NaN"):
        connectedness(maps * math.nan)
