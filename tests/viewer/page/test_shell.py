"""The page has a label for everything, stays on this machine, and is bounded."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from gradsculpt.viewer.context import Context
from gradsculpt.viewer.gate import POLICY
from gradsculpt.viewer.page import shell
from gradsculpt.viewer.page.shell import TABS, page, style


@pytest.fixture
def blocks(context: Context) -> gr.Blocks:
    return page(context)


def test_each_tab_has_its_place(blocks: gr.Blocks) -> None:
    there = {path.stem for path in (Path(shell.__file__).parent).glob("*.py")}
    titles = [block.label for block in blocks.blocks.values() if isinstance(block, gr.Tab)]
    assert titles == [title for title, name in TABS if name in there]
    assert titles[0] == "Explain"


def test_everything_that_can_be_used_has_a_label(blocks: gr.Blocks) -> None:
    inputs = (gr.Dropdown, gr.CheckboxGroup, gr.Radio, gr.Slider, gr.File, gr.Gallery, gr.Image, gr.Textbox, gr.Number)
    for block in blocks.blocks.values():
        if isinstance(block, inputs):
            assert block.label, block
        if isinstance(block, gr.Button):
            assert block.value, block


def test_nothing_is_told_to_anybody(blocks: gr.Blocks) -> None:
    assert blocks.analytics_enabled is False
    for function in blocks.fns.values():
        assert function.api_visibility != "public"
    told = style()
    assert not re.search(r"https?://", told["css"] + told["head"])
    assert not any(type(font).__name__ == "GoogleFont" for font in (*told["theme"]._font, *told["theme"]._font_mono))
    policy = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert set(policy) >= {"default-src", "script-src", "connect-src", "img-src", "font-src", "form-action"}
    assert not re.search(r"https?:|\*", " ".join(policy.values()))


def test_what_waits_is_bounded(blocks: gr.Blocks) -> None:
    assert blocks._queue.max_size is not None
    assert blocks.delete_cache is not None
    states: list[Any] = [block for block in blocks.blocks.values() if isinstance(block, gr.State)]
    assert states
    assert all(state.time_to_live < 1e5 for state in states)


def test_its_files_are_in_the_package() -> None:
    settings = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for file in files("gradsculpt.viewer.page").iterdir():
        if file.name.partition(".")[2] not in ("py", "") and "__" not in file.name:
            assert f'"viewer/page/*.{file.name.rpartition(".")[2]}"' in settings
