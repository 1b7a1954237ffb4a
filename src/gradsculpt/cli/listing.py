"""`gradsculpt list`."""

from collections.abc import Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from gradsculpt.cli.parser import RECIPES, command_parser
from gradsculpt.cli.parts import names
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
    from gradsculpt.attacks import Attack
    from gradsculpt.attributions import Attribution, Solver
    from gradsculpt.data import SOURCES
    from gradsculpt.evaluation import SCORE_GROUPS
    from gradsculpt.metrics import METRICS
    from gradsculpt.models import MODELS, PRETRAINED
    from gradsculpt.objectives import Objective, Setting
    from gradsculpt.penalties import Penalty
    from gradsculpt.perturbations import Perturbation

    recipes = sorted(RECIPES.glob("*.yaml"))
    sections: dict[str, Iterable[tuple[str, str]]] = {
        "data": ((source.name, source.description) for source in SOURCES),
        "models": MODELS,
        "networks with weights": ((f"pretrained:{name}", text) for name, text in PRETRAINED),
        "recipes": ((path.stem, path.read_text().splitlines()[0].lstrip("# ")) for path in recipes),
        "objectives": _members(Objective),
        "schedules and sizes": _members(Setting),
        "perturbations": _members(Perturbation),
        "penalties": _members(Penalty),
        "attributions": _rows(names(Attribution)),
        "solvers of MoreauGrad": _members(Solver),
        "attacks": _rows(names(Attack)),
        "metrics": ((metric.name, metric.description) for metric in METRICS),
        "groups of scores": _rows({cls.short_name(): cls for cls in SCORE_GROUPS}),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for title, rows in sections.items():
        table.add_row(f"[bold]{title}[/bold]", "")
        for name, description in rows:
            table.add_row(f"  {name}", escape(description))
        table.add_row("", "")
    result_console().print(table)
    result_console().print(_OWN, highlight=False, markup=False)


def _members(family: type) -> Iterable[tuple[str, str]]:
    return _rows({cls.__name__: cls for cls in names(family).values()})


def _rows(named: Mapping[str, type]) -> Iterable[tuple[str, str]]:
    return ((name, (cls.__doc__ or "").strip().partition("\n")[0]) for name, cls in named.items())
