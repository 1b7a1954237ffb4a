"""The page that shows networks side by side, with its picture of maps and the folder of its scores."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gradsculpt import checks
from gradsculpt.cli.networks import NamedNetwork, Run
from gradsculpt.cli.parser import Options, Parser
from gradsculpt.cli.scored_images import ScoredImages
from gradsculpt.cli.scoring import read_protocol
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.evaluation import Scorecard
from gradsculpt.files import whole
from gradsculpt.report import RunView, Sample, choose, read_curve, render, sample_maps, sheet
from gradsculpt.report.samples import batch

_OTHER_KINDS = {".pdf", ".jpg", ".jpeg", ".svg", ".json", ".csv", ".md", ".txt", ".docx"}


def add_page_options(parser: Parser, option: str, default: Path | None, told: str) -> None:
    """Add the options of a page: its file, and how many images it shows."""
    parser.add_argument(option, type=Path | None, default=default, help=told)
    parser.add_argument("--count", type=int, default=8, help="Images whose maps are shown.")


def check_page(page: Path, count: int) -> None:
    """Raise `ArgumentError` or `RunError` if no page can be written there, or none of so many images."""
    checks.at_least("--count", count, 1)
    kind = page.suffix.lower()
    fact = ""
    if page.is_dir():
        fact = "a folder"
    elif kind == ".png":
        fact = "the name of the picture beside it"
    elif kind in _OTHER_KINDS:
        fact = f"the name of a {kind} file"
    if fact:
        raise ArgumentError(f"{page} is {fact}, so no page can be written there; pass the name of a file, .html.")
    above = next(folder for folder in page.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        fact = "may not be written to" if above.is_dir() else "is no folder"
        raise RunError(f"the page {page} cannot be written, as {above} {fact}; pass the name of another file.")


def scores_folder(page: Path) -> Path:
    """Return where the scores that a page shows are kept, a folder a network: those of the runs themselves stay."""
    return page.with_name(f"{page.stem}-scores")


def samples(scored: ScoredImages, count: int) -> list[Sample]:
    """Return the images that a page shows."""
    return choose(scored.images, count)


def view(network: NamedNetwork, scored: ScoredImages, card: Scorecard, options: Options) -> RunView:
    """Return what a page tells of a network, with the maps of the images that it shows."""
    shown, class_map = samples(scored, options["count"]), scored.class_map
    own = scored.labels(network.classifier, batch(shown), torch.tensor([sample.label for sample in shown]))
    named = [replace(sample, label=label) for sample, label in zip(shown, own.tolist(), strict=True)]
    maps = sample_maps(network.classifier, named, read_protocol(options, network, labelled=scored.labelled))
    if class_map.classes != network.classifier.classes:  # which are but numbers
        maps = replace(maps, predicted=[class_map.classes[int(number)] for number in maps.predicted])
    if not scored.labelled:
        maps = replace(maps, correct=[None] * len(shown))
    curve = read_curve(network.path) if isinstance(network, Run) else []
    return RunView(network.name, network.about, card, curve, maps)


def write_page(page: Path, views: Sequence[RunView], shown: Sequence[Sample], note: str = "") -> None:
    """Write a page, opened by a note, and beside it its maps alone as a picture."""
    # What has to be known of the labels of one network is not always what has to be known of those of another.
    notes = dict.fromkeys(each for view in views for each in view.card.settings["notes"])
    first = replace(views[0].card, settings={**views[0].card.settings, "notes": list(notes)})
    views = [replace(views[0], card=first), *views[1:]]
    with whole(page) as draft:
        draft.write_text(render(views, shown, note), encoding="utf-8", errors="backslashreplace")
    with whole(page.with_suffix(".png")) as draft:
        draft.write_bytes(sheet(views, shown))
