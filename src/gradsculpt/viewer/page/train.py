"""The tab that trains: a standard network and a sculpted one, and the map of one picture while they learn."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from gradsculpt.errors import ArgumentError
from gradsculpt.report.meaning import percent
from gradsculpt.viewer.archives import packed
from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.page.parts import QUIET, Figure, Update, figures, guarded, status, visitor
from gradsculpt.viewer.page.results import Drawn, drawn, section, warned
from gradsculpt.viewer.sculpting import CELLS, EPOCHS, IMAGES, USUAL, Course, Moment, Sculpt, Sculpted, recipes
from gradsculpt.viewer.told import sentence
from gradsculpt.wording import counted

_TAB = "train"
_CELLS, _OWN = "Cells: drawn here, with known true regions", "My own pictures: a zip of class folders"
_START = "Train shows how the map of one picture changes while two networks learn: a standard one, and a sculpted one."
_TOLD = "The strength of a recipe is for long trainings; elastic-net and l1 are three times as strong here."


def train_tab(context: Context) -> None:
    """Fill the tab."""
    _Tab(context).lay_out()


class _Tab:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.place = context.runs or context.folder / "runs"

    def lay_out(self) -> None:
        self.visitor = visitor(self.context)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                choices = [(f"{name}: {told}", name) for name, told in recipes()]
                self.recipe = gr.Dropdown(choices, value=USUAL, label="Recipe of the sculpted network", info=_TOLD)
                self.data = gr.Radio([_CELLS, _OWN], value=_CELLS, label="Pictures to learn from")
                self.upload = gr.File(
                    label="Upload a zip of class folders", file_count="single", type="filepath", height=110
                )
                self.epochs = gr.Slider(*EPOCHS, value=6, step=1, label="Epochs of each training")
                self.images = gr.Slider(*IMAGES, value=2000, step=100, label="Training images, of the cells")
                with gr.Row():
                    self.go = gr.Button("Train", variant="primary", min_width=120)
                    self.stop = gr.Button("Cancel the training", min_width=120)
            with gr.Column(scale=3, min_width=300):
                self.status = gr.HTML(status(_START))
                self.results = gr.HTML()
                self.files = gr.File(label="Download the two runs", interactive=False)
        outputs = [self.visitor, self.status, self.results, self.files]
        chosen = [self.visitor, self.recipe, self.data, self.upload, self.epochs, self.images]
        self.go.click(guarded(self.status, self._train), chosen, outputs, trigger_mode="multiple", **QUIET)
        self.stop.click(self._cancel, [self.visitor], None, queue=False, show_progress="hidden")

    def _train(
        self, visitor: Visitor, recipe: str, data: str, upload: str | None, epochs: float, images: float
    ) -> Iterator[Update]:
        try:
            if data == _OWN and not upload:
                raise ArgumentError("no pictures are uploaded; upload a zip of class folders, or choose the cells.")
            own = Path(upload) if data == _OWN and upload else CELLS
            asked: dict[str, Any] = {"epochs": int(epochs), "images": int(images), "device": self.context.device}
            work = Sculpt(self.place, recipe, own, **asked)
        except Exception as error:
            yield {self.status: status(Told(sentence(error), ended=True, failed=True)), self.visitor: visitor}
            return
        for told in self.context.run(visitor.begin(_TAB), work):
            made: Sculpted | None = told.value or told.so_far
            shown: Update = {} if made is None else {self.results: _shown(made)}
            if told.value is not None:
                shown |= self._finished(visitor, told.value)
            yield {self.status: status(told), self.visitor: visitor, **shown}

    def _finished(self, visitor: Visitor, made: Sculpted) -> Update:
        """Put the runs on offer in the other tabs, and let them be downloaded."""
        runs = [course.run for course in made.courses if course.run is not None]
        titles = [self.context.subjects.add_run(run).title for run in runs]
        lost = self.context.folder in self.place.parents
        where = "They are lost when the page is closed, unless you download them." if lost else "They are kept."
        told: Told[Sculpted] = Told(f"Done. The other tabs now offer {' and '.join(titles)}. {where}", ended=True)
        return {self.files: str(packed(runs, visitor.folder(self.context.folder, _TAB))), self.status: status(told)}

    def _cancel(self, visitor: Visitor) -> None:
        visitor.cancel(_TAB)


def _shown(made: Sculpted) -> str:
    """Return the picture between the latest maps of the two networks, their maps epoch by epoch, and the plots."""
    picture = Figure(made.image, f"The picture: {made.label}", f"The picture: {made.label}")
    latest = [_cell(course, course.moments[-1], made.label, course.title) for course in made.courses if course.moments]
    strips = [_strip(course, made.label) for course in made.courses if course.moments]
    names = " and ".join(course.title for course in made.courses)
    plots = [Drawn(each.svg, f"Plot: {each.title}, for {names}", each.title, (each.caption,)) for each in made.plots()]
    return "".join(
        [
            warned(made.notes),
            figures([picture, *latest], "The picture, and what the networks look at now"),
            *strips,
            section("Plots", [], drawn(plots, "Plots")) if plots else "",
        ]
    )


def _strip(course: Course, label: str) -> str:
    cells = [_cell(course, moment, label, "") for moment in course.moments]
    told = f"{course.told[:1].upper()}{course.told[1:]}."
    return str(Markup(_template().course(course.title, told, cells)))  # noqa: S704 - the template escapes


def _cell(course: Course, moment: Moment, label: str, title: str) -> Figure:
    after = f"After {counted(moment.epochs, 'epochs')}" if moment.epochs else "Before training"
    sure = percent(moment.probability)
    return Figure(
        moment.picture,
        f"Map of {label}, {course.title}: {after.lower()}",
        f"{title}, {after.lower()}" if title else after,
        (f"{sure[:1].upper()}{sure[1:]} sure of {label}.", moment.text),
    )


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("gradsculpt.viewer.page", ""), autoescape=select_autoescape(), trim_blocks=True
    )
    return environment.get_template("train.html").module
