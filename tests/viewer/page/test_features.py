"""The tab of class features, called as a browser calls it."""

from dataclasses import replace
from typing import Any

import gradio as gr
import pytest

from gradsculpt.viewer.context import Context, Visitor
from gradsculpt.viewer.page.features import _Tab
from gradsculpt.viewer.work import Desk
from tests.viewer.page.shown import merged


@pytest.fixture
def tab(context: Context) -> _Tab:
    made = _Tab(replace(context, desk=Desk(seconds=600)))  # so long as other tests keep the machine busy
    with gr.Blocks():
        made.lay_out()
    return made


def test_classes_are_offered_and_those_that_are_chosen_stay(tab: _Tab) -> None:
    shown = merged(tab._known(Visitor(), ["0"], []))
    assert [value for _, value in shown[tab.classes].choices] == [str(i) for i in range(10)]
    assert shown[tab.classes].value == ["0", "1", "2"]
    shown = merged(tab._known(Visitor(), ["0", "1"], ["7", "yak"]))
    assert shown[tab.classes].value == ["7"]
    assert merged(tab._known(Visitor(), [], [])) == {}


def test_pictures_of_networks_stand_beside_each_other(tab: _Tab) -> None:
    html = merged(tab._make(Visitor(), ["0", "1"], ["3", "5"], 2))[tab.results]
    assert html.count("<figure>") == 4
    assert 'alt="What two takes for 5"' in html
    assert html.count("logit") == 4


@pytest.mark.parametrize(
    ("keys", "classes", "steps", "said"),
    [
        ([], ["1"], 2, "no network"),
        (["0"], [], 2, "no class"),
        (["0"], None, 2, "no class"),
        (["0", "1"], [str(i) for i in range(10)], 2, "20 pictures, and 12"),
        (["0"], ["1"], 10**9, "from 1 to 256"),
        (["0"], ["1"], None, "from 1 to 256"),
        (["0"], ["<b>yak</b>"], 2, "&lt;b&gt;"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_a_sentence(keys: Any, classes: Any, steps: Any, said: str, tab: _Tab) -> None:
    shown = merged(tab._make(Visitor(), keys, classes, steps))
    assert said in shown[tab.status].lower()
    assert "gs-failed" in shown[tab.status]
    assert tab.results not in shown


def test_cancel_stops_the_pictures(tab: _Tab) -> None:
    visitor = Visitor()
    work = tab._make(visitor, ["0"], ["1"], 256)
    next(work)
    tab._cancel(visitor)
    assert "Cancelled." in list(work)[-1][tab.status]
