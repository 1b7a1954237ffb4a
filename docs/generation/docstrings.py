"""Docstrings are prose with formulas in plain characters, |g|_1 or h*; here they become reStructuredText."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from generation.public import PACKAGES, homes

_FIELD = re.compile(r"(Shape|Units|Returns|Raises|Source|Deviation|Cost|Needs): (\S.*)")
_CODE = re.compile(r"(``.+?``|`.+?`)")
_SPECIAL = re.compile(r"([*|\\]|_(?=\W|$))")


def setup(app: Any) -> None:
    """Rewrite each docstring before napoleon sees it."""
    app.connect("autodoc-process-docstring", _rewrite, priority=100)
    app.connect("autodoc-process-bases", _shown)


def _shown(app: Any, name: str, obj: object, options: object, bases: list[Any]) -> None:
    """Leave out the bases that are nobody's business; of a class without another one, that is `object`."""
    bases[:] = [base for base in bases if not getattr(base, "__name__", "").startswith("_")] or [object]


def _rewrite(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = list(rewritten(lines))


def rewritten(lines: list[str]) -> Iterator[str]:
    """Yield a docstring as reStructuredText.

    One-line entries (`Source: ...`, with what is indented below it) become fields, characters that have a meaning in
    reStructuredText are escaped, names in backticks become links where they are public, and doctests stay as they are.
    """
    doctest, field, listed = False, False, False
    for line in lines:
        text = line.strip()
        if text.startswith((">>>", "...")):
            doctest = True
        elif not text:
            doctest = False
        if doctest:
            yield line
            continue
        if found := _FIELD.fullmatch(line):
            if not listed:
                yield ""
            field, listed = True, True
            yield f":{found[1]}: {_escaped(found[2])}"
            continue
        if field and not text:
            field = False
        if listed and not field and text:
            listed = False
        if field and not line.startswith(" "):
            field = listed = False
            yield ""
        yield _escaped(line)


def _escaped(line: str) -> str:
    pieces = _CODE.split(line)
    return "".join(_code(piece.strip("`")) if i % 2 else _SPECIAL.sub(r"\\\1", piece) for i, piece in enumerate(pieces))


def _code(text: str) -> str:
    home = _links().get(text.removeprefix("gs."))
    return f":py:obj:`{text} <{home}>`" if home else f"``{text}``"


@cache
def _links() -> dict[str, str]:
    """Return the full names of what is public, by its name, and by its name after that of its package."""
    known = {f"{package}.{name}": f"{home}.{name}" for package, home in homes().items() for name in PACKAGES[package]}
    return {name.rpartition(".")[2]: path for name, path in known.items()} | known
