"""The plots of the page: only those that have data, one colour a run, and axes that can be read."""

import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

from gradsculpt.evaluation import Curve, Entry, Scorecard
from gradsculpt.evaluation.results import COLOURS
from gradsculpt.metrics import Score
from gradsculpt.report.plots import Plot, plots

SVG = "{http://www.w3.org/2000/svg}"


def _curve(x: Sequence[float | str], y: float = 0.5) -> Curve:
    return Curve("title", "x (units)", "y (units)", tuple(x), (y,) * len(x), (y - 0.1,) * len(x), (y + 0.1,) * len(x))


def _card(entries: Sequence[str] = (), **curves: Curve) -> Scorecard:
    made = {name: Entry("group", Score(name, 0.0, 1.0, "higher"), 0.5, 0.4, 0.6, 8) for name in entries}
    return Scorecard("card", {"images": 8}, made, curves)


def _words(plot: Plot) -> list[str | None]:
    return [element.text for element in ElementTree.fromstring(plot.svg).iter(f"{SVG}text")]


def test_there_are_no_plots_without_data() -> None:
    assert plots(["a", "b"], [_card(), _card()], [[], [{"epoch": "1", "val_accuracy": ""}]]) == []


def test_each_plot_has_labelled_axes_and_a_legend_of_its_own_runs() -> None:
    cards = [_card(insertion=_curve([0, 50, 100])), _card(), _card(insertion=_curve([0, 50, 100]))]
    (plot,) = plots(["a", "b", "c"], cards, [[]] * 3)
    words = _words(plot)
    assert {"x (units)", "y (units)", "a", "c"} <= set(words)
    assert "b" not in words
    # The second run has no curve, and its colour goes to no other.
    drawn = plot.svg.decode().lower()
    assert COLOURS[0] in drawn
    assert COLOURS[2] in drawn
    assert COLOURS[1] not in drawn


def test_many_stages_are_named_a_dozen_times_the_ends_among_them() -> None:
    stages = [f"layer{i}" for i in range(62)]
    (plot,) = plots(["a"], [_card(cascade_ssim=_curve(stages))], [[]])
    named = [word for word in _words(plot) if word and word.startswith("layer") and word != "layer"]
    assert len(named) == 12
    assert {"layer0", "layer61"} <= set(named)


def test_long_names_of_stages_keep_their_end() -> None:
    (plot,) = plots(["a"], [_card(cascade_ssim=_curve(["head", "blocks.0.attention.projection.weight"]))], [[]])
    assert "head" in _words(plot)
    assert any(word and word.startswith("…") and word.endswith("weight") for word in _words(plot))


def test_cascades_through_other_layers_are_drawn_apart() -> None:
    cards = [_card(cascade_ssim=_curve(["fc", "conv"])), _card(cascade_ssim=_curve(["head", "stem", "patch"]))]
    first, second = plots(["a", "b"], cards, [[], []])
    assert {"fc", "conv", "a"} <= set(_words(first))
    assert {"head", "stem", "patch", "b"} <= set(_words(second))
    assert "b" not in _words(first)
    assert COLOURS[1] in second.svg.decode().lower()


def test_runs_are_set_by_sparsity_and_accuracy_if_there_are_two() -> None:
    both = _card(["accuracy", "gini"])
    assert plots(["a"], [both], [[]]) == []
    (plot,) = plots(["a", "b"], [both, both], [[], []])
    assert "accuracy (%)" in _words(plot)
    assert any(word and word.startswith("Gini index") for word in _words(plot))


def test_names_are_taken_as_they_are() -> None:
    names = ["_hidden", "a $cost$ & more"]
    cards = [_card(insertion=_curve([0, 100])) for _ in names]
    (plot,) = plots(names, cards, [[], []])
    assert set(names) <= set(_words(plot))


def test_an_svg_is_the_same_each_time_it_is_drawn() -> None:
    cards = [_card(insertion=_curve([0, 100]))]
    first, again = (plots(["a"], cards, [[]])[0].svg for _ in range(2))
    assert first == again
    assert not re.search(rb"\d{4}-\d\d-\d\dT", first)


def test_any_curve_of_a_card_is_drawn_with_its_own_words() -> None:
    told = replace(_curve([1, 2]), title="Mine", caption="Low is good.")
    mine, plain = plots(["a"], [_card(own=told, insertion=_curve([0, 100]))], [[]])
    assert (mine.title, mine.caption) == ("Mine", "Low is good. Bands are 95% intervals.")
    assert (plain.title, plain.caption) == ("title", "Bands are 95% intervals.")
