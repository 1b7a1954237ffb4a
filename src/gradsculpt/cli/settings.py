"""Objects from a few words of a command line: `smoothgrad:samples=64,sigma=0.1`."""

import difflib
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gradsculpt.attacks import ATTACKS, Attack
from gradsculpt.attributions import ATTRIBUTIONS, Attribution
from gradsculpt.errors import ArgumentError, GradsculptError
from gradsculpt.evaluation import SCORE_GROUPS, ScoreGroup
from gradsculpt.penalties import PENALTIES, Penalty

Supplied = Callable[[type], Mapping[str, Any]]
"""What a class is given without its being written down, if the words do not say otherwise."""

_FAMILIES: dict[type, tuple[type, ...]] = {
    Attribution: ATTRIBUTIONS,
    Attack: ATTACKS,
    Penalty: PENALTIES,
    ScoreGroup: SCORE_GROUPS,
}
_WORDS = {"none": None, "null": None, "true": True, "false": False}


def from_words(text: str, family: type, option: str, supplied: Supplied = lambda cls: {}) -> Any:
    """Return an object of a family by the name of its class in small letters, with settings if there are any.

    Both `name:key=value,key=value` and `name(key=value, key=value)` are understood; a value can be such a text itself.

    Args:
        text: What was typed.
        family: `Attribution`, `Attack` or `Penalty`.
        option: Where it was typed, for messages.
        supplied: What each class is given beside the words.

    Raises:
        ArgumentError: If a name or a setting is not known, or a value does not suit.
    """
    name, arguments = _taken_apart(text)
    known = {cls.__name__.lower(): cls for cls in _FAMILIES[family]}
    name = name.replace("-", "")
    if name.lower() not in known:
        near = _meant(name.lower(), known)
        raise ArgumentError(f"{option} {name} is not known; choose from {', '.join(known)}.{near}")
    cls = known[name.lower()]
    where = f"{option} {cls.__name__.lower()}"
    takes = inspect.signature(cls).parameters
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    values: dict[str, Any] = {}
    for position, (key, value) in enumerate(arguments):
        key = key or (list(takes)[position] if position < len(takes) else value)
        if key not in takes:
            listed = ", ".join(_shown(parameter) for parameter in takes.values()) or "none"
            raise ArgumentError(f"{where} has no setting {key!r}; its settings are {listed}.{_meant(key, takes)}")
        values[key] = _converted(value, hints.get(key, str), f"{where}: {key}={value}", option, supplied)
    values = {**supplied(cls), **values}
    missing = [key for key, parameter in takes.items() if parameter.default is parameter.empty and key not in values]
    if missing:
        raise ArgumentError(f"{where} needs {', '.join(missing)}; write {name}({missing[0]}=...).")
    try:
        return cls(**values)
    except GradsculptError as error:
        raise ArgumentError(f"{where}: {error}") from error


def canonical(text: str) -> str:
    """Return what was typed in one spelling.

    Example:
        >>> canonical("SmoothGrad( samples=64, sigma=0.1 )")
        'smoothgrad:samples=64,sigma=0.1'
    """
    name, arguments = _taken_apart(text)
    settings = ",".join(value if key is None else f"{key}={value}" for key, value in arguments)
    return f"{name.lower()}:{settings}" if settings else name.lower()


def _taken_apart(text: str) -> tuple[str, list[tuple[str | None, str]]]:
    """Return a name, and its arguments with their keywords, where they have one."""
    text = text.strip()
    end = min(i for i in (text.find(":"), text.find("("), len(text)) if i >= 0)
    name, rest = text[:end], text[end:]
    if rest.startswith("(") and not rest.endswith(")"):
        raise ArgumentError(f"{text} has a bracket that is not closed; write {name}:key=value or '{name}(key=value)'.")
    inner = rest[1:-1] if rest.startswith("(") else rest[1:]
    found = (re.fullmatch(r"\s*(?:(\w+)\s*=)?\s*(.*?)\s*", part, re.DOTALL) for part in _split(inner))
    return name, [(match[1], match[2]) for match in found if match]


def _split(text: str) -> Iterable[str]:
    """Yield the parts between the commas that stand in no bracket."""
    part, depth = "", 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            yield part
            part = ""
        else:
            part += letter
    if part.strip():
        yield part


def _converted(text: str, hint: Any, where: str, option: str, supplied: Supplied) -> Any:
    """Turn a text into a value of one of the types that a hint allows."""
    kinds = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    text = text.strip("'\"")
    for kind in kinds:
        if kind is type(None) or kind is bool:
            if text.lower() in _WORDS and isinstance(_WORDS[text.lower()], kind):
                return _WORDS[text.lower()]
        elif get_origin(kind) is Literal:
            if text in get_args(kind):
                return text
        elif kind is int or kind is float:
            try:
                return kind(text)
            except ValueError:
                continue
    for kind in kinds:
        if get_origin(kind) is tuple and text.startswith("["):
            return tuple(_converted(item, get_args(kind)[0], where, option, supplied) for item in _split(text[1:-1]))
        if kind in _FAMILIES:
            return from_words(text, kind, where.partition("=")[0], supplied)
    if str in kinds:
        return text
    taken = ", or ".join(found for kind in kinds if (found := _described(kind)))
    raise ArgumentError(f"{where} cannot be used; it takes {taken or 'nothing that can be typed here'}.")


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return {int: "a whole number", float: "a number", bool: "true or false", type(None): "none"}.get(kind, "")


def _shown(parameter: inspect.Parameter) -> str:
    """Return a setting with its default, where that is short."""
    default = parameter.default
    plain = default is None or isinstance(default, bool | int | float | str)
    return f"{parameter.name}={str(default).lower() if default is None else default}" if plain else parameter.name


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
