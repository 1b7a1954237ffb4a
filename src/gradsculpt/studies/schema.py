"""What the file of a study may say: its parts, what each is made of, and what it may not hold."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.wording import printable

SCALES = ("smoke", "cpu", "gpu", "paper")
START = "start"
"""What a network is trained by first, if it does not start from random weights: settings over those of all."""

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SEEDS = 2**32
_VALUES, _DEPTH = 100_000, 30  # of a file: aliases of aliases make any number of a few lines
_LARGEST = 2**63
_LONG = 80


def check(content: Mapping[str, Any], place: str) -> None:
    """Raise `ArgumentError` unless the parts of a study are what they are to be; names in them are not looked up.

    Args:
        content: The parts, as at a scale.
        place: The file, for messages.
    """
    for key, value in content.items():
        if key not in PARTS:
            hint = did_you_mean(key, list(PARTS))
            raise ArgumentError(
                f"{place}: {key} is no part of a study.{hint} The parts are {', '.join(PARTS)}, scales."
            )
        PARTS[key](value, f"{place}: {key}")
    for key in ("title", "source"):
        if key not in content:
            raise ArgumentError(f"{place} has no {key}; say what is reproduced, and where that stands.")


def check_plain(content: Mapping[str, Any], place: str) -> None:
    """Raise `ArgumentError` unless a file holds plain data that can be kept as JSON, under names that can be shown."""
    left = _VALUES

    def look(value: Any, where: str, depth: int) -> None:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEPTH:
            raise ArgumentError(f"{where} goes too deep, holds too much, or holds itself; write a smaller study.")
        if isinstance(value, Mapping):
            for key, each in value.items():
                if not isinstance(key, str) or not key.strip() or printable(key) != key:
                    raise ArgumentError(
                        f"{where} has the name {_told(key)}, which is no text in one line that can be shown; write "
                        "another one, in quotes where YAML takes it for a number, a date, yes or no."
                    )
                look(each, f"{where}.{key}", depth + 1)
        elif isinstance(value, list):
            for each in value:
                look(each, where, depth + 1)
        elif not (value is None or isinstance(value, str) or (isinstance(value, int | float) and _is_finite(value))):
            raise ArgumentError(
                f"{where} is {_told(value)}, which is no text, no finite number, true or false; write one, in quotes "
                "where a text is meant."
            )

    for name, value in content.items():
        look({name: value}, place, 0)


def _is_finite(value: float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < _LARGEST


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def _wrong(where: str, value: Any, wanted: str) -> ArgumentError:
    return ArgumentError(f"{where} is {_told(value)}; write {wanted}.")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise _wrong(where, value, "a text, in quotes where YAML takes it for something else")


def _line(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value.strip() or printable(value) != value:
        raise _wrong(where, value, "a text in one line")


def _mapping(value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "a mapping")


def _settings(value: Any, where: str) -> None:
    if value is not None:
        _mapping(value, where)


def _network(value: Any, where: str) -> None:
    _settings(value, where)
    if (recipe := (value or {}).get("recipe")) is not None:
        _text(recipe, f"{where}.recipe")
    if (start := (value or {}).get(START)) is not None:
        _network(start, f"{where}.{START}")


def _number(value: Any, where: str, wanted: str = "a finite number") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where, value, wanted)


def _several(value: Any, where: str, wanted: str) -> None:
    """Raise `ArgumentError` unless a value is a list of names, at least one, and none of them twice."""
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise _wrong(where, value, f"a list of {wanted}")
    if twice := next((each for each in value if value.count(each) > 1), None):
        raise ArgumentError(f"{where} names {twice} twice; name it once.")


def _seeds(value: Any, where: str) -> None:
    whole = isinstance(value, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in value)
    if not whole or not value or not all(0 <= seed < _SEEDS for seed in value) or len(set(value)) != len(value):
        raise _wrong(where, value, f"whole numbers from 0 to {_SEEDS - 1}, each once, such as [0, 1, 2]")


def _networks(value: Any, where: str) -> None:
    _mapping(value, where)
    for name, each in value.items():
        _network(each, f"{where}.{name}")


def _measures(value: Any, where: str) -> None:
    _mapping(value, where)
    for name, each in value.items():
        if name == "network" or "." in name:
            raise ArgumentError(
                f"{where} has the name {name}, which has a meaning of its own: rows have a network, and a dot stands "
                "before a score; call it otherwise."
            )
        kinds = [key for key in each if key != "of"] if isinstance(each, Mapping) else []
        if len(kinds) != 1:
            raise ArgumentError(
                f"{where}.{name} is to name one command or experiment with its settings, as `evaluate: {{limit: 100}}`,"
                " and besides that only `of: [networks]`."
            )
        _settings(each[kinds[0]], f"{where}.{name}.{kinds[0]}")
        if each.get("of") is not None:
            _several(each["of"], f"{where}.{name}.of", "networks, or leave it away for all")


def _rows(value: Any, where: str) -> None:
    _mapping(value, where)
    for name, each in value.items():
        _settings(each, f"{where}.{name}")
        for key, settings in (each or {}).items():
            if key == "network" and settings is not None:
                _text(settings, f"{where}.{name}.network")
            elif key != "network":
                _settings(settings, f"{where}.{name}.{key}")


def _table(value: Any, where: str) -> None:
    _mapping(value, where)
    for heading, each in value.items():
        column: Any = {"score": each} if isinstance(each, str) else each
        known = isinstance(column, Mapping) and not column.keys() - {"score", "scale", "published"}
        if not known or not is_score(column.get("score")):
            raise ArgumentError(
                f"{where}.{heading} is {_told(each)}; write {{score: MEASURE.SCORE, scale: 100, published: "
                "{ROW: number}}, of which the last two may be left out."
            )
        if not column.get("scale", 1):
            raise _wrong(f"{where}.{heading}.scale", column["scale"], "a number other than 0")
        _number(column.get("scale", 1), f"{where}.{heading}.scale")
        _settings(column.get("published"), f"{where}.{heading}.published")
        for row, number in (column.get("published") or {}).items():
            if isinstance(number, bool) or not isinstance(number, str | int | float | None):
                raise _wrong(f"{where}.{heading}.published.{row}", number, "a number, or a text")


def _claims(value: Any, where: str) -> None:
    if not isinstance(value, list):
        raise _wrong(where, value, "a list")
    for claim in value:
        check_claim(claim, where)


def _figures(value: Any, where: str) -> None:
    _mapping(value, where)
    for name, each in value.items():
        if not _FILE.fullmatch(name):
            raise ArgumentError(f"{where}.{name} cannot be a file's name; call it by letters, digits and dashes.")
        if not isinstance(each, Mapping) or len(each) != 1:
            raise ArgumentError(
                f"{where}.{name} is to name one figure with its settings, as `bars: {{scores: [...]}}`."
            )
        for kind, settings in each.items():
            _settings(settings, f"{where}.{name}.{kind}")


def _by_scale(names: Sequence[str], check: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    def checked(value: Any, where: str) -> None:
        _mapping(value, where)
        for name, each in value.items():
            if name not in names:
                hint = did_you_mean(name, names)
                raise ArgumentError(f"{where} has {name}, which is no scale.{hint} Write {', '.join(names)}.")
            if each is not None:
                check(each, f"{where}.{name}")

    return checked


def _sentences(value: Any, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _wrong(where, value, "a list of texts, in quotes where a colon stands in one")


def _only(value: Any, where: str) -> None:
    if value != []:  # nothing is run at this scale
        _several(value, where, "rows, or leave it away for all")


PARTS: Mapping[str, Callable[[Any, str], None]] = {
    "title": _line,
    "source": _line,
    "question": _text,
    "train": _network,
    "networks": _networks,
    "seeds": _seeds,
    "measure": _measures,
    "rows": _rows,
    "table": _table,
    "claims": _claims,
    "figures": _figures,
    "only": _only,
    "departs": _by_scale(("all", *SCALES), _sentences),
    "remarks": _by_scale(SCALES, _text),
}
"""The parts of a study, and what raises `ArgumentError` unless a value can be one."""

_FORMS: Mapping[str, tuple[str, ...]] = {
    "rising": (),
    "above": ("rows",),
    "below": ("rows",),
    "best": ("rows", "among"),
    "within": ("of", "rows"),
    "least": ("row", "rows"),
}
"""What a claim may be, and what each form of it may have besides `says` and `score`."""


def is_score(value: Any) -> bool:
    """Tell a score, written as MEASURE.SCORE, from other values."""
    measure, dot, score = value.partition(".") if isinstance(value, str) else ("", "", "")
    return bool(dot and measure and score)


def check_claim(claim: Any, where: str = "claims") -> None:
    """Raise `ArgumentError` unless a claim says something that can be tested; rows and measures are not looked up."""
    _mapping(claim, where)
    forms = [form for form in _FORMS if form in claim]
    known = ("says", "score", *(_FORMS if len(forms) != 1 else (forms[0], *_FORMS[forms[0]])))
    for key in claim:
        if key not in known:
            hint = did_you_mean(str(key), known)
            raise ArgumentError(f"{where}: {key} is no part of such a claim.{hint} Its parts are {', '.join(known)}.")
    if not isinstance(claim.get("says"), str) or not is_score(claim.get("score")) or len(forms) != 1:
        raise ArgumentError(
            f"{where}: {_told(dict(claim))} says nothing that can be tested; write says, score as MEASURE.SCORE, and "
            "one of rising, above, below, best, within (with of) and least (with row)."
        )
    _line(claim["says"], f"{where}: says")
    (form,), where = forms, f"{where}: {claim['says']}"
    if form in ("within", "least"):
        _number(claim[form], f"{where}: {form}")
    if form == "within" and not ("of" in claim and claim[form] >= 0):
        raise ArgumentError(f"{where}: within is to be a distance of at least 0, and besides it `of: ROW`.")
    if form == "least" and ("row" in claim) == ("rows" in claim):
        raise ArgumentError(f"{where}: least is to have either `row: ROW` or `rows: [ROW, ...]`; write one.")
    for key in ("above", "below", "best", "of", "row"):
        if key in claim:
            _text(claim[key], f"{where}: {key}")
    for key in ("rising", "rows"):
        if key in claim:
            _several(claim[key], f"{where}: {key}", "rows")
    if form == "rising" and len(claim[form]) < 2:
        raise _wrong(f"{where}: rising", claim[form], "two rows and more")
    base = claim.get("of", claim.get("above", claim.get("below", claim.get("best"))))
    if base in claim.get("rows", ()):
        raise ArgumentError(f"{where}: {base} is compared with itself; leave it out of rows.")
    if "among" in claim:
        _check_among(claim["among"], where)


def _check_among(among: Any, where: str) -> None:
    whole = isinstance(among, Mapping) and among.keys() == {"score", "within", "of"} and is_score(among["score"])
    within = among["within"] if whole else None
    if not isinstance(within, int | float) or isinstance(within, bool) or not within >= 0:
        raise ArgumentError(
            f"{where}: among is {_told(among)}, which restricts nothing; write best, and "
            "`among: {score: MEASURE.SCORE, within: 0.01, of: ROW}` for the rows that it is the best of."
        )
    _text(among["of"], f"{where}: among.of")


def rows_of(claim: Mapping[str, Any]) -> list[str]:
    """Return the rows that a claim names, all of which have to be there."""
    single = [claim[key] for key in ("above", "below", "of", "best", "row") if claim.get(key) is not None]
    among = [claim["among"]["of"]] if "among" in claim else []
    return [*single, *among, *claim.get("rising", ()), *claim.get("rows", ())]


def scores_of(claim: Mapping[str, Any]) -> list[str]:
    """Return the scores that a claim is about."""
    return [claim["score"], *([claim["among"]["score"]] if "among" in claim else [])]
