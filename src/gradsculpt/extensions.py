"""Code of the user's own: found by where it stands, and called with what it takes."""

import importlib
import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gradsculpt.errors import GradsculptError, did_you_mean, first_line


def imported(module: str, name: str, said: str, error: type[GradsculptError], *, function: bool = False) -> Any:
    """Return what stands under a name in a module, which lies where Python looks.

    That is not in the current folder, which may have come from a stranger.

    It raises `error` if there is no such module or name, or the import fails; messages quote what was `said`. With
    `function`, only what can be called will do.
    """
    try:
        home = importlib.import_module(module)
    except Exception as reason:
        if isinstance(reason, ModuleNotFoundError) and f"{module}.".startswith(f"{reason.name}."):
            raise error(
                f"{said} cannot be imported: there is no module {reason.name!r} among the installed packages or in "
                "PYTHONPATH, and the current folder does not count. Install it, or name the folder that it lies in, as "
                "in PYTHONPATH=FOLDER gradsculpt ..."
            ) from reason
        raise error(f"{said} cannot be imported: {module} raised {first_line(reason)}. Mend the module.") from reason
    names = [key for key, value in vars(home).items() if callable(value) or not function]
    if name not in names:
        place = getattr(home, "__file__", "built in")
        what, kind = ("no function", "callable") if function else ("nothing", "object")
        raise error(
            f"{said} names {what}: the module {module} ({place}) has no {kind} {name!r}.{did_you_mean(name, names)}"
        )
    return getattr(home, name)


def called(
    target: str, error: type[GradsculptError], always: Mapping[str, Any], wanted: Mapping[str, Any]
) -> tuple[Any, str]:
    """Call a function of the user's own.

    Args:
        target: What stands behind `python:`, `package.module:function`.
        error: What is raised if there is no such function, or it fails.
        always: What the function is called with.
        wanted: What it is called with too, where it has parameters of these names.

    Returns:
        What it returned, and the call as it can be shown.
    """
    module, _, name = target.partition(":")
    if not (module and name):
        raise error(f"python:{target} does not name a function; write python:package.module:function.")
    function = imported(module, name, f"python:{target}", error, function=True)
    takes = set[str]()
    with suppress(TypeError, ValueError):  # some callables written in C have no signature to look at
        takes = set(inspect.signature(function).parameters)
    given = {**always, **{key: value for key, value in wanted.items() if key in takes}}
    call = f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})"
    try:
        return function(**given), call
    except Exception as reason:
        named = ", ".join([*always, *(f"{key} if it has a parameter of that name" for key in wanted)])
        raise error(
            f"python:{target} failed: {call} raised {first_line(reason)}. Mend the function; it is called with {named}."
        ) from reason
