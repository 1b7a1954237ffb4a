"""The tab that explains: a picture, what networks see in it, and their maps."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.explaining import (
    PREDICTED,
    Explain,
    Explained,
    Look,
    Rendering,
    files_of,
    methods,
    picture_of,
)
from gradsculpt.viewer.page.choosing import START, Chooser, preview
from gradsculpt.viewer.page.parts import (
    QUIET,
    Figure,
    Update,
    beside,
    figures,
    guarded,
    refreshed,
    status,
    table,
    visitor,
)
from gradsculpt.viewer.pictures import Picture
from gradsculpt.viewer.subjects import Subject
from gradsculpt.viewer.told import sentence

_TAB = "explain"
_ALONE, _OVER = "The map alone", "The map over the picture"
_ABSOLUTE, _SIGNED = "Absolute: how much a pixel matters", "Signed: for (red) and against (blue) the class"
_NEXT = "Choose networks, attributions and a class; then press Explain."


def explain_tab(context: Context) -> None:
    """Fill the tab."""
    tab = _Tab(context)
    tab.lay_out()
    tab.connect()


class _Tab:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.subjects = list(context.subjects)

    def lay_out(self) -> None:
        self.visitor = visitor(self.context)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.chooser = Chooser(self.context, self.visitor)
                self.networks = gr.CheckboxGroup(
                    self.context.subjects.choices, value=[self.subjects[0].key], label="Networks"
                )
                self.methods = gr.Dropdown(methods(), value=["gradient"], multiselect=True, label="Attributions")
                self.target = gr.Dropdown(
                    [("The class that each network predicts", PREDICTED)], value=PREDICTED, label="Class to explain"
                )
                with gr.Row():
                    self.go = gr.Button("Explain", variant="primary", min_width=120)
                    self.stop = gr.Button("Cancel", min_width=120)
            with gr.Column(scale=3, min_width=300):
                self.status = gr.HTML(status(START))
                self.seen = gr.HTML()
                self.maps = gr.HTML()
                with gr.Group():
                    self.way = gr.Radio([_ALONE, _OVER], value=_ALONE, label="Show")
                    self.over = gr.Slider(0, 100, value=100, step=5, label="Strength of the overlay, in percent")
                    self.clip = gr.Slider(
                        50,
                        100,
                        value=99,
                        step=0.5,
                        label="Clipping: the percentile of a map that becomes the brightest",
                    )
                    self.sign = gr.Radio([_ABSOLUTE, _SIGNED], value=_ABSOLUTE, label="Sign")
                self.files = gr.File(label="Downloads", file_count="multiple", interactive=False)

    def connect(self) -> None:
        look = [self.visitor, self.status, self.seen, self.target]
        shown, ways = [self.status, self.maps, self.files], self._rendering()
        self.chooser.connect(self.status, self._look, self.networks, look)
        self.networks.change(guarded(self.status, self._look), [self.visitor, self.networks], look, **QUIET)
        self.go.click(
            guarded(self.status, self._explain),
            [self.visitor, self.networks, self.methods, self.target, *ways],
            [self.visitor, self.seen, *shown],
            trigger_mode="multiple",
            **QUIET,
        )
        self.stop.click(self._cancel, [self.visitor], None, queue=False, show_progress="hidden")
        for way in ways:
            draw = guarded(self.status, self._draw)
            way.change(draw, [self.visitor, *ways], shown, trigger_mode="always_last", **QUIET)
        refreshed(self.context, self.chooser.source, self.networks)

    def _rendering(self) -> list[Any]:
        return [self.way, self.over, self.clip, self.sign]

    def _look(self, visitor: Visitor, keys: list[str]) -> Iterator[Update]:
        """Tell what networks see in the picture."""
        picture: Picture | None = visitor.kept.get("picture")
        if picture is None:
            return
        for told in self._run(visitor, keys, lambda subjects: Look(picture, subjects)):
            if told.value is None:
                yield {self.status: status(told), self.visitor: visitor}
                continue
            yield {
                self.status: status(" ".join([*picture.notes, _NEXT])),
                self.seen: _seen(told.value, picture),
                self.target: gr.Dropdown(self._classes(told.value, keys), value=PREDICTED),
                self.visitor: visitor,
            }

    def _explain(
        self, visitor: Visitor, keys: list[str], chosen: list[str], target: str, *rendering: Any
    ) -> Iterator[Update]:
        picture: Picture | None = visitor.kept.get("picture")
        if picture is None:
            yield {self.status: status(Told(START, ended=True, failed=True))}
            return
        most = self.context.limits.maps
        for told in self._run(visitor, keys, lambda each: Explain(picture, each, chosen, target or PREDICTED, most)):
            if told.value is None:
                yield {self.status: status(told), self.visitor: visitor}
                continue
            visitor.kept["explained"] = told.value
            shown = self._shown(visitor, *rendering)
            yield {
                self.status: status(told),
                self.seen: _seen(told.value, picture),
                self.visitor: visitor,
                **shown,
            }

    def _run(self, visitor: Visitor, keys: list[str], made: Any) -> Iterator[Told[Explained]]:
        """Run what is made of the chosen networks; what is wrong with the choice is told at once."""
        try:
            work = made(self.context.subjects.chosen(keys))
        except Exception as error:
            yield Told(sentence(error), ended=True, failed=True)
            return
        yield from self.context.run(visitor.begin(_TAB), work)

    def _cancel(self, visitor: Visitor) -> None:
        visitor.cancel(_TAB)

    def _draw(self, visitor: Visitor, *rendering: Any) -> Iterator[Update]:
        yield self._shown(visitor, *rendering)

    def _shown(self, visitor: Visitor, way: str, over: float, clip: float, sign: str) -> Update:
        """Show the maps that there are in the way that is chosen."""
        explained: Explained | None = visitor.kept.get("explained")
        if explained is None:
            return {self.maps: "", self.files: None}
        rendering = Rendering(None if way == _ALONE else over / 100, clip, sign == _SIGNED)
        cells = [
            Figure(
                picture_of(each, rendering),
                f"Map of {each.method} for {each.target.called}, network {each.network}",
                each.title,
                each.sentences,
            )
            for each in explained.maps
        ]
        folder = visitor.folder(self.context.folder, _TAB)
        return {
            self.maps: figures(cells, f"Maps of {explained.title}"),
            self.files: [str(path) for path in files_of(explained, rendering, folder)],
        }

    def _classes(self, explained: Explained, keys: list[str]) -> list[tuple[str, str]]:
        """Return the classes to choose from: the likeliest of the first network, then all others that it knows."""
        (first, *_) = self.context.subjects.chosen(keys)
        top = explained.seen[0].top
        likely = [(f"{each.called} ({each.probability:.0%})", each.name) for each in top]
        return [("The class that each network predicts", PREDICTED), *likely, *_others(first, {n for _, n in likely})]


def _others(subject: Subject, without: set[str]) -> list[tuple[str, str]]:
    from gradsculpt.models.imagenet import in_words

    named = [(in_words(name), name) for name in subject.network.classifier.classes if name not in without]
    return sorted(named)


def _seen(explained: Explained, picture: Picture) -> str:
    """Return the picture, and a table of what each network sees in it."""
    tables = [
        table(
            f"What {seen.network} sees",
            ["Class", "Probability"],
            [(e.called, f"{e.probability:.1%}") for e in seen.top],
        )
        for seen in explained.seen
    ]
    return beside(preview(picture), tables)
