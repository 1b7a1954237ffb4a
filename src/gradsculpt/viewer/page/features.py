"""The tab of class features: what raises the output of a class the most."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.maximising import STEPS, Classes, Features, Maximise
from gradsculpt.viewer.page.parts import QUIET, Figure, Update, figures, guarded, refreshed, status, visitor, whole_page
from gradsculpt.viewer.page.results import beside, section, warned
from gradsculpt.viewer.told import sentence

_TAB, _CLASSES = "features", "classes"
_START = (
    "Choose classes; then Make pictures. Each begins as grey and is changed step by step to raise its class's logit."
)
_FIRST = 3  # classes that are chosen to begin with


def features_tab(context: Context) -> None:
    """Fill the tab."""
    _Tab(context).lay_out()


class _Tab:
    def __init__(self, context: Context) -> None:
        self.context, self.limits = context, context.limits

    def lay_out(self) -> None:
        first = next(iter(self.context.subjects)).key
        self.visitor = visitor(self.context)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self.networks = gr.CheckboxGroup(self.context.subjects.choices, value=[first], label="Networks")
                self.classes = gr.Dropdown([], multiselect=True, label="Classes")
                most = self.limits.steps
                self.steps = gr.Slider(
                    1, most, value=min(STEPS, most), step=1, label="Steps", info=f"gradsculpt features takes {STEPS}."
                )
                with gr.Row():
                    self.go = gr.Button("Make pictures", variant="primary", min_width=120)
                    self.stop = gr.Button("Cancel the pictures", min_width=120)
            with gr.Column(scale=3, min_width=300):
                self.status = gr.HTML(status(_START))
                self.results = gr.HTML()
        known = [self.visitor, self.status, self.classes]
        asked = [self.visitor, self.networks, self.classes]
        whole_page().load(guarded(self.status, self._known, aside=True, opening=True), asked, known, **QUIET)
        self.networks.change(guarded(self.status, self._known, aside=True), asked, known, **QUIET)
        outputs = [self.visitor, self.status, self.results]
        chosen = [self.visitor, self.networks, self.classes, self.steps]
        self.go.click(guarded(self.status, self._make), chosen, outputs, trigger_mode="multiple", **QUIET)
        self.stop.click(self._cancel, [self.visitor], None, queue=False, show_progress="hidden")
        refreshed(self.context, self.networks)

    def _known(self, visitor: Visitor, keys: list[str], chosen: list[str]) -> Iterator[Update]:
        """Offer the classes of the chosen networks, and keep those that are chosen and still there."""
        if not keys:
            return
        for told in self.context.run(visitor.begin(_CLASSES), Classes([self.context.subjects[key] for key in keys])):
            if told.value is None:
                yield {self.status: status(told), self.visitor: visitor}
                continue
            names = [name for _, name in told.value]
            value = [name for name in chosen or [] if name in names] or names[:_FIRST]
            offered = gr.Dropdown([(called, name) for called, name in told.value], value=value)
            yield {self.status: status(_START), self.classes: offered, self.visitor: visitor}

    def _make(self, visitor: Visitor, keys: list[str], classes: list[str], steps: float) -> Iterator[Update]:
        try:
            work = Maximise(
                self.context.subjects.chosen(keys),
                classes or [],
                steps,
                most=self.limits.maps,
                most_steps=self.limits.steps,
            )
        except Exception as error:
            yield {self.status: status(Told(sentence(error), ended=True, failed=True)), self.visitor: visitor}
            return
        for told in self.context.run(visitor.begin(_TAB), work):
            made: Features | None = told.value or told.so_far
            shown: Any = {} if made is None else {self.results: _shown(made)}
            yield {self.status: status(told), self.visitor: visitor, **shown}

    def _cancel(self, visitor: Visitor) -> None:
        visitor.cancel(_TAB)


def _shown(made: Features) -> str:
    """Return the pictures, network by network."""
    networks = []
    for network in dict.fromkeys(each.network for each in made.features):
        cells = [
            Figure(each.picture, f"What {network} takes for {each.called}", each.called, each.sentences)
            for each in made.features
            if each.network == network
        ]
        networks.append(section(network, [], figures(cells, f"Class features of {network}")))
    return warned(made.notes) + beside(networks)
