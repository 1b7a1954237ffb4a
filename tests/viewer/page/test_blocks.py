"""Controls take what they offer, and whatever goes wrong is a sentence; asked as a browser asks, or a program."""

import asyncio
import math
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from gradsculpt.errors import ArgumentError
from gradsculpt.viewer.page.blocks import Page

GOOD: dict[str, Any] = {"radio": "a", "one": "b", "many": ["a"], "boxes": ["a", "b"], "slider": 5}
REFUSED = "A choice is not on offer"


def blocks(taken: list[Any]) -> Page:
    choices = ["a", "b"]

    def press(*values: Any) -> str:
        taken.append(values)
        if values[-1] == 9:
            raise RuntimeError("of /srv/secret.txt")
        if values[-1] == 8:
            raise ArgumentError("<b>this</b> is in /srv/secret.txt; choose another.")
        return "fine"

    with Page() as made:
        given = [
            gr.Radio(choices, label="radio"),
            gr.Dropdown(choices, label="one"),
            gr.Dropdown(choices, multiselect=True, label="many"),
            gr.CheckboxGroup(choices, label="boxes"),
            gr.Slider(1, 10, label="slider"),
        ]
        gr.Button("Go").click(press, given, gr.HTML())
    return made


def press(page: Page, **changed: Any) -> str:
    """Return what is shown after a button was pressed with values of controls, or the text of the error."""
    values = list({**GOOD, **changed}.values())
    try:
        return str(asyncio.run(page.process_api(0, values, explicit_call=True))["data"][0])
    except gr.Error as error:
        return f"{error.message}{' and a trace' if error.print_exception else ''}"


ONE: list[Any] = ["c", "os.system", ["a"], {"a": 1}, 1, True]
SEVERAL: list[Any] = ["a", "torch.nn.Linear", {"a": 1}, ["c"], [["a"]], [None], 10**9, ["a", "../b"]]
NUMBERS: list[Any] = [0, 11, 10**9, -1, math.nan, math.inf, -math.inf, None, "5", True, [5], {}]
NOT_OFFERED = [
    *((control, value) for control in ("radio", "one") for value in ONE),
    *((control, value) for control in ("many", "boxes") for value in SEVERAL),
    *(("slider", value) for value in NUMBERS),
]


@pytest.mark.parametrize(("control", "value"), NOT_OFFERED)
def test_what_is_not_on_offer_is_not_taken(control: str, value: Any) -> None:
    taken: list[Any] = []
    assert press(blocks(taken), **{control: value}).startswith(REFUSED)
    assert taken == []


def test_what_is_on_offer_is_taken() -> None:
    taken: list[Any] = []
    page = blocks(taken)
    assert press(page) == "fine"
    assert press(page, radio=None, many=[], boxes=[], slider=1.5) == "fine"
    assert [values[-1] for values in taken] == [5, 1.5]


def test_too_few_values_are_refused() -> None:
    taken: list[Any] = []
    with pytest.raises(gr.Error, match=REFUSED):
        asyncio.run(blocks(taken).process_api(0, ["a"], explicit_call=True))
    assert taken == []


def test_errors_are_sentences_without_paths_as_text() -> None:
    page = blocks([])
    assert press(page, slider=8) == "&lt;b&gt;this&lt;/b&gt; is in secret.txt; choose another."
    told = press(page, slider=9)
    assert "number" in told
    assert "secret" not in told


def test_what_was_shown_before_is_not_kept() -> None:
    page = blocks([])
    session = SessionState(page)
    for each in range(4):
        skipped = {"__type__": "update"}  # as for an output that a function leaves as it is
        asyncio.run(page.postprocess_data(page.fns[0], skipped, session))
        asyncio.run(page.postprocess_data(page.fns[0], f"page {each}", session))
        assert session.blocks_config.blocks.keys() == page.blocks.keys()
        assert session.config_values.keys() <= page.blocks.keys()
