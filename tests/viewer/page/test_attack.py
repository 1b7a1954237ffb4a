"""The tab that attacks, called as a browser calls it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from gradsculpt.viewer.attack_settings import attacks
from gradsculpt.viewer.context import Context, Visitor
from gradsculpt.viewer.page.attack import _Tab
from gradsculpt.viewer.work import Desk
from tests.viewer.page.shown import click, merged

USUAL = ("gradient", "targeted", 4.0, 3)


@pytest.fixture
def tab(context: Context) -> _Tab:
    made = _Tab(replace(context, desk=Desk(seconds=600)))  # so long as other tests keep the machine busy
    with gr.Blocks():
        made.lay_out()
    return made


def chosen(tab: _Tab, photo: Path) -> Visitor:
    visitor = Visitor()
    merged(tab.chooser._uploaded(visitor, str(photo), ["0"]))
    return visitor


def test_from_a_picture_to_what_becomes_of_its_maps(tab: _Tab, photo: Path) -> None:
    html = merged(tab._attack(chosen(tab, photo), ["0", "1"], *USUAL))[tab.results]
    assert html.count("<figure>") == 10
    alts = re.findall(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)"', html)
    assert len(alts) == 10
    assert len(set(alts)) == 10  # no two pictures go by one text
    for said in (
        "amplified",
        "SSIM; higher is better",
        "top-k intersection",
        "The predicted class stays",
        "of 255 levels",
    ):
        assert html.count(said) >= 2, said
    assert html.index("<h2>one</h2>") < html.index("<h2>two</h2>")


def test_a_picture_is_needed_first(tab: _Tab) -> None:
    shown = merged(tab._attack(Visitor(), ["0"], *USUAL))
    assert "Choose a picture" in shown[tab.status]
    assert tab.results not in shown


@pytest.mark.parametrize(
    ("keys", "asked", "said"),
    [
        ([], USUAL, "no network is chosen"),
        (["9"], USUAL, "reload the page"),
        (["0"], ("nothing", *USUAL[1:]), "no attribution nothing"),
        (["0"], ("gradient", "<b>", 4.0, 3), "no attack &lt;b&gt;"),
        (["0"], ("gradient", "topk", 999.0, 3), "out of range"),
        (["0"], ("gradient", "topk", None, 3), "out of range"),
        (["0"], ("gradient", "topk", 4.0, 10**9), "from 1 to 256"),
        (["0"], ("gradient", "topk", 4.0, None), "from 1 to 256"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_a_sentence(
    keys: list[str], asked: tuple[Any, ...], said: str, tab: _Tab, photo: Path
) -> None:
    shown = merged(tab._attack(chosen(tab, photo), keys, *asked))
    assert said.lower() in shown[tab.status].lower()
    assert "gs-failed" in shown[tab.status]
    assert tab.results not in shown


def test_cancel_stops_the_attack_of_its_visitor_alone(tab: _Tab, photo: Path) -> None:
    one, other = chosen(tab, photo), chosen(tab, photo)
    work = tab._attack(one, ["0"], "gradient", "targeted", 4.0, 256)
    next(work)
    tab._cancel(other)
    tab._cancel(one)
    last = list(work)[-1]
    assert "Cancelled." in last[tab.status]
    assert tab.results not in last
    assert tab.results in merged(tab._attack(other, ["0"], *USUAL))


def test_what_an_attack_does_and_what_its_size_is_are_told(tab: _Tab) -> None:
    told = {name: tab._explained(name) for name in attacks()}
    assert {each[tab.attack]["info"] for each in told.values()} == set(attacks().values())
    assert "root mean square" in told["topk"][tab.eps]["info"]
    assert "no colour value" in told["targeted"][tab.eps]["info"]
    for nothing in ("nothing", None):
        assert tab._explained(nothing) == {tab.attack: gr.skip(), tab.eps: gr.skip()}


def test_pictures_of_the_data_can_be_picked(tab: _Tab) -> None:
    visitor, chooser = Visitor(), tab.chooser
    assert "picture" not in visitor.kept
    shown = merged(chooser._pictures(visitor, "0"))
    assert len(shown[chooser.gallery]) == 24
    assert "<figure>" in merged(chooser._picked(visitor, ["0"], click(3)))[tab.chosen]
    assert visitor.kept["picture"] is visitor.kept["offered"][3]
    for wrong in (99, -1, "x", None):
        assert merged(chooser._picked(visitor, ["0"], click(wrong))) == {}


def test_what_is_no_picture_is_a_sentence_without_a_path(tab: _Tab, tmp_path: Path) -> None:
    path, visitor = tmp_path / "bad.png", Visitor()
    path.write_bytes(b"no picture")
    shown = merged(tab.chooser._uploaded(visitor, str(path), ["0"]))
    assert "gs-failed" in shown[tab.status]
    assert str(tmp_path) not in shown[tab.status]
    assert "picture" not in visitor.kept
