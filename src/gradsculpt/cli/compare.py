"""`gradsculpt compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradsculpt import checks
from gradsculpt.cli.evaluate import add_protocol, read_protocol, score
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import make_folder, result_console
from gradsculpt.cli.runs import open_run
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Scorecard
from gradsculpt.progress import Reporter
from gradsculpt.report import RunView, Sample, choose, read_curve, render, sample_maps, sheet, table


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Put any number of runs on one page."""
    options = read_options(words)
    result_console().print(table(compare(options, reporter)))
    reporter.say(f"The page is {options['out']}, its maps alone {options['out'].with_suffix('.png')}")


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Return what the command takes."""
    parser = command_parser("compare", "Score runs on the same images and put them on one self-contained page.")
    parser.add_argument("runs", type=Path, nargs="+", help="Run directories; the others are set against the first.")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="The page.")
    parser.add_argument("--count", type=int, default=8, help="Images whose maps are shown.")
    add_protocol(parser, words)
    return parser.read(words)


def compare(options: dict[str, Any], reporter: Reporter, note: str = "") -> list[Scorecard]:
    """Score runs on the same images, write the page, opened by a note, and its picture of maps; return the scorecards.

    Raises:
        ArgumentError: If the runs know different classes, or take images of different sizes of different data.
    """
    runs = [open_run(path, options["device"]) for path in options["runs"]]
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
    views, shown = list[RunView](), list[Sample]()
    for opened in runs:
        splits = opened.data(options, reporter if opened is first else Reporter())
        protocol = read_protocol(options, opened)
        card = score(opened, splits, options, protocol, reporter)
        samples = choose(getattr(splits, options["split"]), options["count"])
        shown = shown or samples
        maps = sample_maps(opened.classifier, samples, protocol)
        views.append(RunView(opened.name, repr(opened.settings.objective), card, read_curve(opened.path), maps))
    options["out"].write_text(render(views, shown, note), encoding="utf-8")
    options["out"].with_suffix(".png").write_bytes(sheet(views, shown))
    return [view.card for view in views]
