"""What tabs show of networks beside each other: sections, plots, and the table of scores; all of it escaped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from gradsculpt.viewer.comparing import Comparison


@dataclass(frozen=True)
class Drawn:
    """A plot, as SVG, with its alternative text, a title, and lines under it; goes where a `Figure` goes."""

    svg: bytes
    alt: str
    title: str
    lines: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The plot within its address, so that no file is needed."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


def section(title: str, lines: Sequence[str], inner: str) -> str:
    """Return what is shown under a heading, lines of text after it."""
    return _macro("section", title, lines, Markup(inner))  # noqa: S704 - what other macros have escaped


def beside(sections: Sequence[str]) -> str:
    """Return sections beside each other, where there is room."""
    return _macro("beside", Markup("".join(sections)))  # noqa: S704 - what `section` has escaped


def drawn(cells: Sequence[Drawn], label: str) -> str:
    """Return plots side by side, as many as there is room for."""
    return _macro("drawn", cells, label) if cells else ""


def warned(lines: Sequence[str]) -> str:
    """Return what has to be known before anything else."""
    return _macro("warned", lines) if lines else ""


def scores(comparison: Comparison) -> str:
    """Return the table of scores, a heading a group, with the direction, the interval and the meaning of each score."""
    return _macro("scores", comparison.names, comparison.groups)


@cache
def _templates() -> Any:
    environment = Environment(
        loader=PackageLoader("gradsculpt.viewer.page", ""),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("results.html").module


def _macro(name: str, *values: Any) -> str:
    return str(getattr(_templates(), name)(*values))
