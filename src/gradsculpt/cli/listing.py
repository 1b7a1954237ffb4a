"""`gradsculpt list`."""

from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from gradsculpt.cli.known import RECIPES
from gradsculpt.cli.parser import command_parser
from gradsculpt.cli.parts import family, names
from gradsculpt.cli.process import result_console
from gradsculpt.cli.sources import summary, value
from gradsculpt.progress import Reporter

_OWN = (
    "Parts take settings, smoothgrad:samples=64,sigma=0.1, and other parts, smoothed:base=gradcam(layer=features). "
    "Wherever the name of a part is taken, a class of your own is taken as module.Class, settings and all."
)

Rows = Iterable[tuple[str, str]]


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


def sections() -> dict[str, Rows]:
    """Return what can be named, with a line on each, under the heading of its kind."""
    sources = (made.arguments for made in value("gradsculpt.data.SOURCES"))
    recipes = sorted(RECIPES.glob("*.yaml"))
    return {
        "data": ((source["name"], source["description"]) for source in sources),
        "models": value("gradsculpt.models.MODELS"),
        "networks with weights": ((f"pretrained:{name}", told) for name, told in value("gradsculpt.models.PRETRAINED")),
        "recipes": ((path.stem, path.read_text().splitlines()[0].lstrip("# ")) for path in recipes),
        "objectives": _classes("Objective"),
        "schedules and sizes": _classes("Setting"),
        "perturbations": _classes("Perturbation"),
        "penalties": _classes("Penalty"),
        "attributions": _short("Attribution"),
        "solvers of MoreauGrad": _classes("Solver"),
        "attacks": _short("Attack"),
        "metrics": ((metric.__name__, summary(metric)) for metric in value("gradsculpt.metrics.METRICS")),
        "groups of scores": _short("ScoreGroup"),
    }


def _classes(kind: str) -> Rows:
    return ((cls.__name__, summary(cls)) for cls in names(family(kind)).values())


def _short(kind: str) -> Rows:
    return ((name, summary(cls)) for name, cls in names(family(kind)).items())
