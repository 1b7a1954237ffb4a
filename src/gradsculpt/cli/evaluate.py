"""`gradsculpt evaluate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gradsculpt.cli.console import progress_console, result_console
from gradsculpt.cli.parser import Parser, command_parser
from gradsculpt.cli.process import DEVICES, prepare
from gradsculpt.cli.runs import Run, open_run
from gradsculpt.data import Splits, loader
from gradsculpt.evaluation import Protocol, Scorecard, evaluate
from gradsculpt.evaluation.scorecard import FILE


def run(words: Sequence[str]) -> None:
    """Score a run and leave scorecard.json in it."""
    prepare()
    parser = command_parser("evaluate", "Score a run's accuracy, and the sparsity, robustness and truth of its maps.")
    parser.add_argument("run", type=Path, help="Run directory.")
    add_protocol(parser)
    options = parser.build(parser.read(words))
    opened = open_run(options["run"], options["device"])
    console = progress_console()
    card = score(opened, opened.data(options, console), options, console)
    result_console().print(table([card]))
    console.print(f"Written to {opened.path / FILE}", highlight=False)


def add_protocol(parser: Parser) -> None:
    """Add the options of scoring."""
    parser.add_argument("--data", type=str | None, help="Another source of images with the same classes.")
    parser.add_argument("--data_dir", type=Path | None, help="Where downloaded sets live.")
    parser.add_argument("--cache_dir", type=Path | None, help="Where decoded images are cached.")
    parser.add_argument("--split", type=str, choices=["test", "val", "train"], default="test", help="Part to score.")
    parser.add_argument("--limit", type=int | None, help="Use at most this many images.")
    parser.add_argument("--batch_size", type=int, default=64, help="Images at once.")
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", help="Where to compute.")
    parser.add_class_arguments(Protocol)


def score(opened: Run, splits: Splits, options: Mapping[str, Any], console: Console) -> Scorecard:
    """Score a run, write its scorecard and return it."""
    images = getattr(splits, options["split"])
    total = min(len(images), options["limit"] or len(images))
    protocol = Protocol(**{name: options[name] for name in Protocol.__dataclass_fields__})
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"scoring {opened.name}", total=total)
        card = evaluate(
            opened.classifier,
            loader(images, options["batch_size"], shuffle=False),
            protocol,
            name=opened.name,
            settings={
                "data": options["data"] or opened.settings.data,
                "split": options["split"],
                "skipped_files": len(splits.skipped),
            },
            limit=total,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    card.save(opened.path / FILE)
    return card


def table(cards: Sequence[Scorecard], only: Sequence[str] | None = None) -> Table:
    """Return scorecards side by side, one column a run, grouped as in the cards; `only` picks rows."""
    settings = cards[0].settings
    title = f"{settings.get('data')} {settings.get('split', '')}, {settings['images']} images; mean [95% interval]"
    grid = Table(title=title, title_justify="left")
    grid.add_column("")
    grid.add_column("")
    for card in cards:
        grid.add_column(card.name, justify="right")
    arrows = {"higher": "↑", "lower": "↓", None: ""}
    group = None
    for name in dict.fromkeys(name for card in cards for name in only or card.entries):
        first = next(card.entries[name] for card in cards if name in card.entries)
        if first.group != group and group is not None:
            grid.add_section()
        label, group = (first.group if first.group != group else ""), first.group
        values = (str(card.entries[name]) if name in card.entries else "-" for card in cards)
        grid.add_row(label, f"{name.replace('_', ' ')} {arrows[first.score.better]}", *values)
    return grid
