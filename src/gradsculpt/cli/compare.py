"""`gradsculpt compare`."""

from collections.abc import Sequence
from pathlib import Path

from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import result_console
from gradsculpt.cli.runs import open_run
from gradsculpt.cli.scoring import add_protocol, compare
from gradsculpt.progress import Reporter
from gradsculpt.report import table


def run(words: Sequence[str], reporter: Reporter) -> None:
    """Put any number of runs on one page."""
    parser = command_parser("compare", "Score runs on the same images and put them on one self-contained page.")
    parser.add_argument("runs", type=Path, nargs="+", help="Run directories; the others are set against the first.")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="The page.")
    parser.add_argument("--count", type=int, default=8, help="Images whose maps are shown.")
    add_protocol(parser, words)
    options = parser.read(words)
    cards = compare([open_run(path, options["device"]) for path in options["runs"]], options, reporter)
    result_console().print(table(cards))
    reporter.say(f"The page is {options['out']}, its maps alone {options['out'].with_suffix('.png')}")
