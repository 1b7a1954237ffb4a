"""What a text such as `smoothgrad:samples=64,sigma=0.1` says, before anything in it is looked up."""

import collections.abc
import re
import types
from collections.abc import Iterable
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from gradsculpt.errors import ArgumentError, did_you_mean

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
"""A path to a class or an object of a module."""

_ARGUMENT = re.compile(r"\s*(?:(\w+)\s*=)?\s*(.*?)\s*", re.DOTALL)

SEVERAL = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
"""The types of settings that take several values in brackets."""

_WORDS = {"none": None, "null": None, "true": True, "false": False}
_SAID = {int: "a whole number", float: "a number", bool: "true or false", type(None): "none"}


def canonical(text: str) -> str:
    """Return what was typed in one spelling.

    Example:
        >>> canonical("Smooth-Grad( samples=64, sigma=0.1 )")
        'smoothgrad:samples=64,sigma=0.1'
    """
    name, arguments = taken_apart(text)
    settings = ",".join(value if key is None else f"{key}={value}" for key, value in arguments)
    return f"{plain(name)}:{settings}" if settings else plain(name)


def plain(name: str) -> str:
    """Return a short name in one spelling; a dotted path is left as it is."""
    return name if "." in name else re.sub("[-_]", "", name.lower())


def taken_apart(text: str) -> tuple[str, list[tuple[str | None, str]]]:
    """Return a name, and its arguments with their keywords, where they have one."""
    text = text.strip()
    name, mark, rest = re.split("([:(])", f"{text}:", maxsplit=1)
    name, rest = name.strip(), rest.removesuffix(":")
    if mark == "(" and not rest.endswith(")"):
        raise ArgumentError(f"{text} has a bracket that is not closed; write {name}:key=value or '{name}(key=value)'.")
    matches = (_ARGUMENT.fullmatch(item) for item in items(rest[:-1] if mark == "(" else rest))
    return name, [(match[1], match[2]) for match in matches if match]


def items(text: str) -> Iterable[str]:
    """Yield what stands between the commas that are in no bracket."""
    item, depth = "", 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            yield item
            item = ""
        else:
            item += letter
    if item.strip():
        yield item


def alternatives(hint: Any) -> list[Any]:
    """Return the types that a hint allows; where there is none, those that a plain word can have."""
    if hint is Any:
        return [type(None), int, float, bool, str]
    return list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]


def scalar(text: str, kind: Any) -> Any:
    """Return a plain value of a type; raise `ValueError` or `KeyError` if the text is none."""
    if kind in (int, float, Path):
        return kind(text)
    if kind in (bool, type(None)):
        choices = {word: value for word, value in _WORDS.items() if isinstance(value, kind)}
        return choices[text.lower()]
    return {str(choice): choice for choice in get_args(kind) if get_origin(kind) is Literal}[text]


def described(kind: Any) -> str:
    """Return what a setting of a type takes; empty where that cannot be said in a word."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is collections.abc.Callable:
        return "a function, as module.function"
    if get_origin(kind) is tuple and get_args(kind)[1:] != (...,):
        return f"{len(get_args(kind))} values in brackets, [...]"
    return "several in brackets, [...]" if get_origin(kind) in SEVERAL else _SAID.get(kind, "")


def inner_types(kind: Any, count: int) -> list[Any] | None:
    """Return the types of so many items of a type that takes several; None if it takes none, or another number."""
    if get_origin(kind) not in SEVERAL:
        return None
    inner = get_args(kind)
    if get_origin(kind) is tuple and inner[1:] != (...,):
        return list(inner) if len(inner) == count else None
    return [inner[0]] * count


def likely(value: Any, kinds: Iterable[Any]) -> str:
    """Return the question that ends the message about a value which is none of the choices that types allow."""
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    return did_you_mean(str(value).lower(), choices)


def shown(setting: Parameter) -> str:
    """Return a setting with its default, where that is short."""
    default = setting.default
    short = default is None or isinstance(default, bool | int | float | str)
    word = str(default).lower() if default is None or isinstance(default, bool) else default
    return f"{setting.name}={word}" if short else setting.name
