"""What a sweep is to try, as it is typed: a grid, a list, or a space to search in."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.grammar import items
from gradsculpt.cli.parser import Options
from gradsculpt.errors import ArgumentError

if TYPE_CHECKING:
    from gradsculpt.studies.search import Space
    from gradsculpt.studies.sweep import Setting

OF_TASKS = ("out", "device", "threads", "data_dir", "cache_dir", "resume", "max_time", "devices", "nodes", "seed")
"""Settings of a training that a command of many trainings has for itself."""


def points(options: Options) -> list[Setting]:
    """Return the settings of a grid or a list."""
    from gradsculpt.studies.ranges import is_range
    from gradsculpt.studies.sweep import grid

    if bool(options["grid"]) == bool(options["list"]):
        fact = "--grid and --list exclude each other" if options["grid"] else "no settings are given to try"
        raise ArgumentError(f"{fact}; pass --grid NAME=VALUE,VALUE or --list 'NAME=VALUE NAME=VALUE'.")
    if options["list"]:
        return [assigned("--list", split("--list", text)) for text in options["list"]]
    values = _values(options["grid"])
    for name, texts in values.items():
        if ranges := [text for text in texts if is_range(text)]:
            raise ArgumentError(
                f"--grid {name}={ranges[0]} is a range, of which a grid cannot try every number; write values with "
                "commas between them, or pass --search N."
            )
    return grid(values)


def space(options: Options) -> Space:
    """Return what a search may try for each setting."""
    from gradsculpt.studies.ranges import as_range, is_range

    if options["list"] or not options["grid"]:
        raise ArgumentError("--search looks within --grid, and takes no --list; pass --grid NAME=LOW..HIGH or values.")
    space: dict[str, Any] = {}
    for name, texts in _values(options["grid"]).items():
        ranges = [text for text in texts if is_range(text)]
        if ranges and len(texts) > 1:
            raise ArgumentError(f"--grid {name} mixes the range {ranges[0]} with other values; write one or the other.")
        space[name] = as_range(ranges[0]) if ranges else texts
    return space


def corners(space: Space) -> list[Setting]:
    """Return settings that are as bad as any in a space: if these can be trained with, all can."""
    from gradsculpt.studies.ranges import Range

    values = {name: list(each.ends) if isinstance(each, Range) else list(each) for name, each in space.items()}
    first = {name: texts[0] for name, texts in values.items()}
    return [{**first, name: text} for name, texts in values.items() for text in texts]


def _values(texts: Sequence[str]) -> dict[str, list[str]]:
    given = assigned("--grid", texts)
    values = {name: [value.strip() for value in items(text)] for name, text in given.items()}
    for name, each in values.items():
        if "" in each or not each:
            raise ArgumentError(f"--grid {name}={given[name]} has an empty value; write values between commas.")
    return {name: list(dict.fromkeys(each)) for name, each in values.items()}


def split(said: str, text: str) -> list[str]:
    """Return the words of a text, as a shell has them; raise `ArgumentError` if it has none."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ArgumentError(f"{said} {text!r} cannot be read ({error}); write 'NAME=VALUE NAME=VALUE'.") from error


def assigned(said: str, texts: Iterable[str]) -> dict[str, str]:
    """Return what texts such as lr=1e-3 say; raise `ArgumentError` for one that says nothing, or twice."""
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not (equals and name and value.strip()):
            raise ArgumentError(f"{said} {text} sets nothing; write NAME=VALUE, as objective.l2=.01 or lr=1e-3.")
        if name in given:
            raise ArgumentError(f"{said} sets {name} twice; write it once, with commas between its values.")
        if name in OF_TASKS:
            mend = "pass --seeds" if name == "seed" else "pass it for all"
            raise ArgumentError(f"{said} {text}: {name} does not decide what is learnt, or not as others do; {mend}.")
        given[name] = value
    if not given:
        raise ArgumentError(f"{said} has an empty setting; write NAME=VALUE.")
    return given
