"""`gradsculpt compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from gradsculpt import checks
from gradsculpt.cli.console import progress_console, result_console
from gradsculpt.cli.evaluate import add_protocol, read_protocol, score, table
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import make_folder, prepare
from gradsculpt.cli.runs import Run, open_run
from gradsculpt.data import ImageSet
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Scorecard
from gradsculpt.progress import Reporter
from gradsculpt.report import RunView, Sample, read_curve, render, sample_maps, sheet


def run(words: Sequence[str]) -> None:
    """Put any number of runs on one page."""
    prepare()
    parser = command_parser("compare", "Score runs on the same images and put them on one self-contained page.")
    parser.add_argument("runs", type=Path, nargs="+", help="Run directories; the others are set against the first.")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="The page.")
    parser.add_argument("--count", type=int, default=8, help="Images whose maps are shown.")
    add_protocol(parser, words)
    options = parser.build(parser.read(words))
    console = progress_console()
    cards = compare([open_run(path, options["device"]) for path in options["runs"]], options, console)
    result_console().print(table(cards))
    console.print(f"The page is {options['out']}, its maps alone {options['out'].with_suffix('.png')}", highlight=False)


def compare(runs: Sequence[Run], options: dict[str, Any], console: Console, note: str = "") -> list[Scorecard]:
    """Score runs on the same images, write the page and return the scorecards.

    Raises:
        ArgumentError: If the runs know different classes, or take images of different sizes of different data.
    """
    checks.at_least("--count", options["count"], 1)
    first = runs[0]
    for other in runs[1:]:
        if other.classifier.classes != first.classifier.classes:
            raise ArgumentError(
                f"{other.path} and {first.path} were trained on different classes, so no image suits both. "
                "Compare runs with the same classes."
            )
    options = {**options, "data": options["data"] or first.settings.data}
    make_folder(options["out"].parent)
    views: list[RunView] = []
    shown: list[Sample] = []
    for opened in runs:
        splits = opened.data(options, Reporter(console if opened is first else None))
        card = score(opened, splits, options, console)
        samples = _samples(getattr(splits, options["split"]), options["count"])
        shown = shown or samples
        maps = sample_maps(opened.classifier, samples, read_protocol(options, opened))
        views.append(RunView(opened.name, repr(opened.settings.objective), card, read_curve(opened.path), maps))
    options["out"].write_text(render(views, shown, note), encoding="utf-8")
    options["out"].with_suffix(".png").write_bytes(sheet(views, shown))
    return [view.card for view in views]


def _samples(images: ImageSet, count: int) -> list[Sample]:
    """Return images of every class in turn, the same ones for every run.

    Each class starts one image further into itself than the class before: in a set with a rhythm, such as the
    backgrounds of the cells, the first of every class would all be alike.
    """
    rank = np.array([(images.labels[:i] == label).sum() for i, label in enumerate(images.labels)])
    turn = (rank - images.labels) % np.bincount(images.labels)[images.labels]
    chosen = np.argsort(turn * len(images.classes) + images.labels, kind="stable")[:count]
    attention = images.attention
    return [
        Sample(
            images.images[i],
            int(images.labels[i]),
            images.classes[images.labels[i]],
            None if attention is None else attention[i],
        )
        for i in chosen
    ]
