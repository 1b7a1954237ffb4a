"""Every option of every command with whatever is typed for it: a value of its type, or one line that says why not."""

import random
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from gradsculpt.cli.documents import Place
from gradsculpt.cli.parser import Parser
from gradsculpt.cli.parts import FAMILIES, family, hints_of, names, settings_of
from gradsculpt.cli.schema import check_setting
from gradsculpt.cli.settings import OPTIMIZATION, SETTINGS
from gradsculpt.cli.sources import Standin
from gradsculpt.cli.sources import value as value_at
from gradsculpt.errors import GradsculptError
from gradsculpt.wording import one_line
from tests.faults.inputs import BASES, TEXTS, VALUES, options, parser_of


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a type, as far as it can be told without the classes of parts."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return any(_is(value, kind) for kind in kinds)


def _is(value: Any, kind: Any) -> bool:
    if isinstance(kind, Standin):
        return isinstance(value, dict | str) or value is None
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if (origin := get_origin(kind)) is not None or not isinstance(kind, type):
        return isinstance(value, tuple | list) if origin in (tuple, list) else True
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def read(parser: Parser, action: Any, text: str) -> Any:
    """Return what is read of an option, or the error that it ends in."""
    needed = [each for each in parser._actions if each.required and each is not action]
    words = [
        word for each in needed for word in ((each.option_strings or ["run"])[0], "x")[: len(each.option_strings) + 1]
    ]
    try:
        return parser.read([*words, f"{action.option_strings[0]}={text}"])[action.dest]
    except GradsculptError as error:
        return error


def first_of(command: str) -> list[Any]:
    """Return the options of a command that no command before it has alike."""
    before = {_key(each) for name in list(BASES)[: list(BASES).index(command)] for each in options(name)}
    return [each for each in options(command) if each.option_strings and _key(each) not in before]


def _key(action: Any) -> tuple[str, ...]:
    return (str(action.option_strings), str(action.hint), str(action.choices), str(action.limit), str(action.cls))


@pytest.mark.parametrize("command", BASES)
def test_a_value_is_of_its_type_or_one_line_says_why_not(command: str) -> None:
    parser = parser_of(command)
    for action in first_of(command):
        for text in random.Random(action.dest).sample(TEXTS, len(TEXTS) // 2):
            value = read(parser, action, text)
            said = f"{action.option_strings[0]}={text[:60]!r}: {value!r:.100}"
            if isinstance(value, GradsculptError):
                line = one_line(str(value))
                assert line.isprintable(), said
                assert len(line) < 2100, said
            else:
                several = action.nargs == "+" or type(action).__name__ == "_AppendAction"
                assert all(fits(each, action.hint) for each in (value if several else [value])), said


def checked(name: str, value: Any, cls: Any) -> Any:
    """Return what is taken of a setting in a file, or the error that it ends in."""
    try:
        return check_setting(name, value, cls, Place("own.yaml", (name,)))
    except GradsculptError as error:
        return error


FAMILY_SETTINGS = [
    (cls, name) for kind in FAMILIES for cls in names(family(kind)).values() for name in settings_of(cls)
]
TRAINING = [(cls, name) for cls in (value_at(SETTINGS), value_at(OPTIMIZATION)) for name in settings_of(cls)]


@pytest.mark.parametrize("settings", [TRAINING, FAMILY_SETTINGS], ids=["training", "parts"])
def test_a_value_in_a_file_is_of_its_type_or_one_line_says_why_not(settings: list[tuple[Any, str]]) -> None:
    for cls, name in settings:
        hint = hints_of(cls).get(name, Any)
        for value in VALUES:
            said = f"{cls.__name__}.{name}={value!r:.60}"
            taken = checked(name, value, cls)
            if isinstance(taken, GradsculptError):
                assert one_line(str(taken)).isprintable(), said
                continue
            if value is None and hint is not Any:
                assert fits(None, hint), said
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert fits(taken, hint) or hint is Any or not _plain(hint), said


def _plain(hint: Any) -> bool:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return all(kind in (int, float, str, bool, type(None), Path) for kind in kinds)


def test_the_check_sees_a_value_of_another_type() -> None:
    """Or it would see nothing."""
    assert fits(3, int | None)
    assert fits(None, int | None)
    assert fits(Path("x"), Path)
    for value, hint in (({"a": 1}, Path), (True, int), ("3", int), (1.5, int), ({"a": 1}, int | None)):
        assert not fits(value, hint)
