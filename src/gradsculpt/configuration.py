"""Objects as plain data for a YAML file, from which jsonargparse makes them again."""

import inspect
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import nn

from gradsculpt.errors import ArgumentError
from gradsculpt.extensions import imported


def written(value: Any, name: str = "value") -> Any:
    """Return an object as numbers, texts, lists and mappings.

    A part, such as an objective with its penalty, becomes `{class_path, init_args}`. Its class has to keep the
    arguments of its `__init__` as attributes of the same names, as dataclasses do. Functions and classes become the
    shortest paths from which they can be imported; tuples become lists, and paths texts. The name is for messages.

    Raises:
        ArgumentError: If it could not be made again from what would be written, as a lambda or a tensor could not.

    Example:
        >>> from gradsculpt.penalties import L1
        >>> written({"penalty": L1(0.01), "zoom": (1.0, 2.0)})
        {'penalty': {'class_path': 'gradsculpt.penalties.L1', 'init_args': {'weight': 0.01}}, 'zoom': [1.0, 2.0]}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Real):  # those of NumPy too
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: written(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [written(inner, f"{name}[{i}]") for i, inner in enumerate(value)]
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return _import_path(value, name)
    return {"class_path": _import_path(type(value), name), "init_args": _arguments(value, name)}


def made(plain: Any, said: str = "value") -> Any:
    """Return the objects that plain data describe: `{class_path, init_args}`, at any depth; all else stays as it is.

    `said` is for messages.

    Raises: ArgumentError if a class is not there, or refuses its arguments.

    Example:
        >>> from gradsculpt.penalties import L1
        >>> made(written({"penalty": L1(0.01)}))
        {'penalty': L1(0.01)}
    """
    if isinstance(plain, list | tuple):
        return [made(item, said) for item in plain]
    if not isinstance(plain, Mapping):
        return plain
    if "class_path" not in plain:
        return {key: made(inner, f"{said}.{key}") for key, inner in plain.items()}
    module, _, name = str(plain["class_path"]).rpartition(".")
    target = imported(module, name, f"{said} {plain['class_path']}", ArgumentError, function=True)
    arguments = made(plain.get("init_args") or {}, said)
    try:
        return target(**arguments)
    except TypeError as error:
        raise ArgumentError(f"{said}: {plain['class_path']} cannot be made of {arguments} ({error}).") from error


def defaults(cls: Any) -> dict[str, Any]:
    """Return what a class takes its arguments to be if they are not given, as far as `written` writes it.

    Example:
        >>> from gradsculpt.perturbations import Iterative
        >>> defaults(Iterative)["steps"]
        7
    """
    given = {name: each.default for name, each in inspect.signature(cls).parameters.items()}
    made = {each.name: each.default_factory for each in fields(cls)} if is_dataclass(cls) else {}
    plain = dict[str, Any]()
    for name, value in given.items():
        if value is not inspect.Parameter.empty:
            with suppress(ArgumentError):
                plain[name] = written(value if (make := made.get(name, MISSING)) is MISSING else make())
    return plain


def completed(value: Any) -> Any:
    """Return what `written` wrote with defaults for what it lacks, as a file of an older version does.

    Two descriptions of one object are then equal. What cannot be imported, or may not, or is no description at all,
    stays as it is.

    Example:
        >>> short = {"class_path": "gradsculpt.perturbations.OneStep", "init_args": {}}
        >>> from gradsculpt.perturbations import OneStep
        >>> completed(short) == completed(written(OneStep()))
        True
    """
    if isinstance(value, list | tuple):
        return [completed(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    whole = {key: completed(item) for key, item in value.items()}
    given = whole.get("init_args") or {}
    if not isinstance(given, Mapping):
        return whole
    module, _, name = str(whole.get("class_path", "")).rpartition(".")
    try:
        target = imported(module, name, name, ArgumentError)
        path, lacking = _import_path(target, name), completed(defaults(target))
    except Exception:  # the user's own module may raise anything
        return whole
    return {"class_path": path, "init_args": {**lacking, **given}}


def _arguments(part: Any, name: str) -> dict[str, Any]:
    if isinstance(part, nn.Module) or hasattr(part, "__array__"):
        raise _refused(name, part, "it holds numbers of its own. Pass plain numbers, or a part that makes it from them")
    try:
        parameters = inspect.signature(type(part)).parameters
        known = all(each.kind != each.POSITIONAL_ONLY for each in parameters.values())
    except (TypeError, ValueError):
        known = False
    if not known:  # of a class that is not written in Python, of some of which newer Pythons tell nameless arguments
        raise _refused(name, part, "what it was made from is not known. Pass numbers, texts or lists")
    named = (name for name, each in parameters.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))
    if len(arguments := {each: getattr(part, each) for each in named if hasattr(part, each)}) < len(parameters):
        missing = ", ".join(parameters.keys() - arguments.keys())
        mend = "Make its class a dataclass, or keep each argument of __init__ as an attribute of the same name"
        raise _refused(name, part, f"it does not keep what it was given as {missing}. {mend}")
    return {argument: written(value, f"{name}.{argument}") for argument, value in arguments.items()}


def _import_path(target: Any, name: str) -> str:
    """Return the shortest path from which a class or a function can be imported."""
    packages, own_name = str(target.__module__).split("."), target.__qualname__
    for module in (".".join(packages[:depth]) for depth in range(1, len(packages) + 1)):
        if getattr(sys.modules.get(module), own_name, None) is target:
            return f"{module}.{own_name}"
    raise _refused(name, target, "no module has it under its name. Define it with def or class at the top of a module")


def _refused(name: str, value: Any, reason: str) -> ArgumentError:
    kind = getattr(value, "__qualname__", type(value).__qualname__)
    return ArgumentError(f"{name} ({kind}) cannot be written to a configuration file, as {reason}.")
