"""What tabs draw with is escaped, and says what it is to those who do not see it."""

import io
import re
from base64 import b64decode

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.page.parts import Figure, beside, figures, refreshed, status, table, visitor

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'x'"


def test_names_are_text_wherever_they_stand() -> None:
    figure = Figure(np.zeros((4, 4, 3), np.uint8), HOSTILE, HOSTILE, (HOSTILE,))
    for drawn in (
        status(HOSTILE),
        status(Told(HOSTILE, 0.5)),
        figures([figure], HOSTILE),
        table(HOSTILE, [HOSTILE], [[HOSTILE]]),
        beside(figures([figure], HOSTILE), [table(HOSTILE, [HOSTILE], [[HOSTILE]])]),
    ):
        assert "<script" not in drawn
        assert "&lt;script&gt;" in drawn
        assert "alert(1)" in drawn


@pytest.mark.parametrize("side", [8, 224])
def test_a_picture_is_within_the_page_with_its_text(side: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    drawn = figures([Figure(picture, "a map of a cat", "gradient", ("half of it",))], "maps")
    assert 'alt="a map of a cat"' in drawn
    assert ("gs-small" in drawn) == (side == 8)
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", drawn)
    assert data is not None
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(b64decode(data[1])))), picture)
    assert figures([], "none") == ""


def test_work_has_a_bar_while_its_share_is_known() -> None:
    assert 'value="0.250"' in status(Told("reading", 0.25))
    assert "<progress" not in status(Told("reading"))
    assert "<progress" not in status(Told("done", 1.0, 3, ended=True))
    assert "gs-failed" in status(Told("no", ended=True, failed=True))
    assert "gs-failed" not in status("yes")


def test_tables_name_their_rows_and_columns() -> None:
    drawn = table("What it sees", ["Class", "Probability"], [["cat", "81%"]])
    assert drawn.count('scope="col"') == 2
    assert '<th scope="row">cat</th><td>81%</td>' in drawn
    assert "<caption>What it sees</caption>" in drawn


def test_state_is_of_each_visitor_and_ends(context: Context) -> None:
    with gr.Blocks():
        state = visitor(context)
    assert isinstance(state.value, Visitor)
    assert state.time_to_live == context.limits.state_seconds
    ticket = state.value.begin("explain")
    state.delete_callback(state.value)
    assert ticket.cancelled


def test_networks_that_came_later_are_on_offer_when_the_tab_is_opened(context: Context) -> None:
    with gr.Blocks() as blocks, gr.Tabs(), gr.Tab("one"):
        one = gr.Dropdown(context.subjects.choices, label="one")
        refreshed(context, one)
        two = gr.CheckboxGroup(context.subjects.choices, label="two")
        refreshed(context, one, two)
    run = next(iter(context.subjects)).run
    assert run is not None
    context.subjects.add_run(run)
    triggers = [target[1] for function in blocks.fns.values() for target in function.targets]
    assert triggers == ["load", "select"] * 2
    first, _, both, _ = blocks.fns.values()
    assert len(first.fn()["choices"]) == 3
    assert [len(update["choices"]) for update in both.fn()] == [3, 3]
