"""The tab that explains, called as a browser calls it."""

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from gradsculpt.viewer.context import Context, Visitor
from gradsculpt.viewer.explaining import PREDICTED
from gradsculpt.viewer.page.explain import _ABSOLUTE, _ALONE, _OVER, _SIGNED, _Tab
from gradsculpt.viewer.page.parts import guarded
from gradsculpt.viewer.subjects import named_subjects
from tests.viewer.page.shown import click, merged

PLAIN = (_ALONE, 100, 99.0, _ABSOLUTE)


def laid_out(context: Context) -> _Tab:
    made = _Tab(context)
    with gr.Blocks():
        made.lay_out()
        made.connect()
    return made


@pytest.fixture
def tab(context: Context) -> _Tab:
    return laid_out(context)


def upload(tab: _Tab, visitor: Visitor, path: Path, keys: list[str]) -> dict[Any, Any]:
    return merged(tab.chooser._uploaded(visitor, str(path), keys))


def test_from_a_picture_to_its_maps(tab: _Tab, photo: Path) -> None:
    visitor = Visitor()
    shown = upload(tab, visitor, photo, ["0", "1"])
    assert "What one sees" in shown[tab.seen]
    assert "What two sees" in shown[tab.seen]
    choices = [value for _, value in shown[tab.target].choices]
    assert choices[0] == PREDICTED
    assert sorted(choices[1:]) == sorted(map(str, range(10)))
    shown = merged(tab._explain(visitor, ["0", "1"], ["gradient", "inputxgradient"], "4", *PLAIN))
    assert shown[tab.maps].count("<figure>") == 4
    assert "of the pixels" in shown[tab.maps]
    assert "Map of gradient for 4, network one" in shown[tab.maps]
    paths = [Path(path) for path in shown[tab.files]]
    assert {path.suffix for path in paths} == {".png", ".npy"}
    assert len(paths) == 8
    arrays = [np.load(path) for path in paths if path.suffix == ".npy"]
    for array, each in zip(arrays, visitor.kept["explained"].maps, strict=True):
        np.testing.assert_array_equal(array, each.values)


def test_ways_of_showing_change_the_maps_and_compute_none(tab: _Tab, photo: Path, monkeypatch: Any) -> None:
    visitor = Visitor()
    upload(tab, visitor, photo, ["0"])
    maps = merged(tab._explain(visitor, ["0"], ["gradient"], PREDICTED, *PLAIN))[tab.maps]
    monkeypatch.setattr("gradsculpt.viewer.explaining.attribution_for", None)
    ways = [(_OVER, 100, 99, _ABSOLUTE), (_OVER, 40, 99, _ABSOLUTE), (_ALONE, 100, 80, _ABSOLUTE)]
    ways.append((_ALONE, 100, 99, _SIGNED))
    drawn = [tab._shown(visitor, *way)[tab.maps] for way in (PLAIN, *ways)]
    assert drawn[0] == maps
    assert len(set(drawn)) == len(drawn)
    assert tab._shown(Visitor(), *PLAIN)[tab.maps] == ""


def test_pictures_of_the_data_can_be_picked(tab: _Tab) -> None:
    visitor = Visitor()
    assert merged(tab.chooser._picked(visitor, ["0"], click(0))) == {}
    shown = merged(tab.chooser._pictures(visitor, "0"))
    assert len(shown[tab.chooser.gallery]) == 24
    for picture, caption in shown[tab.chooser.gallery]:
        assert picture.dtype == np.uint8
        assert caption in map(str, range(10))
    shown = merged(tab.chooser._picked(visitor, ["0"], click(3)))
    assert "What one sees" in shown[tab.seen]
    assert merged(tab.chooser._picked(visitor, ["0"], click(99))) == {}


