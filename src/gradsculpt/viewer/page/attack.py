"""The tab that attacks: a picture changed so that nobody sees it, and what becomes of its maps."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from gradsculpt.viewer.attack_settings import AttackSettings, attacks, unit_of
from gradsculpt.viewer.attacking import AttackedMap, AttackedMaps, AttackMap
from gradsculpt.viewer.context import Context, Told, Visitor
from gradsculpt.viewer.explaining import methods
from gradsculpt.viewer.page.choosing import Chooser, caption, preview
from gradsculpt.viewer.page.parts import QUIET, Figure, Update, figures, guarded, refreshed, status, visitor
from gradsculpt.viewer.page.results import beside, section
from gradsculpt.viewer.pictures import Picture
from gradsculpt.viewer.told import sentence

_TAB = "attack"
_NO_PICTURE = "Choose a picture, or upload one; then Attack."
_MOST_EPS, _STEPS = 64, 30
_USUAL = "targeted"


def attack_tab(context: Context) -> None:
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
                self.chooser = Chooser(self.context, self.visitor)
                self.chosen = gr.HTML()
                self.networks = gr.CheckboxGroup(self.context.subjects.choices, value=[first], label="Networks")
                self.method = gr.Dropdown(methods(), value="gradient", label="Attribution whose map is attacked")
                kinds = attacks()
                self.attack = gr.Dropdown(list(kinds), value=_USUAL, label="Attack", info=kinds[_USUAL])
                far = "How far the picture may be moved"
                self.eps = gr.Slider(0, _MOST_EPS, value=4, step=0.5, label=far, info=unit_of(_USUAL))
                self.steps = gr.Slider(1, self.limits.steps, value=_STEPS, step=1, label="Steps")
                with gr.Row():
                    self.go = gr.Button("Attack", variant="primary", min_width=120)
                    self.stop = gr.Button("Cancel the attack", min_width=120)
            with gr.Column(scale=3, min_width=300):
                self.status = gr.HTML(status(_NO_PICTURE))
                self.results = gr.HTML()
        self.chooser.connect(self.status, self._look, self.networks, [self.visitor, self.status, self.chosen])
        chosen = [self.visitor, self.networks, self.method, self.attack, self.eps, self.steps]
        outputs = [self.visitor, self.status, self.results]
        self.attack.change(self._explained, [self.attack], [self.attack, self.eps], **QUIET)
        self.go.click(guarded(self.status, self._attack), chosen, outputs, trigger_mode="multiple", **QUIET)
        self.stop.click(self._cancel, [self.visitor], None, queue=False, show_progress="hidden")
        refreshed(self.context, self.chooser.source, self.networks)

    def _look(self, visitor: Visitor, keys: list[str]) -> Iterator[Update]:
        """Show the picture that is chosen."""
        picture: Picture = visitor.kept["picture"]
        line = " ".join([f"Chosen: {caption(picture)}.", *picture.notes])
        yield {self.status: status(line), self.chosen: preview(picture), self.visitor: visitor}

    def _attack(
        self, visitor: Visitor, keys: list[str], method: str, attack: str, eps: float, steps: float
    ) -> Iterator[Update]:
        picture: Picture | None = visitor.kept.get("picture")
        try:
            if picture is None:
                yield {self.status: status(Told(_NO_PICTURE, ended=True, failed=True)), self.visitor: visitor}
                return
            settings = AttackSettings(attack, eps, method, steps, most_steps=self.limits.steps)
            work = AttackMap(picture, self.context.subjects.chosen(keys), settings, self.limits.networks)
        except Exception as error:
            yield {self.status: status(Told(sentence(error), ended=True, failed=True)), self.visitor: visitor}
            return
        for told in self.context.run(visitor.begin(_TAB), work):
            shown: Any = {} if told.value is None else {self.results: _shown(told.value)}
            yield {self.status: status(told), self.visitor: visitor, **shown}

    def _explained(self, name: str | None) -> Update:
        """Tell what an attack does, and what its size is."""
        kinds = attacks()
        if name not in kinds:  # as nothing is, while it is being chosen
            return {self.attack: gr.skip(), self.eps: gr.skip()}
        return {self.attack: gr.update(info=kinds[name]), self.eps: gr.update(info=unit_of(name))}

    def _cancel(self, visitor: Visitor) -> None:
        visitor.cancel(_TAB)


def _shown(made: AttackedMaps) -> str:
    """Return the networks below each other, and for each the pictures and maps beside each other."""
    head = f"Attack {made.attack} on {made.method} of {made.title}: {made.size}."
    return section(head, [], beside([section(each.network, each.sentences, _pictures(each)) for each in made.maps]))


def _pictures(each: AttackedMap) -> str:
    before, after = each.maps
    name, answer = each.network, str(each.after)
    amplified = f"amplified {each.factor:.3g} times"
    cells = [
        Figure(each.image, f"The picture, in which {name} sees {each.before}", "Picture", (str(each.before),)),
        Figure(each.attacked, f"The attacked picture, in which {name} sees {answer}", "Attacked", (answer,)),
        Figure(before, f"Map of {each.target} before the attack, {name}", "Map before", (f"of {each.target}",)),
        Figure(after, f"Map of {each.target} after the attack, {name}", "Map after", (f"of {each.target}",)),
        Figure(each.change, f"What was added for {name}, {amplified}; grey is no change", "Difference", (amplified,)),
    ]
    return figures(cells, f"Pictures and maps of {name}")
