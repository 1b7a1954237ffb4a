"""`gradsculpt list`."""

from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from gradsculpt.cli.console import result_console
from gradsculpt.cli.parser import RECIPES, command_parser


def run(words: Sequence[str]) -> None:
    """List data, models, recipes, the parts of objectives, attributions, attacks, metrics and groups of scores."""
    parser = command_parser(
        "list", "List data, models, recipes, the parts of objectives, attributions, attacks and metrics."
    )
    parser.read(words)
    from gradsculpt.attacks import Attack
    from gradsculpt.attributions import ATTRIBUTIONS
    from gradsculpt.cli.parts import names
    from gradsculpt.data import SOURCES
    from gradsculpt.evaluation.groups import GROUPS
    from gradsculpt.metrics import METRICS
    from gradsculpt.models import MODELS, PRETRAINED
    from gradsculpt.objectives import OBJECTIVES
    from gradsculpt.penalties import PENALTIES
    from gradsculpt.perturbations import PERTURBATIONS

    recipes = sorted(RECIPES.glob("*.yaml"))
    sections: dict[str, Iterable[tuple[str, str]]] = {
        "data": ((source.name, source.description) for source in SOURCES),
        "models": MODELS,
        "networks with weights": ((f"pretrained:{name}", text) for name, text in PRETRAINED),
        "recipes": ((path.stem, path.read_text().splitlines()[0].lstrip("# ")) for path in recipes),
        "objectives": ((cls.__name__, _first_line(cls.__doc__)) for cls in OBJECTIVES),
        "perturbations": ((cls.__name__, _first_line(cls.__doc__)) for cls in PERTURBATIONS),
        "penalties": ((cls.__name__, _first_line(cls.__doc__)) for cls in PENALTIES),
        "attributions": ((cls.__name__.lower(), _first_line(cls.__doc__)) for cls in ATTRIBUTIONS),
        "attacks": ((name, _first_line(cls.__doc__)) for name, cls in names(Attack).items()),
        "metrics": ((metric.name, metric.description) for metric in METRICS),
        "groups of scores": (
            (name, _first_line(group.__doc__).removeprefix("Yield ")) for name, group in GROUPS.items()
        ),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for title, rows in sections.items():
        table.add_row(f"[bold]{title}[/bold]", "")
        for name, description in rows:
            table.add_row(f"  {name}", escape(description))
        table.add_row("", "")
    result_console().print(table)


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]
