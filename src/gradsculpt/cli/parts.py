"""One language for parts, on every command line and in every file of settings.

A part is an attribution, an attack, a penalty, an objective, a perturbation, or anything else that a class and its
settings make. It is typed as

- a short name of what `gradsculpt list` lists, `l1` or `elastic-net`;
- with settings, `smoothgrad:samples=64,sigma=0.1` or `smoothgrad(samples=64, sigma=0.1)`;
- a dotted path to a class or an object of the user's own, `my_module.MyPenalty:weight=0.1`;
- one in another, `smoothed:base=my_module.MyMap(k=2)`, and in brackets where several are taken, `[l1(0.1), my.Own]`.

All of it becomes `{class_path, init_args}`, which jsonargparse understands and which config.yaml holds.
"""

import collections.abc
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from gradsculpt.cli import sources
from gradsculpt.cli.grammar import (
    DOTTED,
    SEVERAL,
    alternatives,
    described,
    inner_types,
    items,
    likely,
    plain,
    scalar,
    shown,
    taken_apart,
)
from gradsculpt.errors import ArgumentError, GradsculptError, did_you_mean, first_line
from gradsculpt.extensions import imported

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.attacks import Attack
    from gradsculpt.attributions import Attribution

FAMILIES = {
    "Attack": "gradsculpt.attacks.ATTACKS",
    "Attribution": "gradsculpt.attributions.ATTRIBUTIONS",
    "Objective": "gradsculpt.objectives.OBJECTIVES",
    "Penalty": "gradsculpt.penalties.PENALTIES",
    "Perturbation": "gradsculpt.perturbations.PERTURBATIONS",
    "ScoreGroup": "gradsculpt.evaluation.groups.SCORE_GROUPS",
    "Setting": "gradsculpt.objectives.SETTINGS",
    "Solver": "gradsculpt.attributions.SOLVERS",
}
"""Where the members of a family are listed, by its base class; by name, so that nothing is imported for the others."""

_PLAIN = {str, int, float, ...}  # several of these may stand without brackets: commas part them

_WRAPPED = {"ScoreGroup": ("gradsculpt.metrics.Metric", "gradsculpt.evaluation.groups.MetricGroup")}
"""What a dotted path may lead to instead of a member of a family, and the member that is made of it."""

Supplied = Callable[[type], Mapping[str, Any]]
"""What a class is given without its being typed, if it is not."""


def names(base: type) -> dict[str, type]:
    """Return the shipped classes of a family by their short names, each as its stand-in (see `sources`).

    Example:
        >>> list(names(family("Attack")))
        ['targeted', 'untargeted', 'topk', 'masscenter', 'random']
    """
    package, members = _family(base)
    return {_short(cls.__name__, package): cls for cls in members}


def family(name: str) -> type:
    """Return the stand-in of the base class of a family, by its name."""
    ancestors: tuple[type, ...] = sources.value(FAMILIES[name])[0].__mro__
    return next(cls for cls in ancestors if cls.__name__ == name)


def part(text: str, base: type, option: str, supplied: Supplied = lambda cls: {}) -> Any:
    """Return the object of a base class, such as `Attribution`, that a text names; the option is for messages.

    A name, a setting or a path that does not lead to anything, or a value that does not suit, is an `ArgumentError`.
    """
    return _made(resolved(text, base, option), option, supplied)


def resolved(text: str, base: type, option: str) -> Any:
    """Return the `{class_path, init_args}` that a text names, or the object; the arguments are those of `part`."""
    name, arguments = taken_apart(text)
    where = f"{option} {plain(name)}"
    target = _own(name, base, where) if "." in name else _shipped(name, base, option)
    if not isinstance(target, type):
        if arguments:
            raise ArgumentError(f"{where} is an object with its settings already; name its class to choose others.")
        return target
    takes, values, hints = settings_of(target), {}, hints_of(target)
    for position, (key, value) in enumerate(arguments):
        key = key or (list(takes)[position] if position < len(takes) else value)
        if key not in takes:
            told = f"{', '.join(map(shown, takes.values())) or 'none'}.{did_you_mean(key, list(takes))}"
            raise ArgumentError(f"{where} has no setting {key!r}; its settings are {told}")
        values[key] = as_value(value, hints.get(key, Any), f"{where}: {key}={value}")
    path = name if "." in name else f"{_family(base)[0]}.{target.__name__}"
    return {"class_path": path, "init_args": values}


def check_parts(texts: Iterable[str], kind: str, option: str) -> None:
    """Raise `ArgumentError` unless texts name parts of a family, such as Attack.

    Nothing is imported but classes of the user's own.
    """
    for text in texts:
        resolved(text, family(kind), option)


def spelled_out(value: Any, hint: Any, where: str) -> Any:
    """Return a setting, typed or from a file, with `{class_path, init_args}` for each part that is a text.

    The hint is its type, and its name is for messages. A class path that leads nowhere is an `ArgumentError`.
    """
    _check_paths(value, where)
    kinds = alternatives(hint)
    several = [get_args(kind)[0] for kind in kinds if get_origin(kind) in SEVERAL]
    if isinstance(value, list):
        return [spelled_out(item, (several or [hint])[0], where) for item in value]
    typed = isinstance(value, str) and not value.lstrip().startswith("{")
    apart = any(map(is_family, kinds + several)) or _is_plain_list(kinds)
    return as_value(value, hint, where) if typed and apart else value


