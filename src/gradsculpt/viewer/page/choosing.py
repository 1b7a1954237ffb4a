"""The choice of a picture, for a tab that needs one: of a network's own data, or uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from gradsculpt.models.imagenet import in_words
from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.page.parts import Figure, figures, guarded, status
from gradsculpt.viewer.pictures import Picture, checked, photographs, thumbnails
from gradsculpt.viewer.told import sentence
from gradsculpt.viewer.work import Done, Step, Ticket

_THUMBNAIL, _PREVIEW = 112, 224
_START = "Choose a picture, or upload one."

QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
"""How all events of a tab are connected: their progress is told in words, and nothing but the page calls them."""

Update = dict[Any, Any]


def around() -> Any:
    """Return the page that is being built, whose events are those of its opening."""
    return gr.context.Context.root_block


class Chooser:
    """Controls by which a visitor chooses a picture, kept as `picture` in what belongs to the visitor.

    Args:
        context: What tabs share.
        visitor: The state of the tab.
    """

    def __init__(self, context: Context, visitor: gr.State) -> None:
        self._context, self._visitor = context, visitor
        subjects = list(context.subjects)
        self.upload = gr.File(label="Upload a picture", file_count="single", type="filepath", height=110)
        self.source = gr.Dropdown(
            context.subjects.choices, value=subjects[0].key, label="Pictures of", visible=len(subjects) > 1
        )
        self.gallery = gr.Gallery(
            label="Or choose a picture",
            columns=4,
            height=260,
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_classes="gs-gallery",
        )
        self.chosen = gr.HTML()

    def connect(self, line: gr.HTML) -> None:
        """Let the controls do what they are for; the line tells how it goes."""
        self.line = line
        shown = [self._visitor, line, self.chosen]
        pictures, uploaded, picked = (guarded(line, each) for each in (self._pictures, self._uploaded, self._picked))
        offered = [line, self.gallery, self._visitor]
        around().load(pictures, [self._visitor, self.source], offered, **QUIET)
        self.source.change(pictures, [self._visitor, self.source], offered, **QUIET)
        self.upload.upload(uploaded, [self._visitor, self.upload], shown, **QUIET)
        self.gallery.select(picked, [self._visitor], shown, **QUIET)

    def _pictures(self, visitor: Visitor, key: str) -> Iterator[Update]:
        """Show the pictures of a network."""

        def work(ticket: Ticket) -> Iterator[Step | Done[tuple[Picture, ...]]]:
            images = yield from self._context.subjects[key].showing(ticket)
            yield Done(images)

        for told in self._context.run(visitor.begin("pictures"), work):
            chosen = "picture" in visitor.kept  # meanwhile; what is said of it then stays
            if not told.ended:
                if not chosen:
                    yield {self.line: status(told), self._visitor: visitor}
                continue
            read = thumbnails(told.value or photographs(), _THUMBNAIL)
            visitor.kept["offered"] = tuple(each for each, _ in read)
            shown = [(small, _caption(each)) for each, small in read]
            line = {} if chosen else {self.line: status(told if told.failed else _START)}
            yield {**line, self.gallery: shown, self._visitor: visitor}

    def _uploaded(self, visitor: Visitor, path: str) -> Update:
        try:
            return self._chosen(visitor, checked(Path(path)))
        except Exception as error:
            return {self.line: status(Told(sentence(error), ended=True, failed=True)), self._visitor: visitor}

    def _picked(self, visitor: Visitor, event: gr.SelectData) -> Update:
        offered: tuple[Picture, ...] = visitor.kept.get("offered", ())
        index = event.index if isinstance(event.index, int) else -1
        return self._chosen(visitor, offered[index]) if 0 <= index < len(offered) else {self._visitor: visitor}

    def _chosen(self, visitor: Visitor, picture: Picture) -> Update:
        visitor.kept["picture"] = picture
        caption = _caption(picture)
        preview = figures([Figure(picture.at(_PREVIEW), f"The picture: {caption}", caption)], "Picture")
        line = " ".join([f"Chosen: {caption}.", *picture.notes])
        return {self.line: status(line), self.chosen: preview, self._visitor: visitor}


def _caption(picture: Picture) -> str:
    return in_words(picture.label) if picture.label else picture.title
