"""The tab that trains: what is asked is bounded, what comes is shown, and the runs are on offer in every tab."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradsculpt.viewer.context import Context, Visitor
from gradsculpt.viewer.sculpting import CELLS, Course, Moment, Sculpt, Sculpted
from gradsculpt.viewer.work import Done, Step, Ticket

gr = pytest.importorskip("gradio")
train = pytest.importorskip("gradsculpt.viewer.page.train")

PIXELS = np.zeros((16, 16, 3), np.uint8)
ROWS = ({"epoch": "1", "train_loss": "0.7", "val_accuracy": "0.5", "val_gini": "0.4"},)


def _sculpted(run: Path | None, label: str = "<b>cat</b>") -> Sculpted:
    moments = (Moment(0, PIXELS, 0.5, "Spread out."), Moment(1, PIXELS, 0.0001, "Concentrated."))
    course = Course("standard", 4, moments, ROWS, run)
    return Sculpted(PIXELS, label, (course, Course("sculpted: l1", 4)), ("1 image could not be read, and left out.",))


def _tab(context: Context) -> Any:
    with gr.Blocks():
        tab = train._Tab(context)
        tab.lay_out()
    return tab


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch, runs: Path) -> list[Sculpt]:
    """Return what is asked for; nothing is trained."""
    asked: list[Sculpt] = []

    def made(self: Sculpt, ticket: Ticket) -> Iterator[Step | Done[Sculpted]]:
        asked.append(self)
        yield Step("training standard", 0.25, replace(_sculpted(None), notes=()))
        yield Done(_sculpted(runs / "one"))

    monkeypatch.setattr(Sculpt, "__call__", made)
    return asked


def _updates(tab: Any, *asked: Any) -> list[dict[Any, Any]]:
    return list(tab._train(Visitor(), *asked))


def test_what_is_asked_for_is_done_where_the_page_keeps_its_trainings(context: Context, stubbed: list[Sculpt]) -> None:
    _updates(_tab(context), "l1", train._CELLS, None, 3, 400)
    (work,) = stubbed
    assert (work.recipe, work.data, work.epochs, work.images) == ("l1", CELLS, 3, 400)
    assert (work.place, work.device) == (context.folder / "runs", "cpu")
    kept = replace(context, runs=context.folder.parent / "kept")
    _updates(_tab(kept), "l1", train._OWN, "x.zip", 3, 400)
    assert (stubbed[1].place, stubbed[1].data) == (context.folder.parent / "kept", Path("x.zip"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("l1", "own", None, 3, 400), "No pictures are uploaded; upload a zip of class folders, or choose the cells."),
        (("fine-tune", "cells", None, 3, 400), "The recipe fine-tune does not fit here; choose another."),
        (("l1", "cells", None, 99, 400), "99 epochs are not between 1 and 12; choose fewer or more."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(context: Context, asked: tuple[Any, ...], said: str) -> None:
    tab = _tab(context)
    data = {"own": train._OWN, "cells": train._CELLS}[asked[1]]
    (update,) = _updates(tab, asked[0], data, *asked[2:])
    assert said in update[tab.status]
    assert "gs-failed" in update[tab.status]


def test_what_there_is_so_far_is_shown_and_then_all_with_names_escaped(context: Context, stubbed: list[Sculpt]) -> None:
    tab = _tab(context)
    updates = _updates(tab, "l1", train._CELLS, None, 3, 400)
    shown = [update[tab.results] for update in updates if tab.results in update]
    assert len(shown) == 2
    for html in shown:
        assert "<b>cat" not in html
        assert "&lt;b&gt;cat" in html
        assert html.count("<img") == html.count('alt="') == 2 + 2 + 3  # picture and latest map, two epochs, plots
        assert "Under 0.1% sure of" in html
        assert "1 epoch, right on 50% of 4 images that it was not trained on." in html
    assert "could not be read" in shown[1]
    assert "sculpted: l1, after" not in shown[1]  # of which there is no map


def test_the_runs_are_on_offer_and_can_be_downloaded(context: Context, stubbed: list[Sculpt]) -> None:
    tab, before = _tab(context), len(context.subjects)
    last = _updates(tab, "l1", train._CELLS, None, 3, 400)[-1]
    assert len(context.subjects) == before + 1
    title = context.subjects.choices[-1][0]
    assert f"Done. The other tabs now offer {title}." in last[tab.status]
    assert "are lost when the page is closed" in last[tab.status]
    assert Path(last[tab.files]).is_file()
    assert context.folder in Path(last[tab.files]).parents
    kept = _tab(replace(context, runs=context.folder.parent / "kept"))
    assert "They are kept." in _updates(kept, "l1", train._CELLS, None, 3, 400)[-1][kept.status]
