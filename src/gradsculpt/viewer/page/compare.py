"""The tab that compares: scorecards as a table and plots, each score with its direction, interval and meaning."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from gradsculpt.viewer.comparing import IMAGES, Compare, Comparison, Evaluate, evaluated
from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.page.parts import QUIET, Update, guarded, refreshed, status, table, visitor, whole_page
from gradsculpt.viewer.page.results import Drawn, drawn, scores, section, warned
from gradsculpt.viewer.subjects import Subject
from gradsculpt.viewer.told import sentence
from gradsculpt.viewer.work import Work

_TAB = "compare"
_START = "Compare reads the scores that there are; Score quickly makes them for the chosen networks, all alike."
_FEWEST, _USUAL = 8, 32

Made = Callable[[list[Subject]], Work[Comparison]]


def compare_tab(context: Context) -> None:
    """Fill the tab."""
    _Tab(context).lay_out()


class _Tab:
    def __init__(self, context: Context) -> None:
        self.context, self.limits = context, context.limits

    def lay_out(self) -> None:
        self.visitor = visitor(self.context)
        first = [key for _, key in self.context.subjects.choices][: self.limits.networks]
        told = "The others are set against the first. Scores made here are kept until the page is closed."
        self.networks = gr.CheckboxGroup(self.context.subjects.choices, value=first, label="Networks", info=told)
        self.images = gr.Slider(
            _FEWEST,
            IMAGES,
            value=_USUAL,
            step=_FEWEST,
            label="Images to score quickly",
            info=f"As gradsculpt evaluate --quick, which takes {IMAGES}; large networks take minutes for few.",
        )
        with gr.Row():
            self.go = gr.Button("Compare", variant="primary", min_width=120)
            self.score = gr.Button("Score quickly", min_width=120)
            self.stop = gr.Button("Cancel the scoring", min_width=120)
        self.status = gr.HTML(status(_START))
        self.there = gr.HTML()
        self.results = gr.HTML()
        outputs = [self.visitor, self.status, self.there, self.results]
        whole_page().load(self._there, None, [self.there], **QUIET)
        self.go.click(
            guarded(self.status, self._compare),
            [self.visitor, self.networks],
            outputs,
            trigger_mode="multiple",
            **QUIET,
        )
        chosen = [self.visitor, self.networks, self.images]
        self.score.click(guarded(self.status, self._score), chosen, outputs, trigger_mode="multiple", **QUIET)
        self.stop.click(self._cancel, [self.visitor], None, queue=False, show_progress="hidden")
        self.networks.change(self._there, None, [self.there], **QUIET)
        refreshed(self.context, self.networks)

    def _there(self) -> str:
        """Tell which networks have scores."""
        subjects = list(self.context.subjects)
        told = evaluated(subjects, self.context.folder)
        return table(
            "Scores that there are", ["Network", "Scores"], [(each.title, told[each.key]) for each in subjects]
        )

    def _compare(self, visitor: Visitor, keys: list[str]) -> Iterator[Update]:
        folder, most = self.context.folder, self.limits.networks
        yield from self._run(visitor, keys, lambda subjects: Compare(subjects, folder, most))

    def _score(self, visitor: Visitor, keys: list[str], images: float) -> Iterator[Update]:
        folder, most = self.context.folder, self.limits.networks
        options = self.context.subjects.options
        asked = {name: options[name] for name in ("data", "data_dir") if options.get(name) is not None}
        limit = max(1, min(int(images), IMAGES))
        yield from self._run(visitor, keys, lambda subjects: Evaluate(subjects, folder, most, asked, limit))

    def _run(self, visitor: Visitor, keys: list[str], made: Made) -> Iterator[Update]:
        try:
            work = made(self.context.subjects.chosen(keys))
        except Exception as error:
            yield {self.status: status(Told(sentence(error), ended=True, failed=True)), self.visitor: visitor}
            return
        for told in self.context.run(visitor.begin(_TAB), work):
            shown: Any = {}
            if told.value is not None:
                shown = {self.results: _shown(told.value), self.there: self._there()}
            yield {self.status: status(told), self.visitor: visitor, **shown}

    def _cancel(self, visitor: Visitor) -> None:
        visitor.cancel(_TAB)


def _shown(made: Comparison) -> str:
    """Return what scorecards say: what has to be known first, a few sentences, the table, and the plots."""
    whose = ", ".join(made.names)
    plots = [Drawn(each.svg, f"Plot: {each.title}, for {whose}", each.title, (each.caption,)) for each in made.plots]
    parts = [
        warned(made.warnings),
        section("In short", made.summary, ""),
        scores(made),
        section("Plots", [], drawn(plots, "Plots")) if plots else "",
        section("How to read them", made.notes, "") if made.notes else "",
    ]
    return "".join(parts)
