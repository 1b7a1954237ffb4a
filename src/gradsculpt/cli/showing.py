"""What a page shows of networks that were scored."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gradsculpt.cli.opened import NamedNetwork, Run
from gradsculpt.cli.parser import Options
from gradsculpt.cli.scored_images import ScoredImages
from gradsculpt.cli.scoring import read_protocol
from gradsculpt.evaluation import Scorecard
from gradsculpt.files import sweep, whole
from gradsculpt.models.imagenet import in_words
from gradsculpt.report import RunView, Sample, choose, read_curve, render, sample_maps, sheet
from gradsculpt.report.samples import batch


def samples(scored: ScoredImages, count: int) -> list[Sample]:
    """Return the images that a page shows, with what their class is called where it has another name or a number."""
    chosen, told = choose(scored.images, count), scored.class_map.told()
    if not scored.labelled:
        return [replace(sample, name="") for sample in chosen]  # it is their caption
    called = {name: f"{name} = {in_words(stands[0])}" for name, stands in told.items() if len(stands) == 1}
    return [replace(sample, caption=called.get(sample.caption) or in_words(sample.caption)) for sample in chosen]


def view(network: NamedNetwork, scored: ScoredImages, card: Scorecard, options: Options) -> RunView:
    """Return what a page tells of a network, with the maps of the images that it shows."""
    shown, class_map = samples(scored, options["count"]), scored.class_map
    own = scored.labels(network.classifier, batch(shown), torch.tensor([sample.label for sample in shown]))
    named = [replace(sample, label=label) for sample, label in zip(shown, own.tolist(), strict=True)]
    maps = sample_maps(network.classifier, named, read_protocol(options, network, labelled=scored.labelled))
    if class_map.classes != network.classifier.classes:  # which are but numbers
        predicted, explained = (
            [class_map.classes[int(number)] for number in numbers] for numbers in (maps.predicted, maps.explained)
        )
        maps = replace(maps, predicted=predicted, explained=explained)
    predicted, explained = ([in_words(name) for name in names] for names in (maps.predicted, maps.explained))
    maps = replace(maps, predicted=predicted, explained=explained)
    if not scored.labelled:
        maps = replace(maps, correct=[None] * len(shown))
    curve = read_curve(network.path) if isinstance(network, Run) else []
    about = f"trained with {network.about}" if isinstance(network, Run) else network.about
    return RunView(network.name, about, card, curve, maps)


def write_page(page: Path, views: Sequence[RunView], shown: Sequence[Sample], note: str = "") -> None:
    """Write a page, opened by a note, and beside it its maps alone as a picture."""
    # What has to be known of the labels of one network is not always what has to be known of those of another.
    notes = dict.fromkeys(each for view in views for each in view.card.settings["notes"])
    first = replace(views[0].card, settings={**views[0].card.settings, "notes": list(notes)})
    views = [replace(views[0], card=first), *views[1:]]
    for each in (page, page.with_suffix(".png")):
        sweep(each)
    with whole(page) as draft:
        draft.write_text(render(views, shown, note), encoding="utf-8", errors="backslashreplace")
    with whole(page.with_suffix(".png")) as draft:
        draft.write_bytes(sheet(views, shown))
