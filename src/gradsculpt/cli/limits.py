"""The ranges of settings, read from where their classes check them, so that a number out of range is told at once."""

import ast
import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from gradsculpt.cli.grammar import alternatives
from gradsculpt.cli.sources import Standin
from gradsculpt.errors import ArgumentError

_ENDLESS = 2**63  # the first whole number that PyTorch has no place for
_WHOLE, _FINITE = "a whole number", "a finite value"


class Limit(NamedTuple):
    """What a number has to be, and how that is said."""

    low: float
    high: float
    open: bool
    told: str

    def holds(self, value: float) -> bool:
        """Tell whether a number is within."""
        if isinstance(value, int) and abs(value) >= _ENDLESS:
            return False
        return math.isfinite(value) and (self.low < value if self.open else self.low <= value) and value <= self.high


def at_least(low: float, high: float = math.inf, *, whole: bool = True) -> Limit:
    """Return the limit of a number that has a least value, and maybe a greatest one."""
    which = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
    return Limit(low, high, False, f"{_WHOLE if whole else _FINITE} {which}")


SHARE = Limit(0.0, 1.0, True, "a value above 0 and up to 1, 0.4 for 40%")


def check(name: str, value: Any, cls: Any, place: str) -> None:
    """Raise `ArgumentError` if the setting of a class, or of its stand-in, is a number out of its range."""
    for limit in limits(cls).get(name, ()) if isinstance(cls, Standin) else ():
        hold(limit, value, f"{place}={value}")


def hold(limit: Limit | None, value: Any, said: str) -> None:
    """Raise `ArgumentError` if a value is a number out of a limit."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if limit is not None and number and not limit.holds(value):
        raise ArgumentError(f"{said} is out of range; pass {limit.told}.")


@cache
def limits(cls: Standin) -> dict[str, list[Limit]]:
    """Return what the `__post_init__` of a class says of its numbers: only what it checks in any case, by literals."""
    found: dict[str, list[Limit]] = {}
    kinds = {name: alternatives(each.annotation) for name, each in cls.__signature__.parameters.items()}
    for call in _calls(cls):
        for name, limit in _limits(call, kinds):
            found.setdefault(name, []).append(limit)
    return found


def _calls(cls: Standin) -> Iterator[ast.Call]:
    """Yield the calls that stand in a `__post_init__` and those that it continues, with loops over texts unrolled."""
    if not (isinstance(cls, Standin) and cls.origin):
        return
    body = cls.origin[1].body
    own = next((each for each in body if isinstance(each, ast.FunctionDef) and each.name == "__post_init__"), None)
    if own is None or "super().__post_init__()" in ast.unparse(own):
        for base in cls.__bases__:
            yield from _calls(base) if isinstance(base, Standin) else ()
    for node in own.body if own else ():
        match node:
            case ast.Expr(value=ast.Call() as call):
                yield call
            case ast.For(
                target=ast.Name(id=name), iter=ast.Tuple(elts=texts), body=[ast.Expr(value=ast.Call() as call)]
            ):
                for text in texts:
                    first, *others = call.args
                    if isinstance(first, ast.Name) and first.id == name:
                        yield ast.Call(call.func, [text, *others], call.keywords)


def _limits(call: ast.Call, kinds: dict[str, list[Any]]) -> Iterator[tuple[str, Limit]]:
    function = ast.unparse(call.func)
    if function == "checks.each_at_least":
        for keyword in call.keywords:
            if keyword.arg and (low := _number(keyword.value)) is not None:
                whole = int in kinds.get(keyword.arg, ())
                yield keyword.arg, at_least(low, whole=whole)
    if not (call.args and isinstance(call.args[0], ast.Constant)):
        return
    name, bounds = str(call.args[0].value), [_number(arg) for arg in call.args[2:]]
    if function == "checks.positive":
        yield name, Limit(0.0, math.inf, True, f"{_FINITE} greater than 0")
    elif function == "checks.share":
        yield name, SHARE
    elif function == "checks.within" and len(bounds) == 2 and None not in bounds:
        low, high = (float(bound or 0) for bound in bounds)
        yield name, Limit(low, high, False, f"a value from {low:g} to {high:g}")


def _number(node: ast.expr) -> float | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return float(value) if isinstance(value, int | float) else None
