"""Code of the user's own: found by where it stands, and called with what it takes."""

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gradsculpt.errors import GradsculptError, did_you_mean, first_line

_MODULE = re.compile(r"(?<![\w./-])(?:python:([A-Za-z_]\w*)|([A-Za-z_]\w*)(?=\.[A-Za-z_]))")
_TYPED: ContextVar[frozenset[str] | None] = ContextVar("typed", default=None)
_OURS = "gradsculpt"
_NOTHING = object()


@contextmanager
def typed(words: Sequence[str]) -> Iterator[None]:
    """Let code run of the modules that are named in the words of a command, and of no others.

    Inside the block, `imported` and `called` look for them in the folder where it was typed too, after the installed
    packages, and for what they import. A module that only a file names, as a run of a stranger's does, is not imported.
    """
    texts = [word for word in words if not any(map(os.path.exists, (word, word.partition("=")[2])))]
    with trusted(_modules(texts)):
        yield


@contextmanager
def trusted(modules: Iterable[str]) -> Iterator[None]:
    """Let code of these modules run too inside the block, wherever they lie, as what names them was typed.

    Outside of all such blocks a program calls what it likes; inside, what it names itself counts as no better.
    """
    token = _TYPED.set(_typed() | frozenset(name.partition(".")[0] for name in modules))
    try:
        yield
    finally:
        _TYPED.reset(token)


def typed_modules() -> tuple[str, ...]:
    """Return the modules whose code may run, and that may lie in the current folder."""
    return tuple(sorted(_typed()))


def modules_of(plain: Any) -> Iterator[str]:
    """Yield the modules that settings in plain data name as code: by a `class_path`, or behind `python:`.

    Example:
        >>> list(modules_of({"model": "python:nets.own:small", "objective": {"class_path": "mine.Decay"}}))
        ['nets', 'mine']
    """
    if isinstance(plain, Mapping):
        paths = [each for key, each in plain.items() if key == "class_path" or f"{each}".startswith("python:")]
        yield from (str(path).removeprefix("python:").partition(".")[0].partition(":")[0] for path in paths)
    for each in plain.values() if isinstance(plain, Mapping) else plain if isinstance(plain, list | tuple) else ():
        yield from modules_of(each)


def check_trusted(module: str, said: str, error: type[GradsculptError]) -> None:
    """Raise `error` if a module is not gradsculpt's own and was not typed: a file alone makes no code run."""
    if (top := module.partition(".")[0]) != _OURS and top not in _typed():
        raise error(
            f"{said} is code of the module {top!r}, which only a file names, so it is not run: a stranger may have "
            f"written it. If you trust that code, pass --trust-code {top}."
        )


def named_in(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the modules that texts name which may lie in the current folder."""
    return tuple(sorted(_modules(texts) & _typed()))


def source(module: str) -> Path | None:
    """Return the file of a module that may lie in the current folder; None if there is none, or it is not Python."""
    if module.partition(".")[0] not in _typed():
        return None
    spec = None
    with _here(module), suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(module.partition(".")[0])
    file = None if spec is None or spec.origin is None else Path(spec.origin)
    return file if file is not None and file.suffix == ".py" and os.path.isfile(file) else None


def _typed() -> frozenset[str]:
    return _TYPED.get() or frozenset()


def _modules(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(name for text in texts for pair in _MODULE.findall(text) for name in pair if name)


@contextmanager
def _here(module: str) -> Iterator[None]:
    """Look also in the current folder inside the block, if the module was typed."""
    here = os.getcwd() if module.partition(".")[0] in _typed() else None
    if here is not None:
        sys.path.append(here)
        importlib.invalidate_caches()
    try:
        yield
    finally:
        if here is not None:
            with suppress(ValueError):  # whoever removed it has put the path in order
                sys.path.remove(here)


def imported(module: str, name: str, said: str, error: type[GradsculptError], *, function: bool = False) -> Any:
    """Return what stands under a name in a module, which lies where Python looks.

    It is a module of gradsculpt with what is written there, or one that was `typed`, which may lie in the current
    folder; of no other one is anything imported, as the name may come from a stranger's file.

    It raises `error` if there is no such module or name, or the import fails; messages quote what was `said`. With
    `function`, only what can be called will do.
    """
    check_trusted(module, said, error)
    value = _looked_up(module, name, said, error, function=function)
    if module.partition(".")[0] not in _typed():  # what one of our modules has imported is not ours
        check_trusted(getattr(value, "__module__", None) or type(value).__module__, said, error)
    return value


def _looked_up(module: str, name: str, said: str, error: type[GradsculptError], *, function: bool) -> Any:
    try:
        with _here(module):
            home = importlib.import_module(module)
            value = getattr(home, name, _NOTHING)  # which may import what a module has that is lazy
    except Exception as reason:
        if isinstance(reason, ModuleNotFoundError) and f"{module}.".startswith(f"{reason.name}."):
            raise error(_no_module(str(reason.name), said)) from reason
        raise error(f"{said} cannot be imported: {module} raised {first_line(reason)}. Mend the module.") from reason
    if value is _NOTHING or (function and not callable(value)):
        names = [key for key in sorted({*vars(home), *dir(home)}) if not function or callable(vars(home).get(key))]
        place = getattr(home, "__file__", "built in")
        what, kind = ("no function", "callable") if function else ("nothing", "object")
        raise error(
            f"{said} names {what}: the module {module} ({place}) has no {kind} {name!r}.{did_you_mean(name, names)}"
        )
    return value


def check_module(target: str, error: type[GradsculptError]) -> None:
    """Raise `error` if what stands behind `python:` names no function, or a module that is not there.

    Nothing is imported. A module that only a file names is refused too, but for a program that itself asks for it.
    """
    module, _, name = target.partition(":")
    if module.endswith(".py"):
        likely = f"{Path(module).stem}:{name or 'FUNCTION'}"
        raise error(f"python:{target} names a file, and modules go by their names; write python:{likely}.")
    if not (module and name):
        raise error(f"python:{target} does not name a function; write python:package.module:function.")
    top = module.partition(".")[0]
    if _TYPED.get() is not None:
        check_trusted(top, f"python:{target}", error)
    with _here(module):
        there = top in sys.modules
        with suppress(ValueError, ImportError):
            there = there or importlib.util.find_spec(top) is not None
    if not there:
        raise error(_no_module(top, f"python:{target}"))


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
    check_module(target, error)
    module, _, name = target.partition(":")
    look_up = _looked_up if _TYPED.get() is None else imported
    function = look_up(module, name, f"python:{target}", error, function=True)
    takes = set[str]()
    with suppress(TypeError, ValueError):  # some callables written in C have no signature to look at
        takes = set(inspect.signature(function).parameters)
    given = {**always, **{key: value for key, value in wanted.items() if key in takes}}
    call = f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})"
    try:
        with _here(module):
            return function(**given), call
    except Exception as reason:
        named = ", ".join([*always, *(f"{key} if it has a parameter of that name" for key in wanted)])
        raise error(
            f"python:{target} failed: {call} raised {first_line(reason)}. Mend the function; it is called with {named}."
        ) from reason


def _no_module(name: str, said: str) -> str:
    return (
        f"{said} cannot be imported: there is no module {name!r} among the installed packages, in PYTHONPATH or, for a "
        "module that is typed, in the current folder. Install it, or name the folder that it lies in, as in "
        "PYTHONPATH=FOLDER gradsculpt ..."
    )
