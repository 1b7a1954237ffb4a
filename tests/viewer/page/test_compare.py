"""The tab that compares, called as a browser calls it; and how scores are written down."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.evaluation.results import Curve
from gradsculpt.metrics import gini, ssim
from gradsculpt.viewer.context import Context, Visitor
from gradsculpt.viewer.page.compare import _Tab
from gradsculpt.viewer.work import Desk
from tests.viewer.page.shown import merged

CURVE = Curve("Robustness to noise", "noise", "cosine", (4, 8), (0.9, 0.8), (0.8, 0.7), (1.0, 0.9), "Higher is better.")
SETTINGS = {"images": 40, "data": "folder:/srv/secret/photos", "split": "test", "notes": ["A note on <b>this</b>."]}


@pytest.fixture
def tab(context: Context) -> _Tab:
    made = _Tab(replace(context, desk=Desk(seconds=600)))  # so long as other tests keep the machine busy
    with gr.Blocks():
        made.lay_out()
    return made


def write(folder: Path, mean: float, name: str = "gini") -> None:
    sparse = Entry("sparsity", gini.scores[0], mean, mean - 0.01, mean + 0.01, 40, random_map=0.2)
    entries = {name: sparse, "ssim": Entry("robustness-random", ssim.scores[0], 0.5, 0.4, 0.6, 40)}
    Scorecard(folder.name, SETTINGS, entries, {"noise_cosine": CURVE}).save(folder / "scorecard.json")


@pytest.fixture
def scored(runs: Path) -> Iterable[Path]:
    for name, mean in (("one", 0.4), ("two", 0.6)):
        write(runs / name, mean)
    yield runs
    for name in ("one", "two"):
        (runs / name / "scorecard.json").unlink()


def test_scores_have_their_direction_interval_and_meaning(tab: _Tab, scored: Path) -> None:
    html = merged(tab._compare(Visitor(), ["0", "1"]))[tab.results]
    assert html.count('<table role="table"') == 2  # a group each
    assert "0.600</strong> <small>[0.590, 0.610]" in html
    assert "▲ better" in html
    assert html.count("higher is better") >= 2
    assert "has a Gini index of 0.600" in html
    assert "random map 0.200" in html
    assert re.search(r'alt="Plot: Robustness to noise, for one, two"', html)
    assert "cannot be told" in html  # nothing says that the images were the same ones
    assert "A note on &lt;b&gt;this&lt;/b&gt;." in html
    assert "/srv" not in html


def test_what_there_is_is_told(tab: _Tab, scored: Path) -> None:
    assert tab._there().count("40 images scored") == 2
    (scored / "two" / "scorecard.json").write_text("{")
    told = tab._there()
    assert "is no scorecard" in told
    assert str(scored) not in told


def test_names_of_strangers_are_escaped(tab: _Tab, scored: Path) -> None:
    write(scored / "one", 0.4, "<script>alert(1)</script>")
    html = merged(tab._compare(Visitor(), ["0"]))[tab.results]
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("keys", "said"), [([], "no network is chosen"), (["9"], "reload the page"), (["0"], "not scored yet")]
)
def test_what_cannot_be_compared_is_a_sentence(tab: _Tab, keys: list[str], said: str) -> None:
    shown = merged(tab._compare(Visitor(), keys))
    assert said in shown[tab.status].lower()
    assert "gs-failed" in shown[tab.status]
    assert tab.results not in shown


def test_cancel_stops_the_scoring(tab: _Tab) -> None:
    visitor = Visitor()
    work = tab._score(visitor, ["0"], 8)
    next(work)
    tab._cancel(visitor)
    last = list(work)[-1]
    assert "Cancelled." in last[tab.status]
    assert tab.results not in last