@pytest.mark.parametrize("said", ["looks", "presses too early", "uploads no picture"])
def test_pictures_that_are_found_late_hide_nothing_that_is_said_meanwhile(
    said: str, tab: _Tab, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    chooser, visitor = tab.chooser, Visitor()
    meanwhile: dict[str, tuple[Any, ...]] = {
        "looks": (chooser._uploaded, str(photo), ["0"]),
        "presses too early": (tab._explain, ["0"], ["gradient"], PREDICTED, *PLAIN),
        "uploads no picture": (chooser._uploaded, str(tmp_path / "bad.png"), ["0"]),
    }
    pictures = guarded(tab.status, chooser._pictures, aside=True)
    finding = pictures(visitor, "0")
    assert tab.status in next(finding)
    does, *given = meanwhile[said]
    assert tab.status in merged(guarded(tab.status, does)(visitor, *given))
    late = merged(finding)
    assert chooser.gallery in late
    assert tab.status not in late
    assert tab.status in merged(pictures(visitor, "0"))  # asked for anew, as by the list of networks
    later = guarded(tab.status, chooser._pictures, aside=True, opening=True)
    assert tab.status not in merged(later(visitor, "0"))


@pytest.mark.parametrize(
    ("keys", "methods", "target", "said"),
    [
        ([], ["gradient"], PREDICTED, "no network is chosen"),
        (["0"], [], PREDICTED, "no attribution is chosen"),
        (["0"], ["nothing"], PREDICTED, "not on offer"),
        (["9"], ["gradient"], PREDICTED, "reload the page"),
        (["0"], ["gradient"], "zebra", "no class of this network"),
        (["0", "1"], ["gradient"] * 1 + ["inputxgradient"] * 1, PREDICTED, "4 maps, and 3 are made"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    keys: list[str], methods: list[str], target: str, said: str, tab: _Tab, photo: Path
) -> None:
    visitor = Visitor()
    upload(tab, visitor, photo, ["0"])
    object.__setattr__(tab.context.limits, "maps", 3)
    shown = merged(tab._explain(visitor, keys, methods, target, *PLAIN))
    assert said.lower() in shown[tab.status].lower().replace("&#39;", "'")
    assert "gs-failed" in shown[tab.status]
    assert tab.maps not in shown


def test_a_picture_is_needed_first(tab: _Tab) -> None:
    shown = merged(tab._explain(Visitor(), ["0"], ["gradient"], PREDICTED, *PLAIN))
    assert "Choose a picture" in shown[tab.status]
    assert merged(tab._look(Visitor(), ["0"])) == {}


@pytest.mark.parametrize("name", ["<b>bad<b>.png", "..\\..\\bad.png"])
def test_what_is_no_picture_is_a_sentence_without_a_path(name: str, tab: _Tab, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"no picture")
    visitor = Visitor()
    shown = upload(tab, visitor, path, ["0"])
    assert "not a picture" in shown[tab.status]
    assert "<b>" not in shown[tab.status]
    assert str(tmp_path) not in shown[tab.status]
    assert "picture" not in visitor.kept


def test_where_the_data_are_gone_there_are_photographs(runs: Path, context: Context, tmp_path: Path) -> None:
    shutil.copytree(runs / "one", tmp_path / "lost")
    (tmp_path / "lost" / "config.yaml").write_text("data: folder:/nowhere/photos\n")
    subject = context.subjects.add_run(tmp_path / "lost")
    tab = laid_out(context)
    shown = merged(tab.chooser._pictures(Visitor(), subject.key))
    assert "photos is not there" in shown[tab.status]
    assert "/nowhere" not in shown[tab.status]
    assert isinstance(shown[tab.chooser.gallery], list)


def test_a_file_of_the_data_that_cannot_be_read_is_left_out(context: Context, tmp_path: Path, photo: Path) -> None:
    for name in ("0/a.png", "0/b.png", "1/c.png", "1/d.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, tmp_path / "photos" / name)
    (tmp_path / "photos" / "0" / "b.png").write_bytes(b"no picture")
    options = {**context.subjects._options, "data": f"folder:{tmp_path / 'photos'}"}
    run = next(iter(context.subjects)).run
    tab = laid_out(Context(named_subjects([str(run)], options), tmp_path, context.desk))
    visitor = Visitor()
    assert len(merged(tab.chooser._pictures(visitor, "0"))[tab.chooser.gallery]) == 3
    assert [each.title for each in visitor.kept["offered"]] == ["0/a.png", "1/c.png", "1/d.png"]


def test_a_picture_that_is_gone_is_a_sentence(tab: _Tab, photo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(photo, copy)
    visitor = Visitor()
    upload(tab, visitor, copy, ["0"])
    copy.unlink()
    assert "upload it again" in merged(tab._look(visitor, ["0"]))[tab.status]
    guard = guarded(tab.status, lambda *given: (each for each in [1 / 0]))
    assert "went wrong" in merged(guard())[tab.status]


def test_cancel_stops_the_work_of_its_visitor_alone(tab: _Tab, photo: Path) -> None:
    one, other = Visitor(), Visitor()
    upload(tab, one, photo, ["0"])
    upload(tab, other, photo, ["0"])
    work = tab._explain(one, ["0", "1"], ["smoothgrad"], PREDICTED, *PLAIN)
    next(work)
    tab._cancel(other)
    tab._cancel(one)
    assert "Cancelled." in list(work)[-1][tab.status]
    assert tab.maps in merged(tab._explain(other, ["0"], ["gradient"], PREDICTED, *PLAIN))
