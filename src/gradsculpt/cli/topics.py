"""`gradsculpt help NAME`: what a part is and which settings it takes, and what is in a recipe."""

import inspect
import os
import textwrap
from collections.abc import Iterator

from gradsculpt.cli.grammar import alternatives, described, plain, shown
from gradsculpt.cli.known import RECIPES
from gradsculpt.cli.parts import FAMILIES, family, names, settings_of
from gradsculpt.cli.sources import told, value

_WIDTH, _COLUMN = 100, 16


def topics() -> list[str]:
    """Return the names that there is help for, besides the commands'."""
    parts = [name for kind in FAMILIES for name in names(family(kind))]
    metrics = [metric.__name__ for metric in value("gradsculpt.metrics.METRICS")]
    return sorted({*parts, *metrics, *(path.stem for path in RECIPES.glob("*.yaml"))})


def explained(name: str) -> str:
    """Return what is to be told of a name; empty if there is none like it."""
    return "\n".join(_pieces(name))


def _pieces(name: str) -> Iterator[str]:
    for kind in FAMILIES:
        members = names(family(kind))
        spelled = {cls.__name__.lower(): cls for cls in members.values()} | members
        if cls := spelled.get(name) or spelled.get(plain(name)):
            yield _part(name, cls, kind)
    for metric in value("gradsculpt.metrics.METRICS"):
        if metric.__name__ == name:
            yield f"{name}: a metric\n\n{inspect.cleandoc(metric.__doc__)}\n"
    if os.path.isfile(recipe := RECIPES / f"{name}.yaml"):
        yield f"{name}: a recipe, gradsculpt train --recipe {name}\n\n{recipe.read_text(encoding='utf-8')}"


def _part(name: str, cls: type, kind: str) -> str:
    settings, docs = settings_of(cls), told(cls)
    call = f"({', '.join(map(shown, settings.values()))})" if settings else ""
    head = f"{name}{call}: {kind}"
    prose = inspect.cleandoc(cls.__doc__ or "").partition("\nArgs:")[0].partition("\nExample:")[0].rstrip()
    lines = [head, "", prose, *([""] if settings else [])]
    for key, setting in settings.items():
        takes = " or ".join(filter(None, map(described, alternatives(setting.annotation))))
        text = docs.get(key) or takes
        first, *rest = textwrap.wrap(text, _WIDTH - _COLUMN) or [""]
        lines += [f"  {key:<{_COLUMN - 3}} {first}", *(f"{'':<{_COLUMN}}{line}" for line in rest)]
    return "\n".join(lines) + "\n"
