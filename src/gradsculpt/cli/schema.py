"""Whether settings, as they stand in a file or are typed, suit the classes that take them; no class is imported.

What is checked here is what the classes' signatures say: the names of settings, their types and ranges, and which must
be there. A mistake is an `ArgumentError` that names the place, the likely word and what is allowed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from inspect import Parameter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from gradsculpt.cli import limits
from gradsculpt.cli.documents import Place
from gradsculpt.cli.grammar import SEVERAL, alternatives, described, inner_types, likely, shown
from gradsculpt.cli.parts import as_value, class_at, family, hints_of, is_family, names, settings_of, takes_any
from gradsculpt.cli.sources import Made, Standin
from gradsculpt.errors import ArgumentError, did_you_mean, first_line
from gradsculpt.files import impossible
from gradsculpt.reading import parsed_yaml

_KEYS = ("class_path", "init_args")
_SEARCHED = ("Objective", "Penalty", "Perturbation", "Setting")


def checked(value: Any, hint: Any, place: Place) -> Any:
    """Return a value of a type, with `{class_path, init_args}` for each part; raise `ArgumentError` if it is none."""
    kinds = alternatives(hint)
    if isinstance(value, dict):
        if any((get_origin(kind) or kind) in (Mapping, dict) for kind in kinds):
            return value
        if classes := [kind for kind in kinds if _is_class(kind)]:
            return _part(value, classes, place)
    elif isinstance(value, list | tuple):
        for kind in kinds:
            if (inner := inner_types(kind, len(value))) is not None:
                return [checked(item, inner[i], place.at(f"[{i}]")) for i, item in enumerate(value)]
    elif isinstance(value, str):
        return _text(value, hint, place)
    elif type(value) in kinds or (type(value) is int and float in kinds) or _is_choice(value, kinds):
        return value
    elif not all(map(_understood, kinds)) or not isinstance(value, bool | int | float | date | None):
        return value  # the latter is an object of the user's own, checked when it was found
    raise ArgumentError(f"{place}={_told(value)} cannot be used; it takes {_taken(kinds)}.{likely(value, kinds)}")


def check_setting(name: str, value: Any, cls: Any, place: Place) -> Any:
    """Return the value of a setting of a class, `checked` and within its range."""
    value = checked(value, hints_of(cls).get(name, Any), place)
    limits.check(name, value, cls, str(place))
    return value


def check_complete(value: Any, place: Place) -> None:
    """Raise `ArgumentError` if a part, or one in it, lacks a setting that has no default."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            check_complete(item, place.at(f"[{i}]"))
    if not (isinstance(value, dict) and "class_path" in value):
        return
    cls, given = class_at(value["class_path"], (), str(place)), value.get("init_args") or {}
    needed = [name for name, setting in settings_of(cls).items() if setting.default is Parameter.empty]
    if missing := [name for name in needed if name not in given]:
        raise ArgumentError(
            f"{place} {_short(cls)} needs {', '.join(missing)}; write {_short(cls)}({missing[0]}=...), or pass "
            f"--{'.'.join(filter(None, (place.name, missing[0])))}."
        )
    for name, inner in given.items():
        check_complete(inner, place.at(name))


