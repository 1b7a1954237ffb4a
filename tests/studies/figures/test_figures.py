"""Figures of scores and curves: what is drawn, by what names, and what is said where nothing is there."""

import io
import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import gradsculpt.studies.figures as package
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.results import look
from gradsculpt.studies.figures import (
    FIGURES,
    Bars,
    Contours,
    Curves,
    Figure,
    Gallery,
    Lines,
    Measured,
    Pictures,
    Scatter,
)
from gradsculpt.studies.figures.compact import LIMIT, Compact, smallest
from gradsculpt.studies.figures.curves import pooled
from gradsculpt.studies.figures.scatter import unbeaten
from tests.studies.figures.stand_in import StandIn, curve, maps

ROWS = ("standard", "L1 $.01_x", "итеративный", "群", "_hidden")
RANDOM = np.random.default_rng(0)


def scored(count: int = 5) -> StandIn:
    names = [*ROWS, *(f"row {i}" for i in range(len(ROWS), count))][:count]
    values = {name: {"gini": 0.3 + 0.02 * i, "spots": 9.0 - i, "share": 0.5} for i, name in enumerate(names)}
    return StandIn(values={name: values[name] for name in names})


def png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def drawable(count: int = 5) -> dict[type[Figure], tuple[Figure, StandIn]]:
    """Return of each kind of figure one with results for it, of so many rows."""
    scores, names = scored(count), list(scored(count).values)
    curves: Any = {(row, "fidelity"): [{"insertion": curve("Insertion", 0.1, 0.2, 0.3)}] for row in names}
    kept: dict[str, Any] = {"x": np.arange(5), "y": np.arange(4), "values": RANDOM.random((1, 4, 5))}
    kept |= {"points": RANDOM.random((6, 2)), "classes": np.arange(6) % 2, "arrows": RANDOM.random((1, 2, 4))}
    plane = StandIn(
        kept={("plane", None): kept},
        noted={("plane", None): {"panels": ["ReLU"]}},
        curves={(None, "plane"): [{}]},
    )
    pictures = {f"pictures {i}": RANDOM.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8) for i in range(count)}
    strip = StandIn(
        kept={("strip", None): pictures}, noted={("strip", None): {"rows": names, "columns": ["n02102040", "b"]}}
    )
    lines = StandIn(curves={(None, "duality"): [{row: curve("Error", 0.0, 0.1, 1.0) for row in names}]})
    return {
        Bars: (Bars(("scores.gini", "scores.spots", "scores.share")), scores),
        Contours: (Contours("plane"), plane),
        Curves: (Curves("fidelity"), StandIn(curves=curves)),
        Gallery: (Gallery("maps"), maps(names, ["gradient"], 2, 8)),
        Lines: (Lines("duality", log="both"), lines),
        Pictures: (Pictures("strip"), strip),
        Scatter: (Scatter("scores.gini", "scores.spots", front=True), scores),
    }


def test_every_figure_is_listed_exported_and_tried() -> None:
    assert set(drawable()) == set(FIGURES)
    assert all(getattr(package, cls.__name__) is cls and cls.__name__ in package.__all__ for cls in FIGURES)


@pytest.mark.parametrize("kind", FIGURES)
def test_figures_are_drawn_with_letters_of_any_script_in_few_bytes(kind: type[Figure]) -> None:
    figure, results = drawable()[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = png(figure.draw(results))
    assert len(content) < LIMIT
    assert Image.open(io.BytesIO(content)).mode == "RGB"


@pytest.mark.parametrize("kind", FIGURES)
def test_where_nothing_was_run_a_line_says_so(kind: type[Figure]) -> None:
    with pytest.raises(ArgumentError, match="draw"):
        drawable()[kind][0].draw(StandIn())


@pytest.mark.parametrize("kind", [Bars, Curves, Scatter])
def test_rows_that_are_not_there_are_left_out_or_named(kind: type[Figure]) -> None:
    figure, results = drawable()[kind]
    settings = {name: getattr(figure, name) for name in figure.__dataclass_fields__}
    drawn = texts(kind(**(settings | {"rows": ("standard", "not run")})).draw(results))
    assert "standard" in drawn
    assert not {*ROWS[1:], "not run"} & set(drawn)
    with pytest.raises(ArgumentError, match=r"none of the rows standrd was run.* Did you mean standard\?"):
        kind(**(settings | {"rows": ("standrd",)})).draw(results)


def test_bars_keep_places_for_what_was_not_measured() -> None:
    results = scored(3)
    results.values["standard"].pop("spots")  # type: ignore[attr-defined]
    figure = Bars(("scores.gini", "scores.spots", "scores.nothing")).draw(results)
    ginis, spots = figure.axes
    bars: Any = [list(axis.patches) for axis in (ginis, spots)]
    assert [round(bar.get_width(), 3) for bar in bars[0]] == [0.3, 0.32, 0.34]
    assert [round(bar.get_y() + bar.get_height() / 2) for bar in bars[1]] == [1, 2]
    assert [label.get_text() for label in ginis.get_yticklabels()] == list(ROWS[:3])
    assert {"0.3", "0.32", "0.34", "8", "7"} <= set(texts(figure))
    with pytest.raises(ArgumentError, match="scores names none"):
        Bars(())
    with pytest.raises(ArgumentError, match="was measured"):
        Bars(("scores.nothing",)).draw(results)


def test_the_same_score_of_two_measures_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "measured", lambda *_: Measured(0.3, 0.2, 0.4, 1))
    monkeypatch.setattr(StandIn, "heading", lambda self, score: score.partition(".")[2])
    drawn = texts(Bars(("small.time", "large.time")).draw(scored(2)))
    assert [text for text in drawn if "time" in text] == ["small: time", "large: time"]
    drawn = texts(Bars(("small.time", "small.floor")).draw(scored(2)))
    assert {"time", "floor"} <= {*drawn}


