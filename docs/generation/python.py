"""The reference of the library: a page for each package, with every public name by its docstring."""

import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

from generation.docstrings import rewritten
from generation.public import PACKAGES, homes, members, module
from gradsculpt.metrics import Metric

_CLASS = "   :members:\n   :show-inheritance:\n"
_TOP = {"Classifier": "models", "Scorecard": "evaluation", "evaluate": "evaluation", "load": "models"}
"""Names of the top level that are told of in their package."""


def pages(folder: Path) -> dict[str, str]:
    """Return the page of each package, and the one that lists them."""
    made = {f"python/{package}.md": _page(package) for package in PACKAGES}
    rows = "\n".join(f"- [{homes()[package]}](python/{package}.md): {_told(package)}" for package in PACKAGES)
    toctree = "\n".join(f"python/{package}" for package in PACKAGES)
    made["python.md"] = (
        "# Python\n\nAfter this page you know which package holds what. `import gradsculpt as gs`; the names below are "
        f"public and stay.\n\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{toctree}\n```\n"
    )
    return made


def _told(package: str) -> str:
    return inspect.cleandoc(module(package).__doc__ or "").partition("\n")[0]


def _page(package: str) -> str:
    path = homes()[package]
    lead = inspect.cleandoc(module(package).__doc__ or "")
    if package == "gradsculpt":
        lead = lead.partition("\n")[0]
    named = members(package)
    blocks = [_block(f"{path}.{name}", name, value, package) for name, value in sorted(named.items(), key=_order)]
    return f"# {path}\n\n{lead}\n\n" + "\n".join(blocks)


def _order(item: tuple[str, Any]) -> tuple[int, str]:
    value = item[1]
    kind = 0 if inspect.isclass(value) else 1 if callable(value) and not _alias(value) else 2
    return kind, item[0].lower()


def _text(name: str, value: Any, package: str) -> str:
    """Return what stands below the assignment of a name, and what a tuple of parts lists, as reStructuredText."""
    lines = list(documented(package).get(name, []))
    if isinstance(value, tuple) and all(inspect.isclass(each) or isinstance(each, Metric) for each in value):
        lines += ["", f"Lists {', '.join(f'`{each.__name__}`' for each in value)}."]
    return "\n".join(f"   {line}" for line in rewritten(lines))


@cache
def documented(package: str) -> dict[str, list[str]]:
    """Return the docstrings of the assignments in a package and in what it imports of the library, by name."""
    found = dict[str, list[str]]()
    for module_name in _modules(homes()[package]):
        analyzer = ModuleAnalyzer.for_module(module_name)
        found |= {name: lines for (scope, name), lines in analyzer.find_attr_docs().items() if not scope}
    return found


def _modules(package: str) -> Iterator[str]:
    """Yield the modules of a package, itself last, and those that its aliases come from first."""
    yield from ("gradsculpt.inputs", "gradsculpt.gradients")
    yield from sorted(name for name in sys.modules if name.startswith(f"{package}.") and package != "gradsculpt")
    yield package


def _alias(value: Any) -> bool:
    return getattr(value, "__module__", "") in ("typing", "types", "collections.abc") or hasattr(value, "__origin__")


def _block(path: str, name: str, value: Any, package: str) -> str:
    if package == "gradsculpt" and name in _TOP:
        target = f"gradsculpt.{_TOP[name]}.{name}"
        return f"## {name}\n\n{{py:obj}}`{target}`\n"
    options = ""
    if inspect.isclass(value):
        kind, options = "exception" if issubclass(value, BaseException) else "class", _CLASS
    elif isinstance(value, Metric) or (callable(value) and not _alias(value)):
        kind = "function"
    else:
        return f"## {name}\n\n```{{eval-rst}}\n.. py:data:: {path}\n\n{_text(name, value, package)}\n```\n"
    return f"## {name}\n\n```{{eval-rst}}\n.. auto{kind}:: {path}\n{options}```\n"