def attribution(text: str, output: str = "logit", bounds: "tuple[Tensor, Tensor] | None" = None) -> "Attribution":
    """Return the attribution that a text names, with the output and the model's bounds where it takes them."""
    from gradsculpt.attributions import Attribution, Gradient

    def supplied(cls: type) -> dict[str, Any]:
        takes = settings_of(cls)
        if "output" in takes and output != "logit" and is_typed(text, "output"):
            raise ArgumentError(f"--output {output} and the output in --method {text} say it twice; leave one away.")
        given: dict[str, Any] = {"bounds": bounds} if "bounds" in takes and bounds is not None else {}
        if "output" in takes:
            return {**given, "output": output}
        if "base" in takes:
            return {**given, "base": Gradient(output)}  # type: ignore[arg-type]
        if issubclass(cls, Attribution) and output != "logit":
            raise ArgumentError(f"{cls.__name__.lower()} reads the logit and nothing else; leave --output away.")
        return given

    made: Attribution = part(text, Attribution, "--method", supplied)
    return made


def attack_of(text: str, *, steps: int | None, bounds: "tuple[Tensor, Tensor]") -> "Attack":
    """Return the attack that a text names, with 1 for its eps, to be replaced by what --eps is in the network's units.

    Steps are its own where they are None; bounds are those of the model.
    """
    from gradsculpt.attacks import Attack

    name, arguments = taken_apart(text)
    if any(key == "eps" for key, _ in arguments):
        raise ArgumentError("--attack has a setting eps in the units of the network; pass --eps, in 8-bit levels.")

    def supplied(cls: type) -> dict[str, Any]:
        takes = settings_of(cls)
        if issubclass(cls, Attack) and steps is not None and "steps" not in takes:
            raise ArgumentError(f"--attack {name} takes no steps; leave --steps away.")
        given = {"eps": 1.0, "bounds": bounds, "steps": steps}
        return {key: value for key, value in given.items() if key in takes and value is not None}

    made: Attack = part(text, Attack, "--attack", supplied)
    if "eps" not in getattr(made, "__dataclass_fields__", ()):
        raise ArgumentError(f"--attack {name} has no eps that --eps could set; make it a dataclass with such a field.")
    return made


def is_typed(text: str, name: str) -> bool:
    """Tell whether a setting of the part that a text names, itself no part in it, is typed by its name."""
    return any(key == name for key, _ in taken_apart(text)[1])


def _family(base: type) -> tuple[str, list[type]]:
    """Return the package of a family, and those of its members that are of a base class."""
    listed = next((FAMILIES[cls.__name__] for cls in base.__mro__ if cls.__name__ in FAMILIES), "")
    return listed.rpartition(".")[0], [cls for cls in sources.value(listed) if base.__name__ in _ancestry(cls)]


def _ancestry(cls: type) -> list[str]:
    return [each.__name__ for each in cls.__mro__]


def _short(name: str, package: str) -> str:
    """Return the short name of a class: what all of a package end in is left away, and groups keep words apart."""
    if package == "gradsculpt.evaluation.groups":
        return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
    return re.sub("(manipulation|attack|perturbation)$" if package == "gradsculpt.attacks" else "$", "", name.lower())


def is_family(kind: Any) -> bool:
    """Tell whether a type is that of parts that have short names."""
    return isinstance(kind, type) and any(cls.__name__ in FAMILIES for cls in kind.__mro__)


def _shipped(name: str, base: type, option: str) -> type:
    members, short = names(base) if is_family(base) else {}, plain(name)
    spelled = {cls.__name__.lower(): cls for cls in members.values()} | members
    if short not in spelled:
        choices = f"choose from {', '.join(members)}, or name your own as module.Class."
        raise ArgumentError(f"{option} {name} is not known; {choices}{did_you_mean(short, list(members))}")
    return spelled[short]


def _own(path: str, base: type, said: str) -> Any:
    target, base = _at(path, said), sources.real(base)
    if isinstance(target, base) or (isinstance(target, type) and issubclass(target, base)):
        return target
    wrapped, wrapper = _WRAPPED.get(base.__name__, (None, ""))
    if wrapped and isinstance(target, _at(wrapped, said)):
        return _at(wrapper, said)(target)
    home = _family(base)[0] if is_family(base) else base.__module__
    raise ArgumentError(f"{said} is no {base.__name__}; derive a class from {home}.{base.__name__}.")


