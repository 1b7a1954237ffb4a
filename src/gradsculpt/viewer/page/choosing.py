"""The choice of a picture, for a tab that needs one: of a network's own data, or uploaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from gradsculpt.models.imagenet import in_words
from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.page.parts import QUIET, Figure, Update, figures, guarded, status, whole_page
from gradsculpt.viewer.pictures import Picture, checked, photographs, thumbnails
from gradsculpt.viewer.told import sentence
from gradsculpt.viewer.work import Done, Step, Ticket

_THUMBNAIL, _PREVIEW = 112, 224
START = "Choose a picture, or upload one."

Look = Callable[[Visitor, list[str]], Iterator[Update]]


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

    def connect(self, line: gr.HTML, look: Look, networks: gr.CheckboxGroup, shown: list[Any]) -> None:
        """Let the controls do what they are for.

        Args:
            line: Tells how it goes.
            look: What to do with a new picture, of a visitor and of the networks chosen.
            networks: Where they are chosen.
            shown: The components that `look` changes.
        """
        self._line, self._look = line, look
        asked, offered = [self._visitor, self.source], [line, self.gallery, self._visitor]
        whole_page().load(guarded(line, self._pictures, aside=True, opening=True), asked, offered, **QUIET)
        self.source.change(guarded(line, self._pictures, aside=True), asked, offered, **QUIET)
        uploaded, picked = guarded(line, self._uploaded), guarded(line, self._picked)
        self.upload.upload(uploaded, [self._visitor, self.upload, networks], shown, **QUIET)
        self.gallery.select(picked, [self._visitor, networks], shown, **QUIET)

    def _pictures(self, visitor: Visitor, key: str) -> Iterator[Update]:
        """Show the pictures of a network."""

        def work(ticket: Ticket) -> Iterator[Step | Done[tuple[Picture, ...]]]:
            images = yield from self._context.subjects[key].showing(ticket)
            yield Done(images)

        for told in self._context.run(visitor.begin("pictures"), work):
            if not told.ended:
                yield {self._line: status(told), self._visitor: visitor}
                continue
            read = thumbnails(told.value or photographs(), _THUMBNAIL)
            visitor.kept["offered"] = tuple(each for each, _ in read)
            shown = [(small, caption(each)) for each, small in read]
            yield {self._line: status(told if told.failed else START), self.gallery: shown, self._visitor: visitor}

    def _uploaded(self, visitor: Visitor, path: str, keys: list[str]) -> Iterator[Update]:
        try:
            visitor.kept["picture"] = checked(Path(path))
        except Exception as error:
            yield {self._line: status(Told(sentence(error), ended=True, failed=True)), self._visitor: visitor}
            return
        yield from self._look(visitor, keys)

    def _picked(self, visitor: Visitor, keys: list[str], event: gr.SelectData) -> Iterator[Update]:
        offered: tuple[Picture, ...] = visitor.kept.get("offered", ())
        index = event.index if isinstance(event.index, int) else -1
        if 0 <= index < len(offered):
            visitor.kept["picture"] = offered[index]
            yield from self._look(visitor, keys)


def preview(picture: Picture) -> str:
    """Return a picture as it is shown beside what is made of it."""
    title = caption(picture)
    return figures([Figure(picture.at(_PREVIEW), f"The picture: {title}", title)], "Picture")


@lru_cache(maxsize=512)
def caption(picture: Picture) -> str:
    """Return the title of a picture: the name of its class, where it is known."""
    return in_words(picture.label) if picture.label else picture.title