def merged(old: Any, new: Any) -> Any:
    """Return a part with the settings of a later file over those of an earlier one, if both are of one class."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if new.get("class_path", old.get("class_path")) != old.get("class_path"):
        return new
    before, after = (each.get("init_args") or {} for each in (old, new))
    both = {name: merged(before[name], after[name]) for name in before.keys() & after.keys()}
    return {**old, **new, "init_args": {**before, **after, **both}}


def changed(value: Any, hint: Any, keys: Sequence[str], text: str, place: Place) -> Any:
    """Return a part with one setting, of it or of a part in it, replaced by what is typed as --objective.penalty.l1.

    Args:
        value: The part: `{class_path, init_args}`, a default, or None.
        hint: Its type.
        keys: The names that lead to the setting.
        text: What is typed for it.
        place: The option.
    """
    keys = [key for key in keys if key != "init_args"]
    if not keys:
        return checked(text, hint, place)
    part = plain(value)
    classes = [kind for kind in alternatives(hint) if _is_class(kind)]
    if keys == ["class_path"]:
        return {"class_path": text, "init_args": {}, **_part({"class_path": text}, classes, place)}
    if isinstance(part, dict) and "class_path" in part:
        cls = class_at(part["class_path"], classes, str(place))
    elif len(classes) == 1 and not is_family(classes[0]):
        cls = classes[0]
        part = {"class_path": f"{cls.__module__}.{cls.__name__}", "init_args": part or {}}
    else:
        before = place.source.partition(f".{keys[0]}")[0]
        raise ArgumentError(f"{place} has nothing to change, as {before} is not chosen; pass {before} NAME before it.")
    name, *rest = keys
    setting = settings_of(cls).get(name)
    if setting is None:
        raise _unknown(name, cls, place)
    given = dict(part.get("init_args") or {})
    current = given.get(name, None if setting.default is Parameter.empty else setting.default)
    given[name] = changed(current, hints_of(cls).get(name, Any), rest, text, place)
    if not rest:
        limits.check(name, given[name], cls, str(place))
    return {**part, "init_args": given}


def plain(value: Any) -> Any:
    """Return a default that a source makes of a class as `{class_path, init_args}`."""
    if not isinstance(value, Made):
        return value
    path = f"{value.target.__module__}.{value.target.__name__}"
    return {"class_path": path, "init_args": {key: plain(each) for key, each in value.arguments.items()}}


def belongs(name: str, value: Any, place: Place) -> Iterator[str]:
    """Yield where a setting stands among the parts in a value: what it is of, and the option that leads there."""
    if isinstance(value, dict) and "class_path" in value:
        cls = class_at(value["class_path"], (), str(place))
        settings = settings_of(cls)
        if name in settings and place.keys:
            yield f"it is a setting of {_short(cls)}; write it there, or pass --{place.name}.{name}"
        given = value.get("init_args") or {}
        for key, setting in settings.items():
            yield from belongs(name, given.get(key, plain(setting.default)), place.at(key))


def owners(name: str) -> list[str]:
    """Return the parts of an objective that have a setting of a name, by their short names."""
    members = (each for kind in _SEARCHED for each in names(family(kind)).items())
    return [short for short, cls in members if name in settings_of(cls)]


def _part(value: dict[str, Any], classes: Sequence[Any], place: Place) -> dict[str, Any]:
    if "class_path" not in value:
        if len(classes) == 1 and not is_family(classes[0]):
            return {key: _known(key, each, classes[0], place) for key, each in value.items()}
        if set(value) <= {"init_args"}:
            return value  # of the class that an earlier file names
        near = next((key for key in value if did_you_mean(str(key), ["class_path"])), None)
        hint = f" Did you mean class_path by {near}?" if near else ""
        names = ", ".join(map(str, value)) or "nothing"
        raise ArgumentError(
            f"{place} holds {names}, and no class_path that says what it is; write class_path and init_args, or the "
            f"part on one line, {place.name or place.source}: name(setting=value).{hint}"
        )
    cls = class_at(value["class_path"], classes, str(place.at("class_path")))
    for key in value:
        if key not in (*_KEYS, "dict_kwargs"):
            own = key in settings_of(cls)
            fact = f"is a setting of {_short(cls)}, so it stands under init_args" if own else "is not known here"
            hint = "" if own else did_you_mean(str(key), _KEYS)
            raise ArgumentError(f"{place.at(str(key))} {fact}; beside class_path, only init_args is read.{hint}")
    given = value.get("init_args") or {}
    if not isinstance(given, dict):
        raise ArgumentError(f"{place.at('init_args')}={_told(given)} holds no settings; write key: value under it.")
    inner = place.at("init_args")
    path = f"{cls.__module__}.{cls.__name__}" if isinstance(cls, Standin) else value["class_path"]
    return {"class_path": path, "init_args": {key: _known(key, each, cls, inner) for key, each in given.items()}}


def _known(name: str, value: Any, cls: Any, place: Place) -> Any:
    if name not in settings_of(cls):
        if not isinstance(cls, Standin) and takes_any(cls):
            return value
        raise _unknown(str(name), cls, place.at(str(name)))
    return check_setting(name, value, cls, place.at(name))


def _unknown(name: str, cls: Any, place: Place) -> ArgumentError:
    settings = settings_of(cls)
    told = ", ".join(map(shown, settings.values())) or "none"
    hint = did_you_mean(name, list(settings))
    if not hint and (of := owners(name)):
        hint = f" It is a setting of {' and '.join(of[:3])}."
    return ArgumentError(f"{place}: {_short(cls)} has no setting {name!r}; its settings are {told}.{hint}")


def _text(text: str, hint: Any, place: Place) -> Any:
    kinds = alternatives(hint)
    families = [*kinds, *(get_args(kind)[0] for kind in kinds if get_origin(kind) in SEVERAL)]
    if any(map(is_family, families)):
        value = _mapping(text, place) if text.lstrip().startswith("{") else as_value(text, hint, str(place))
        return checked(value, hint, place) if isinstance(value, dict | list | tuple) else value
    if Path in kinds and (why := impossible(text)):
        raise ArgumentError(f"{place}={_told(text)} can be no file or folder, as {why}; write the path of one.")
    if str in kinds or Path in kinds or not all(map(_understood, kinds)):
        return text
    return as_value(text, hint, f"{place}={text}")


def _mapping(text: str, place: Place) -> Any:
    """Return a part that is typed as it stands in files, in braces."""
    try:
        return parsed_yaml(text)
    except ValueError as error:
        raise ArgumentError(
            f"{place}={_told(text)} cannot be read ({first_line(error, kind=False)}); write name(setting=value), or "
            "the braces of JSON."
        ) from error


def _is_class(kind: Any) -> bool:
    return isinstance(kind, Standin) or (isinstance(kind, type) and kind.__module__ not in ("builtins", "pathlib"))


def _understood(kind: Any) -> bool:
    """Tell whether it is known here what can be written for a type; of others, their makers say what is wrong."""
    plain = (int, float, bool, str, Path, type(None), *SEVERAL, Callable)
    return isinstance(kind, Standin) or kind in plain or get_origin(kind) in (Literal, *SEVERAL, Callable)


def _is_choice(value: Any, kinds: Sequence[Any]) -> bool:
    return any(
        value == choice and type(value) is type(choice)
        for kind in kinds
        if get_origin(kind) is Literal
        for choice in get_args(kind)
    )


def _taken(kinds: Sequence[Any]) -> str:
    told = [_spelled(kind) for kind in kinds if kind is not type(None)]
    return ", or ".join(filter(None, told)) or "nothing that can be written down"


def _spelled(kind: Any) -> str:
    if kind is str:
        return "a text, in quotes where it looks like a number"
    if kind is Path:
        return "a path"
    if _is_class(kind):
        return f"a part: {', '.join(names(kind))}" if is_family(kind) else f"the settings of {kind.__name__}"
    return described(kind)


def _told(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return " ".join(text.split())[:80]


def _short(cls: Any) -> str:
    return cls.__name__.lower() if cls.__module__.startswith("gradsculpt.") else f"{cls.__module__}.{cls.__name__}"
