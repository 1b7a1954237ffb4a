"""`gradsculpt compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gradsculpt.cli.console import progress_console, result_console
from gradsculpt.cli.evaluate import add_protocol, score, table
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.runs import Run, open_run
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Protocol, Scorecard
from gradsculpt.report import RunView, Sample, read_curve, render, sample_maps


def run(words: Sequence[str]) -> None:
    """Put any number of runs on one page."""
    parser = command_parser("compare", "Score runs on the same images and put them on one self-contained page.")
    parser.add_argument("runs", type=Path, nargs="+", help="Run directories.")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="The page.")
    parser.add_argument("--count", type=int, default=8, help="Images whose maps are shown.")
    add_protocol(parser)
    options = parser.build(parser.read(words))
    console = progress_console()
    cards = compare([open_run(path) for path in options["runs"]], options, console)
    result_console().print(table(cards))
    console.print(f"The page is {options['out']}", highlight=False)


def compare(runs: Sequence[Run], options: dict[str, Any], console: Console, note: str = "") -> list[Scorecard]:
    """Score runs on the same images, write the page and return the scorecards.

    Raises:
        ArgumentError: If the runs know different classes, or take images of different sizes of different data.
    """
    first = runs[0]
    for other in runs[1:]:
        if other.classifier.classes != first.classifier.classes:
            raise ArgumentError(
                f"{other.path} and {first.path} were trained on different classes, so no image suits both. "
                "Compare runs with the same classes."
            )
    options = {**options, "data": options["data"] or first.settings.data}
    cards = [score(run, options, console) for run in runs]
    samples, views = _samples(first, options, console), []
    for opened, card in zip(runs, cards, strict=True):
        here = samples if opened is first else _samples(opened, options, console)
        protocol = Protocol(**{name: options[name] for name in Protocol.__dataclass_fields__})
        maps = sample_maps(opened.classifier, here, protocol)
        objective = repr(opened.settings.objective)
        views.append(RunView(opened.name, objective, card, read_curve(opened.path), maps))
    options["out"].parent.mkdir(parents=True, exist_ok=True)
    options["out"].write_text(render(views, samples, note), encoding="utf-8")
    return cards


def _samples(opened: Run, options: dict[str, Any], console: Console) -> list[Sample]:
    """Return evenly spaced images of the part that is scored; the same ones for every run."""
    splits = opened.data(options["data"], options["data_dir"], options["cache_dir"], console)
    part = getattr(splits, options["split"])
    # One image a class for as long as there are classes, so that a page does not show ten of a kind.
    order = torch.tensor([int((part.labels[:i] == label).sum()) for i, label in enumerate(part.labels)])
    chosen = torch.argsort(order, stable=True)[: options["count"]].tolist()
    attention = part.attention
    return [
        Sample(
            part.images[i],
            int(part.labels[i]),
            part.classes[part.labels[i]],
            None if attention is None else attention[i],
        )
        for i in sorted(chosen)
    ]
