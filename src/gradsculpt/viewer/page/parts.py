"""What all tabs draw with: the line that tells how work goes, figures with captions, tables; all of it escaped."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

import gradio as gr
from jinja2 import Environment, PackageLoader, select_autoescape

from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.told import sentence
from gradsculpt.visualize import png
from gradsculpt.visualize.render import Picture

_SMALL = 200  # pictures with a shorter side are enlarged in sharp pixels

QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
"""How all events of a tab are connected: their progress is told in words, and nothing but the page calls them."""

Update = dict[Any, Any]
"""What components show next."""


@dataclass(frozen=True)
class Figure:
    """A picture, uint8 [H, W, 3], with its alternative text, a title, and lines under it."""

    picture: Picture
    alt: str
    title: str = ""
    lines: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The picture within its address, so that no file is needed."""
        return f"data:image/png;base64,{base64.b64encode(png(self.picture)).decode()}"

    @property
    def small(self) -> bool:
        """Whether its pixels are to be seen one by one."""
        return bool(min(self.picture.shape[:2]) < _SMALL)


def status(told: Told[Any] | str = "") -> str:
    """Return the line that tells how work goes, for a `gr.HTML`; it is read aloud when it changes."""
    line: Told[Any] = Told(told) if isinstance(told, str) else told
    return _macro("status", line.text, None if line.ended else line.share, line.failed)


def figures(cells: Sequence[Figure], label: str) -> str:
    """Return figures side by side, as many as there is room for."""
    return _macro("figures", cells, label) if cells else ""


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, whose first column names its rows."""
    return _macro("table", caption, columns, rows)


def beside(first: str, others: Sequence[str]) -> str:
    """Return what the functions above have returned side by side, as far as there is room."""
    return _macro("seen", first, others)


def guarded(
    line: gr.HTML,
    function: Callable[..., Iterator[Update] | Update],
    *,
    aside: bool = False,
    opening: bool = False,
) -> Callable[..., Iterator[Update]]:
    """Return what a control calls, so that whatever it raises is a sentence in the line that tells how work goes.

    What is done `aside`, as it goes on while the visitor does something else, has the line only until another control
    has said something there; so has what the page does at its `opening`, but not if one has said something before.
    """

    @wraps(function)
    def guard(*given: Any) -> Iterator[Update]:
        turn, last = object(), given[0].last_word if given and isinstance(given[0], Visitor) else dict[gr.HTML, Any]()
        if aside and not (opening and line in last):
            last[line] = turn
        for update in _sentences(line, function, given):
            if aside and last[line] is not turn:
                update.pop(line, None)
            elif line in update:
                last[line] = turn
            yield update

    return guard


def _sentences(line: gr.HTML, function: Callable[..., Iterator[Update] | Update], given: Any) -> Iterator[Update]:
    try:
        made = function(*given)
        if isinstance(made, dict):
            yield made
        else:
            yield from made
    except Exception as error:
        yield {line: status(Told(sentence(error), ended=True, failed=True))}


def visitor(context: Context) -> gr.State:
    """Return the state of a tab: a `Visitor`, of each visitor his own, forgotten some time after it was used last."""
    return gr.State(
        Visitor(), time_to_live=context.limits.state_seconds, delete_callback=lambda visitor: visitor.close()
    )


def refreshed(context: Context, *components: gr.Dropdown | gr.CheckboxGroup) -> None:
    """Let components whose choices are the networks on offer have those that there are whenever their tab is opened."""

    def choices() -> list[dict[str, Any]] | dict[str, Any]:
        several = len(context.subjects) > 1  # a choice that was hidden, as there was but one, is shown
        updates = [gr.update(choices=context.subjects.choices, visible=several or each.visible) for each in components]
        return updates if len(updates) > 1 else updates[0]

    around: Any = gr.context.Context.block
    while around is not None and not isinstance(around, gr.Tab):
        around = around.parent
    for event in (whole_page().load, *([around.select] if around is not None else [])):
        event(choices, None, list(components), queue=False, show_progress="hidden")


def whole_page() -> Any:
    """Return the page that is being laid out, for what is done when it is loaded."""
    return gr.context.Context.root_block


@cache
def _templates() -> Any:
    environment = Environment(
        loader=PackageLoader("gradsculpt.viewer.page", ""), autoescape=select_autoescape(), trim_blocks=True
    )
    return environment.get_template("parts.html").module


def _macro(name: str, *values: Any) -> str:
    return str(getattr(_templates(), name)(*values))
