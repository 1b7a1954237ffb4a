"""Galleries and grids of pictures: what stands where, and how many bytes it takes."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from gradsculpt.attributions import heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.studies.figures import Gallery, Pictures
from gradsculpt.studies.figures.compact import LIMIT
from gradsculpt.studies.figures.sheet import MARKED, Cell, drawn, sheet
from tests.studies.figures.stand_in import StandIn, maps
from tests.studies.figures.test_figures import png, texts


def pixels(figure: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))


def places(whole: np.ndarray, part: np.ndarray) -> int:
    """Return at how many places of a picture another one stands, to the pixel."""
    height, width = part.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(whole, (2, 2, 3))[:, :, 0]
    starts = np.argwhere((windows == part[:2, :2]).all(axis=(2, 3, 4)))
    return sum(np.array_equal(whole[y : y + height, x : x + width], part) for y, x in starts)


def test_maps_of_noise_by_thirteen_networks_fit() -> None:
    results = maps([f"a network {i}" for i in range(13)], ["gradient"], 6, 224)
    content = png(Gallery("maps").draw(results))
    assert LIMIT / 3 < len(content) < 300_000
    colours = np.unique(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).reshape(-1, 3), axis=0)
    assert len(colours) > 1000  # no palette


@pytest.mark.parametrize("side", [8, 48])
def test_pictures_and_maps_stand_to_the_pixel(side: int) -> None:
    results = maps(["one", "other"], ["gradient"], 2, side)
    figure = Gallery("maps").draw(results)
    seen, arrays, large = pixels(figure), results.arrays("maps"), side * (160 // side)
    for n in range(2):
        assert places(seen, drawn(Cell(arrays["images"][n]), large)) == 1
        for i in range(2):
            assert places(seen, drawn(Cell(arrays[f"maps {i}"][0, n]), large)) == 1


def test_cells_are_pictures_and_heat_maps_in_few_colours() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    shown = drawn(Cell(picture), 16).astype(int)
    assert np.abs(shown[::2, ::2] - picture).max() <= 4
    np.testing.assert_array_equal(shown[::2, ::2], shown[1::2, 1::2])
    assert drawn(Cell(np.full((4, 4, 3), 255, np.uint8)), 4).min() == 255
    assert drawn(Cell(np.zeros((4, 4, 3), np.uint8)), 4).max() == 0
    values = np.abs(random.standard_normal((64, 64))).astype(np.float16)
    colours = drawn(Cell(values), 64)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) <= 32
    import torch

    heat = heatmap(torch.from_numpy(values.astype(np.float32))[None])[0].numpy()
    light = colours.astype(int).sum(axis=2)  # which grows along the colours
    order = np.argsort(heat.ravel(), kind="stable")
    assert (np.diff(light.ravel()[order]) >= 0).mean() > 0.999
    signed = drawn(Cell(np.array([[-1.0, 0.0], [0.5, 1.0]]), signed=True, clip=100.0), 2).astype(int)
    assert signed[0, 0, 2] > signed[0, 0, 0]  # blue against
    assert signed[1, 1, 0] > signed[1, 1, 2]  # red for
    assert signed[0, 1].min() > 235  # white at nothing
    assert drawn(Cell(np.zeros((4, 4))), 4).max() < 20


def test_classes_stand_in_words_and_mistakes_are_marked() -> None:
    figure = Gallery("maps").draw(maps(["one", "other"], ["gradient"], 2, 8))
    captions = {text.get_text(): to_hex(text.get_color()) for text in figure.texts}
    assert captions["English springer\n97%"] == "#000000"
    assert captions["tench\n50%"] == MARKED
    assert {"image", "one", "other", "English springer"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("networks", "methods", "headings", "rows"), [(1, 3, 4, 2), (3, 1, 4, 2), (2, 3, 7, 2), (9, 2, 10, 4)]
)
def test_columns_are_networks_and_methods(networks: int, methods: int, headings: int, rows: int) -> None:
    names, ways = [f"net {i}" for i in range(networks)], [f"way:k={i}" for i in range(methods)]
    results = maps(names, ways, 2, 6)
    seen = texts(Gallery("maps").draw(results))
    tops = [text for text in seen if text == "image" or "net" in text.split("\n")[0] or text.startswith("way\n")]
    assert len([top for top in tops if not top.startswith("Each")]) == headings
    assert sum(text.startswith("English springer") and "%" not in text for text in seen) == 2
    assert sum("way:k=1" in text and not text.startswith("Each") for text in seen) == (2 if rows == 4 else 0)


def test_a_map_of_zeros_is_said_to_be_one() -> None:
    results = maps(["one"], ["gradient", "relex"], 2, 6)
    results.arrays("maps")["maps 0"][0, 1] = 0
    seen = texts(Gallery("maps").draw(results))
    assert sum("zero everywhere" in text for text in seen) == 1


def test_some_are_shown_in_the_order_that_is_asked_for() -> None:
    results = maps(["one", "other", "third"], ["gradient", "relex"], 4, 6)
    figure = Gallery("maps", ("third", "one", "not run"), ("relex",), count=1).draw(results)
    seen = texts(figure)
    assert seen.index("third") < seen.index("one")
    assert not {"other", "not run"} & set(seen)
    assert places(pixels(figure), drawn(Cell(results.arrays("maps")["maps 2"][1, 0]), 156)) == 1
    with pytest.raises(ArgumentError, match=r"methods=relax has no maps.* Did you mean relex\?"):
        Gallery("maps", methods=("gradient", "relax")).draw(results)
    with pytest.raises(ArgumentError, match=r"networks=on has no maps"):
        Gallery("maps", networks=("on",)).draw(results)


def test_attacked_maps_stand_below_with_what_is_kept() -> None:
    results = maps(["one", "other"], ["gradient"], 2, 8, attacked=True)
    figure = Gallery("maps").draw(results)
    seen = texts(figure)
    assert seen.count("SSIM 0.25\ntop 40%: 25%") == 4
    assert seen.count("attacked") == 2
    assert any("targeted:eps=4" in text for text in seen)
    assert places(pixels(figure), drawn(Cell(results.arrays("maps")["attacked 1"][0, 1]), 160)) == 1


def test_truth_has_a_column_and_signs_have_a_bar() -> None:
    results = maps(["one"], ["gradient"], 2, 8, signed=True)
    results.kept["maps", None]["truth"] = np.eye(8)[None].repeat(2, 0)  # type: ignore[index]
    seen = texts(Gallery("maps").draw(results))
    assert {"truth", "against", "nothing", "for"} <= set(seen)


def test_pictures_of_rows_follow_each_other() -> None:
    strip = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    notes = {"rows": ["n01440764"], "columns": ["image", "map"], "captions": [["", "97%"]], "note": "read it so"}
    results = StandIn(
        kept={("strip", row): {"pictures 0": strip} for row in ("a", "b", "c")},
        noted={("strip", row): notes for row in ("a", "b", "c")},
    )
    seen = texts(Pictures("strip", ("c", "a")).draw(results))
    assert [text for text in seen if text.endswith("tench")] == ["c\ntench", "a\ntench"]
    assert seen.count("97%") == 2
    assert "read it so" in seen
    results.noted["strip", "c"] = notes | {"columns": ["image", "other"]}  # type: ignore[index]
    with pytest.raises(ArgumentError, match="pictures of c are image, other, and those before image, map"):
        Pictures("strip").draw(results)


def test_long_words_and_empty_places_are_borne() -> None:
    long = "a_word_of_many_letters_without_a_gap" * 3
    cell = Cell(np.zeros((4, 4)), caption=f"{long}\nsecond")
    figure = sheet([[cell, None], [None, cell]], [long, "\u202e$x_1$"], [long, "b\nc"], note=long)
    assert len(png(figure)) < LIMIT
    assert all(text.get_window_extent().x0 > -1 for text in figure.texts if text.get_text())
