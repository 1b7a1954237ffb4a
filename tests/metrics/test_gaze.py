"""Gaze overlap against sets made by sorting."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import gaze_overlap


def plain_top(values: np.ndarray, k: float) -> set[tuple[int, int]]:
    places = sorted(np.ndindex(values.shape), key=lambda place: (-values[place], place))
    return {place for place in places[: max(1, math.floor(k * values.size + 0.5))] if values[place] > 0}


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 9)] * 2),
    k=st.sampled_from([0.05, 0.1, 0.3, 1.0]),
    levels=st.sampled_from([0, 1, 4, 1000]),
)
def test_equals_sorting(seed: int, shape: tuple[int, ...], k: float, levels: int) -> None:
    random = np.random.default_rng(seed)
    maps = random.integers(-levels, levels + 1, size=shape).astype(float)
    gaze = random.integers(0, levels + 1, size=(shape[0], *shape[2:])).astype(float)
    found = gaze_overlap(torch.from_numpy(maps), torch.from_numpy(gaze), k)
    for i, value in enumerate(found.tolist()):
        mine, theirs = plain_top(np.abs(maps[i]).sum(axis=0), k), plain_top(gaze[i], k)
        assert value == pytest.approx(len(mine & theirs) / len(mine) if mine else 0, abs=1e-12)


def test_equal_places_and_none_in_common() -> None:
    gaze = torch.zeros(1, 1, 10, 20)
    gaze[..., 2:4, 5:10] = 0.5
    apart = gaze.roll(8, dims=3)
    for k in (0.01, 0.05):
        assert gaze_overlap(-3 * gaze, gaze, k).item() == 1
        assert gaze_overlap(apart, gaze, k).item() == 0


def test_a_map_that_knows_nothing_scores_k() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, gaze = torch.randn(4, 3, 100, 100, generator=generator), torch.rand(4, 100, 100, generator=generator)
    for k in (0.05, 0.1):
        assert gaze_overlap(maps, gaze, k).mean().item() == pytest.approx(k, abs=0.01)


def test_zero_maps_and_images_nobody_looked_at_score_nothing() -> None:
    some, nothing = torch.ones(1, 4, 4), torch.zeros(1, 4, 4)
    assert gaze_overlap(some, nothing).item() == 0
    assert gaze_overlap(nothing, some).item() == 0
    assert gaze_overlap(nothing, nothing).item() == 0
    assert gaze_overlap(some, some).item() == 1


def test_pixels_of_value_0_are_never_looked_at() -> None:
    gaze = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]])
    assert gaze_overlap(torch.tensor([[[4.0, 3.0, 2.0, 1.0]]]), gaze, k=0.75).item() == pytest.approx(1 / 3)
    assert gaze_overlap(gaze, torch.tensor([[[4.0, 3.0, 2.0, 1.0]]]), k=0.75).item() == 1


def test_gaze_of_8_bits_is_that_of_floats() -> None:
    gaze = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(gaze_overlap(maps, gaze, 0.3), gaze_overlap(maps, gaze.float() / 255, 0.3))


def test_bad_arguments_are_named() -> None:
    maps, gaze = torch.ones(2, 3, 4, 4), torch.ones(2, 4, 4)
    for message, wrong in (
        ("gaze has shape", gaze[:1]),
        ("gaze has shape", torch.ones(2, 3, 4, 4)),
        ("gaze has shape", torch.ones(2, 4, 5)),
        ("gaze has negative", -gaze),
        ("gaze holds NaN", gaze * math.nan),
        ("gaze has dtype", gaze.long()),
    ):
        with pytest.raises(ArgumentError, match=message):
            gaze_overlap(maps, wrong)
    with pytest.raises(ArgumentError, match="maps holds NaN"):
        gaze_overlap(maps * math.nan, gaze)
    for k in (0.0, 5.0, math.nan):
        with pytest.raises(ArgumentError, match="is not a share"):
            gaze_overlap(maps, gaze, k)