def class_at(path: Any, bases: Sequence[Any], said: str) -> Any:
    """Return what a class path leads to: a stand-in of a class of the package, or a class or an object of one's own.

    Args:
        path: A dotted path, or the plain name of a member of a family.
        bases: What it has to be of, or nothing where anything will do.
        said: What names it, for messages.
    """
    if not isinstance(path, str) or not path:
        raise ArgumentError(f"{said}={path} names no class; write its path, such as gradsculpt.penalties.L1.")
    members = {cls.__name__: cls for base in bases if is_family(base) for cls in names(base).values()}
    if "." not in path:
        if path in members:
            return members[path]
        hint = did_you_mean(path, list(members))
        raise ArgumentError(f"{said}={path} is no class that is known; choose from {', '.join(members)}.{hint}")
    if not path.startswith("gradsculpt."):
        return _own(path, bases[0], f"{said}={path}") if len(bases) == 1 else _at(path, f"{said}={path}")
    try:
        found = sources.value(path)
    except (LookupError, OSError):
        found = None
    if not isinstance(found, sources.Standin) or (bases and not set(map(_name, bases)) & set(_ancestry(found))):
        last, kinds = path.rpartition(".")[2], " or ".join(map(_name, bases)) or "class"
        known = {name: f"{cls.__module__.rpartition('.')[0]}.{name}" for name, cls in members.items()}
        raise ArgumentError(
            f"{said}={path} is no {kinds} of gradsculpt; choose from {', '.join(members)}.{did_you_mean(last, known)}"
        )
    return found


def _name(cls: type) -> str:
    return cls.__name__


def _at(path: str, said: str) -> Any:
    module, _, name = path.rpartition(".")
    return imported(module, name, said, ArgumentError)


def _check_paths(value: Any, where: str) -> None:
    """Look for the classes of a file, also inside one another: in jsonargparse's words one would hardly be found."""
    if isinstance(value, dict):
        path = value.get("class_path")
        if isinstance(path, str) and "." in path:
            where = f"{where} {path}"
            _at(path, where)
        for inner in value.values():
            _check_paths(inner, where)
    if isinstance(value, list):
        for inner in value:
            _check_paths(inner, where)


def settings_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the settings of a class, or of a stand-in, that can be typed."""
    settings = inspect.signature(cls).parameters.items()
    return {name: value for name, value in settings if value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)}


def takes_any(cls: Any) -> bool:
    """Tell whether a class of the user's own takes settings of any name."""
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(cls).parameters.values())


def hints_of(cls: Any) -> dict[str, Any]:
    """Return the types of the settings of a class or a stand-in."""
    if isinstance(cls, sources.Standin):
        return {name: setting.annotation for name, setting in settings_of(cls).items()}
    with suppress(NameError, TypeError, AttributeError):  # of a type that is only imported for a type checker
        return get_type_hints(cls.__init__)
    return {}


def as_value(text: str, hint: Any, where: str) -> Any:
    """Return what a text says as a value of a type; else it is an `ArgumentError`."""
    kinds, text = alternatives(hint), text.strip().strip("'\"")
    for kind in kinds:
        with suppress(ValueError, KeyError):
            return scalar(text, kind)
    for kind in kinds:
        if get_origin(kind) in SEVERAL and re.fullmatch(r"\[.*\]", text, re.DOTALL):
            texts = list(items(text[1:-1]))
            if (inner := inner_types(kind, len(texts))) is None:
                continue
            values = [as_value(item, each, where) for item, each in zip(texts, inner, strict=True)]
            return tuple(values) if get_origin(kind) is tuple else values
        if get_origin(kind) is collections.abc.Callable and DOTTED.fullmatch(text):
            return _at(text, where)
        cls = get_origin(kind) or kind
        own = isinstance(cls, type) and cls.__module__ != "builtins" and str not in kinds and DOTTED.match(text)
        if own or is_family(cls):
            return resolved(text, cls, where.partition("=")[0])
    if "[" not in text and _is_plain_list(kinds):
        return as_value(f"[{text}]", hint, where)
    if str in kinds:
        return text
    taken = ", or ".join(filter(None, map(described, kinds)))
    taken = taken or "nothing that can be typed here"
    raise ArgumentError(f"{where} cannot be used; it takes {taken}.{likely(text, kinds)}")


def _is_plain_list(kinds: list[Any]) -> bool:
    return any(get_origin(kind) in SEVERAL and set(get_args(kind)) <= _PLAIN for kind in kinds)


def _made(value: Any, where: str, supplied: Supplied) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_made(item, where, supplied) for item in value)
    if not (isinstance(value, dict) and "class_path" in value):
        return value
    cls = _at(value["class_path"], where)
    name = cls.__name__.lower() if cls.__module__.startswith("gradsculpt.") else value["class_path"]
    where = f"{where} {name}"
    values = {key: _made(item, f"{where}: {key}", supplied) for key, item in value["init_args"].items()}
    values = {**supplied(cls), **values}
    missing = [
        key for key, setting in settings_of(cls).items() if setting.default is setting.empty and key not in values
    ]
    if missing:
        raise ArgumentError(f"{where} needs {', '.join(missing)}; write {name}({missing[0]}=...).")
    try:
        return cls(**values)
    except Exception as error:
        raise ArgumentError(f"{where}: {error if isinstance(error, GradsculptError) else first_line(error)}") from error
