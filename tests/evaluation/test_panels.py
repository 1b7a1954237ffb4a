"""The plot of a scorecard: every value stands where it is on its axis, whatever range and unit it has."""

from pathlib import Path
from typing import Any

import pytest

from gradsculpt.errors import RunError
from gradsculpt.evaluation import Curve, Entry, Scorecard
from gradsculpt.evaluation.scorecard import plot
from gradsculpt.metrics import METRICS, Score

INFINITE = float("inf")
RANGES: dict[str, tuple[Score, float]] = {
    "ssim": (Score("ssim", -1.0, 1.0, "higher"), 0.357),
    "accuracy": (Score("accuracy", 0.0, 1.0, "higher", "fraction"), 0.85),
    "certain": (Score("certain", 0.0, 1.0, "higher", "fraction"), 1.0),
    "nothing": (Score("nothing", 0.0, 1.0, "lower"), 0.0),
    "correlation": (Score("correlation", -1.0, 1.0, "higher"), -0.3),
    "brier": (Score("brier", 0.0, 2.0, "lower"), 1.4),
    "components": (Score("components", 0.0, INFINITE, "lower"), 127.969),
    "size": (Score("size", 0.0, INFINITE, "higher", "pixels"), 6.9),
    "width": (Score("width", 0.0, INFINITE, None, "pixels"), 3.1),
    "drop": (Score("drop", -INFINITE, INFINITE, "higher"), -12.0),
    "tiny": (Score("tiny", 0.0, INFINITE, "lower", "nats"), 1e-7),
    "gone": (Score("gone", 0.0, INFINITE, "lower", "steps"), 0.0),
}


def card(name: str = "mine", shift: float = 0.0, **more: Any) -> Scorecard:
    entries = {}
    for key, (score, value) in RANGES.items():
        mean = value + shift * abs(value)
        ends = (mean - 0.01 * abs(mean), min(score.high, mean + 0.01 * abs(mean)))
        entries[key] = Entry("group", score, mean, *ends, 8)
    return Scorecard(name, {}, entries, **more)


def drawn(figure: Any) -> dict[str, tuple[list[float], Any]]:
    """Return the positions of the markers along each axis, and the axis, by the words beside each line."""
    found: dict[str, tuple[list[float], Any]] = {}
    for axis in figure.axes:
        for place, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True):
            marks = [line for line in axis.lines if len(line.get_xdata()) == 1]
            at = [float(line.get_xdata()[0]) for line in marks if abs(float(line.get_ydata()[0]) - place) < 0.5]
            if label.get_text():
                found[label.get_text().rstrip(" ↑↓")] = at, axis
    return found


@pytest.mark.parametrize("name", RANGES)
def test_a_score_stands_at_its_value(name: str) -> None:
    one, other = card(), card("other", shift=-0.05)
    for cards in ([one], [one, other]):
        (at, axis) = drawn(plot(cards))[name]
        assert at == pytest.approx([each[name].mean for each in cards])
        low, high = axis.get_xlim()
        assert all(low <= value <= high for each in cards for value in (each[name].low, each[name].mean))
        assert high > low


def test_scores_from_0_to_1_share_an_axis_and_others_have_their_units() -> None:
    places = drawn(card().plot())
    axes = {name: axis for name, (_, axis) in places.items()}
    first = axes["ssim"]
    assert {name for name, axis in axes.items() if axis is first} == {
        "ssim", "accuracy", "certain", "nothing", "correlation",
    }  # fmt: skip
    assert first.get_xlim() == (pytest.approx(-0.303), 1.0)  # from the lowest end that is below 0
    assert axes["size"] is axes["width"]
    labels = {name: axes[name].get_xlabel() for name in ("size", "tiny", "components", "brier")}
    assert labels == {"size": "pixels", "tiny": "nats", "components": "components", "brier": "brier"}
    assert len({id(axis) for axis in axes.values()}) == 7
    assert axes["components"].get_xlim()[0] == 0
    only = Scorecard("x", {}, {"ssim": card()["ssim"]}).plot()
    assert only.axes[0].get_xlim() == (0, 1)
    assert "share of the range" not in "".join(axis.get_xlabel() for axis in only.axes)


def test_every_metric_has_a_place() -> None:
    entries = {each.name: Entry("g", each, 0.5, 0.4, 0.6, 8) for metric in METRICS for each in metric.scores}
    assert drawn(Scorecard("x", {}, entries).plot()).keys() == {name.replace("_", " ") for name in entries}


def test_a_single_card_writes_its_numbers_and_several_have_a_legend() -> None:
    figure = card("_cost $5$").plot()
    numbers = [text.get_text() for axis in figure.axes for child in axis.child_axes for text in child.get_yticklabels()]
    assert "0.357 [0.353, 0.361]" in numbers
    figure = plot([card("_cost $5$"), card("other")])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_cost $5$", "other"]
    assert not any(axis.child_axes for axis in figure.axes)


def test_curves_have_titles_that_fit() -> None:
    curve = Curve("long " * 20, "x", "y", (1, 2), (0.1, 0.2), (0.0, 0.1), (0.2, 0.3))
    figure = card(curves={"c": curve}).plot()
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert max(map(len, titles[0].splitlines())) <= 44
    assert Scorecard("x", {}, {}, {"c": curve}).plot()._repr_png_()
    assert figure._repr_png_()


def test_paths_are_texts_or_paths_and_folders_hold_a_card(tmp_path: Path) -> None:
    one = card()
    for path in (str(tmp_path / "new" / "scorecard.json"), tmp_path / "scorecard.json"):
        one.save(path)
        assert Scorecard.load(path) == one
    assert Scorecard.load(str(tmp_path)) == Scorecard.load(tmp_path / "new") == one
    for missing in (str(tmp_path / "no.json"), str(tmp_path.parent / "nowhere")):
        with pytest.raises(RunError, match="gradsculpt evaluate"):
            Scorecard.load(missing)
    for taken in (str(tmp_path / "scorecard.json" / "below.json"), str(tmp_path)):
        with pytest.raises(RunError, match="cannot be written") as error:
            one.save(taken)
        assert "\n" not in str(error.value)