def test_the_front_are_the_rows_that_none_beats() -> None:
    for seed in range(30):
        values = {i: list(np.random.default_rng([seed, i]).integers(0, 4, 3)) for i in range(7)}
        front = unbeaten({str(i): each for i, each in values.items()}, (1, -1, 1))
        signed = {str(i): np.array(each) * (1, -1, 1) for i, each in values.items()}
        for row, own in signed.items():
            beaten = any((other >= own).all() and (other > own).any() for other in signed.values())
            assert (row in front) != beaten


def test_a_scatter_joins_the_front_and_needs_a_direction() -> None:
    results = StandIn(
        values={"a": {"gini": 0.2, "spots": 1}, "b": {"gini": 0.5, "spots": 3}, "c": {"gini": 0.3, "spots": 4}}
    )
    (axis,) = Scatter("scores.gini", "scores.spots", front=True).draw(results).axes
    joined = [np.asarray(line.get_xydata()).tolist() for line in axis.lines if line.get_linestyle() == "--"]
    assert joined == [[[0.2, 1.0], [0.5, 3.0]]]
    three = Scatter("scores.gini", "scores.spots", "scores.share").draw(scored())
    assert len(three.axes) == 3
    with pytest.raises(ArgumentError, match=r"nothing says whether more or less of scores.share is better"):
        Scatter("scores.gini", "scores.share", front=True).draw(scored())
    with pytest.raises(ArgumentError, match="no row has"):
        Scatter("scores.gini", "scores.nothing").draw(scored())


def test_curves_pool_seeds_and_have_a_line_a_row() -> None:
    seeds = [{"insertion": curve("Insertion", 0.0, 0.2, 0.6)}, {"insertion": curve("Insertion", 0.2, 0.4, 0.4)}]
    results = StandIn(curves={("standard", "m"): seeds, ("L1", "m"): seeds[:1], ("other", "m"): []})
    drawn = Curves("m").draw(results)
    lines = [np.asarray(line.get_ydata()).tolist() for line in drawn.axes[0].lines]
    assert lines == [pytest.approx([0.1, 0.3, 0.5]), pytest.approx([0.0, 0.2, 0.6])]
    cards = results.cards("standard", "m")
    both = pooled(cards, "insertion")
    assert both is not None
    assert (both.low, both.high) == ((0.0, 0.2, 0.4), (0.2, 0.4, 0.6))
    assert pooled(cards[:1], "insertion") == seeds[0]["insertion"]
    assert pooled(cards, "deletion") is None
    with pytest.raises(ArgumentError, match=r"m has no curve insertoin .* Did you mean insertion\?"):
        Curves("m", ("insertoin",)).draw(results)
    other = StandIn(curves={("a", "m"): [{"c": curve("C", 1, 2, 3)}, {"c": curve("C", 1, 2, 3, x=(0, 1, 3))}]})
    with pytest.raises(ArgumentError, match="over different settings"):
        Curves("m").draw(other)


def test_lines_of_one_title_share_a_panel_and_names() -> None:
    kept = {f"{row} ({kind})": curve(kind.capitalize(), 0, 1, 2) for row in ("a", "b") for kind in ("one", "two")}
    figure = Lines("m", log="x").draw(StandIn(curves={(None, "m"): [kept]}))
    assert [axis.get_title() for axis in figure.axes] == ["One", "Two"]
    assert [len(axis.lines) for axis in figure.axes] == [2, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert figure.axes[0].get_xscale() == "symlog"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "1", "2"]


def test_sixty_four_rows_look_different() -> None:
    assert len({look(i) for i in range(64)}) == 64


def test_nothing_is_lost_where_a_picture_is_made_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 8, (60, 70), dtype=np.uint8)
    pixels = np.stack([noise * 30, noise * 20, noise * 10, np.full_like(noise, 255)], axis=2)
    for alpha, mode in ((255, "RGB"), (7, "RGBA")):
        pixels[0, 0, 3] = alpha
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        content = smallest(stream.getvalue())
        image = Image.open(io.BytesIO(content))
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), pixels)
        assert (len(content) < len(stream.getvalue()) / 1.3) == (alpha == 255)


def test_a_figure_is_saved_as_its_name_says(tmp_path: Any) -> None:
    figure = Compact(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    for name in ("a.png", "a.svg", "a.pdf"):
        figure.savefig(tmp_path / name)
    starts = [(tmp_path / name).read_bytes()[:5] for name in ("a.png", "a.svg", "a.pdf")]
    assert starts == [b"\x89PNG\r", b"<?xml", b"%PDF-"]
    assert figure._repr_png_()[:4] == b"\x89PNG"
