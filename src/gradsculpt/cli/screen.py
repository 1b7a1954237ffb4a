"""The help of a command: one screen with what is common, under headings, and everything when asked for it."""

import argparse
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from gradsculpt.cli.grammar import alternatives

HELP_WORDS = ("-h", "--help", "--help-all", "--help_all")

_WIDEST, _COLUMN = 100, 28


def page(parser: Any, *, everything: bool) -> str:
    """Return the help of a command, with the options that are rare if everything is asked for."""
    actions: list[Any] = [action for action in parser._actions if action.dest != "help"]
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    words = [_word(action) for action in actions if not action.option_strings]
    needed = [_signature(action) for action in actions if action.option_strings and action.required]
    lines = [" ".join(["usage:", parser.prog, *words, *needed, "[options]"]), ""]
    lines += textwrap.wrap(parser.description or "", width)
    groups: dict[str, list[Any]] = {"": [], **{heading: [] for heading in parser.headings}}
    for action in actions:
        if everything or not action.rare:
            groups.setdefault("" if not action.option_strings else action.group, []).append(action)
    for heading, members in ((heading, members) for heading, members in groups.items() if members):
        lines += ["", *([f"{heading}:"] if heading else [])]
        for action in members:
            lines += _entry(action, width, whole=everything)
    hidden = sum(action.rare for action in actions)
    if hidden and not everything:
        lines += ["", f"{hidden} more options: {parser.prog} --help-all"]
    if parser.examples:
        lines += ["", "examples:", *(f"  {example}" for example in parser.examples)]
    return "\n".join(lines) + "\n"


def option_name(option: str) -> str:
    """Return an option as it is documented, with dashes.

    Example:
        >>> option_name("--objective.every_step")
        '--objective.every-step'
    """
    return option.replace("_", "-")


def metavar(action: Any) -> str:
    """Return what stands for the value of an option."""
    if action.metavar:
        return str(action.metavar)
    kinds = alternatives(action.hint)
    choices: Any = action.choices or next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), None)
    if choices:
        return f"{{{','.join(map(str, choices))}}}"
    names: dict[Any, str] = {Path: "PATH", int: "N", float: "X", bool: "{true,false}"}
    last: str = action.dest.rpartition("_")[2].upper()
    return next((str(names[kind]) for kind in kinds if kind in names), last)


def _entry(action: Any, width: int, *, whole: bool) -> Iterator[str]:
    left = f"  {_signature(action) if action.option_strings else _word(action)}"
    told = (action.help or "").replace("%%", "%")
    told = told if whole else told.partition(". ")[0].rstrip(".")
    right = textwrap.wrap(f"{told}{_default(action)}", width - _COLUMN) or [""]
    if len(left) > _COLUMN - 2:
        yield left
        left = ""
    yield f"{left:<{_COLUMN}}{right[0]}"
    yield from (f"{'':<{_COLUMN}}{line}" for line in right[1:])


def _signature(action: Any) -> str:
    option = option_name(action.option_strings[0])
    if isinstance(action, argparse._StoreTrueAction) or (action.hint is bool and not action.default):
        return option
    return f"{option} {metavar(action)}{' ...' if action.nargs == '+' else ''}"


def _word(action: Any) -> str:
    name: str = action.dest.upper()
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} ..."}.get(action.nargs, name)


def _default(action: Any) -> str:
    default = action.default
    if action.required and action.option_strings:
        return " (required)"
    nothing = default is None or default is False or default in ([], ())
    if nothing or default is argparse.SUPPRESS or "default" in (action.help or ""):
        return ""
    shown = ", ".join(map(str, default)) if type(default) in (list, tuple) else str(default)
    return f" (default {shown.lower() if default is True else shown})"
