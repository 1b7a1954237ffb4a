"""`gradsculpt list`."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from gradsculpt.cli.catalogue import sections
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.process import result_console
from gradsculpt.progress import Reporter

_OWN = (
    "Parts take settings, smoothgrad:samples=64,sigma=0.1, and other parts, smoothed:base=gradcam(layer=features). "
    "Wherever the name of a part is taken, a class of your own is taken as module.Class, settings and all."
)


def run(words: Sequence[str], reporter: Reporter) -> None:
    """List data, models, recipes, the parts of objectives, attributions, attacks, metrics and groups of scores."""
    listed = "List data, models, recipes, the parts of objectives, attributions, attacks and metrics."
    command_parser("list", listed).read(words)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for title, rows in sections().items():
        table.add_row(f"[bold]{title}[/bold]", "")
        for name, description in rows:
            table.add_row(f"  {name}", escape(description))
        table.add_row("", "")
    result_console().print(table)
    result_console().print(_OWN, highlight=False, markup=False)
