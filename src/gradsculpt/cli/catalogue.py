"""What can be named on a command line, with a line on each, read from the sources."""

from collections.abc import Iterable

from gradsculpt.cli.known import RECIPES
from gradsculpt.cli.parts import family, names
from gradsculpt.cli.sources import summary, value
from gradsculpt.hub.names import FORM

Rows = Iterable[tuple[str, str]]


def sections() -> dict[str, Rows]:
    """Return what can be named, with a line on each, under the heading of its kind."""
    sources = (made.arguments for made in value("gradsculpt.data.SOURCES"))
    recipes = sorted(RECIPES.glob("*.yaml"))
    return {
        "data": ((source["name"], source["description"]) for source in sources),
        "models": value("gradsculpt.models.MODELS"),
        "networks with weights": (
            *((f"pretrained:{name}", told) for name, told in value("gradsculpt.models.PRETRAINED")),
            (FORM, "one that somebody shares on the Hugging Face Hub; pip install 'gradsculpt[hub]'"),
        ),
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
