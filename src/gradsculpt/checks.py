"""Validation at the door: what public functions call on their arguments before any work is done."""

import inspect
import math
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from gradsculpt.devices import Values, at_hand, placed
from gradsculpt.errors import ArgumentError
from gradsculpt.wording import counted

Labels = Tensor | npt.NDArray[np.integer] | Sequence[int] | int
"""One class index for each image, or a single one for all of them."""

_ENDLESS, _LONG = 2**63, 80
_SAID: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
    Tensor: "a tensor",
    Callable: "a function",
}


def at_least(name: str, value: float | Tensor, low: float) -> None:
    """Raise `ArgumentError` unless every entry of `value` is a finite number of at least `low`."""
    _finite(name, value, lambda entries: entries >= low, f"of at least {low:g}")


def declared(settings: Any) -> None:
    """Raise `ArgumentError` unless every field of a dataclass has a value of the type that it is declared with.

    Numbers have to be finite, whole ones where `int` is declared; True and False are none. Those of NumPy become
    Python's, and lists tuples where these are declared, so that settings can be compared, hashed and written down.
    """
    for name, hint in _hints(settings).items():
        value = getattr(settings, name)
        of_type(name, value, hint)
        if (plain := _plain(value, hint)) is not value:
            object.__setattr__(settings, name, plain)


def of_type(name: str, value: Any, hint: Any) -> None:
    """Raise `ArgumentError` unless a value is of a type, given as in an annotation; see `declared`."""
    if _fits(value, hint):
        return
    for kind in _kinds(hint):  # of several that could be right in number, the first that is wrong is named
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            for each, inner in zip(value, _each(kind, len(value)), strict=False):
                of_type(name, each, inner)
    choices = [choice for kind in _kinds(hint) if get_origin(kind) is Literal for choice in get_args(kind)]
    if isinstance(value, str) and choices:
        raise ArgumentError(f"{name}={value!r} is not known; choose from {', '.join(map(str, choices))}.")
    fact = "is out of range" if isinstance(value, int | float) else "cannot be used"
    raise ArgumentError(f"{name}={told(value)} {fact}; pass {' or '.join(map(_described, _kinds(hint)))}.")


def arguments(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise `ArgumentError` unless the settings that a function is called with are of the types that it declares.

    What may be a tensor is left to the function, as it may have to fit others, and so is the range of numbers.
    """
    hints = _settings_of(function)
    for name, value in (*zip(hints, args, strict=False), *kwargs.items()):
        kinds = _kinds(hints.get(name, Tensor))
        if Tensor not in kinds and not (float in kinds and isinstance(value, float)):
            of_type(name, value, hints[name])


def each_at_least(settings: Any, **lows: float) -> None:
    """Raise `ArgumentError` unless all fields are as `declared`, and these, where not None, at least so large."""
    hints = _hints(settings)
    for name, low in lows.items():
        value, kinds = getattr(settings, name), _kinds(hints.get(name, Any))
        if value is not None or type(None) not in kinds:
            whole(name, value, int(low)) if int in kinds else at_least(name, value, low)
    declared(settings)


def whole(name: str, value: int, low: int) -> None:
    """Raise `ArgumentError` unless `value` is a whole number of at least `low`."""
    if not _fits(value, int) or value < low:
        raise ArgumentError(f"{name}={told(value)} is out of range; pass a whole number of at least {low}.")


def positive(name: str, value: float | Tensor) -> None:
    """Raise `ArgumentError` unless every entry of `value` is a finite number greater than 0."""
    _finite(name, value, lambda entries: entries > 0, "greater than 0")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise `ArgumentError` unless `value` is a number and `low <= value <= high`."""
    if not _fits(value, float) or not low <= value <= high:
        raise ArgumentError(f"{name}={told(value)} is out of range; pass a value from {low:g} to {high:g}.")


def bounds(name: str, value: tuple[float | Tensor, float | Tensor] | None) -> None:
    """Raise `ArgumentError` unless `value` is None, or two ends that are numbers with the first below the second."""
    of_type(name, value, tuple[float | Tensor, float | Tensor] | None)
    if value is not None and not bool((torch.as_tensor(value[0]) < torch.as_tensor(value[1])).all()):
        raise ArgumentError(f"the {name} leave no room: pass (low, high) with every low below its high.")


def share(name: str, value: float) -> None:
    """Raise `ArgumentError` unless `value` is a share that is not empty: in (0, 1]."""
    if not _fits(value, float) or not 0.0 < value <= 1.0:
        raise ArgumentError(f"{name}={told(value)} is not a share; pass a value above 0 and up to 1, 0.4 for 40%.")


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `ArgumentError` unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(f"{name}={told(value)} is not known; choose from {', '.join(choices)}.")


def tensor(name: str, values: Any) -> Tensor:
    """Return numbers as a tensor: one as it is, an array, or a list of numbers, arrays or tensors, as a new one.

    Raises: ArgumentError if they are no numbers, or rows of unequal length.

    Example:
        >>> tensor("maps", [[1, 2], [3, 4]]).shape, tensor("maps", np.ones(3)).dtype
        (torch.Size([2, 2]), torch.float64)
    """
    if isinstance(values, Tensor):
        return values
    try:
        if isinstance(values, list | tuple) and any(isinstance(each, Tensor) for each in values):
            return torch.stack([tensor(name, each) for each in values])
        return torch.tensor(np.asarray(values))  # a copy, as what belongs to somebody else may change
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{name}={told(values)} is no array of numbers; pass a tensor, an array, or a list of equal ones."
        ) from error


def images(name: str, x: Tensor, *, some: bool = True) -> None:
    """Raise `ArgumentError` unless `x` is a floating-point batch [N, C, H, W], and of at least `some` images."""
    if x.ndim != 4:
        raise ArgumentError(
            f"{name} has shape {list(x.shape)}; a batch [N, C, H, W] is needed. "
            "Add the batch dimension of a single image with x[None]."
        )
    if some:
        not_empty(name, x.numel())
    if not x.is_floating_point():
        raise ArgumentError(
            f"{name} has dtype {x.dtype}, which has no gradient; convert it to floating point, "
            "for instance x.float() / 255 for 8-bit images."
        )


def same_shape(first: str, a: Tensor, second: str, b: Tensor) -> None:
    """Raise `ArgumentError` unless `a` and `b` have one shape."""
    if a.shape != b.shape:
        shapes = f"{first} has shape {list(a.shape)} but {second} has {list(b.shape)}"
        raise ArgumentError(f"{shapes}; pass tensors of one shape.")


def labels(y: Labels, batch: int, classes: int | None = None, *, waiting: bool = True) -> Tensor:
    """Return class indices as a tensor [N] of int64; raise `ArgumentError` unless there is one for each image.

    Args:
        y: Whole numbers for each image, as a tensor, array or sequence of any integer type or bool; or a single one,
            the class of every image.
        batch: The number N of images, at least 1.
        classes: The number of outputs of the model, if known.
        waiting: Whether to wait for the values of labels on an accelerator. Without, they are taken as they are:
            PyTorch's own kernels then end the process at one that no class has.

    Example:
        >>> labels([1, 0], batch=2), labels(2, batch=2)
        (tensor([1, 0]), tensor([2, 2]))
    """
    not_empty("the batch", batch)
    try:
        indices = y if isinstance(y, Tensor) else torch.tensor(np.asarray(y))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"class indices {y!r:.60} are no numbers; pass one integer for each image.") from error
    if indices.ndim == 0:
        indices = indices.expand(batch)
    if indices.shape != (batch,) or indices.is_floating_point() or indices.is_complex():
        fact = f"class indices have shape {list(indices.shape)} and dtype {indices.dtype}"
        raise ArgumentError(f"{fact}; pass one integer for each image, shape [{batch}].")
    with torch.inference_mode(False):  # autograd could not record what was made in it
        indices = indices.clone().long() if indices.is_inference() else indices.long()
    values = at_hand(indices)
    if values is None:
        if not waiting:
            return indices
        values = indices.cpu().numpy()
    low, high = int(values.min()), int(values.max())
    if low < 0 or (classes is not None and high >= classes):
        known = "which no class has" if classes is None else f"but the model has {counted(classes, 'outputs')}"
        fitting = "from 0 on" if classes is None else f"from 0 to {classes - 1}"
        raise ArgumentError(f"class indices run from {low} to {high} {known}; pass indices {fitting}.")
    return indices


def not_empty(name: str, count: int) -> None:
    """Raise `ArgumentError` if there are no images, of which nothing can be said."""
    if not count:
        raise ArgumentError(f"{name} is empty, so there is nothing to compute; pass at least one image.")


def broadcast(name: str, value: float | Tensor, x: Tensor) -> Tensor:
    """Return `value` shaped like the images x; raise `ArgumentError` if it does not broadcast to them."""
    value = placed(value, x) if isinstance(value, Tensor) else x.new_full((), value)
    try:
        return value.expand_as(x)
    except RuntimeError as error:
        raise ArgumentError(
            f"{name} has shape {list(value.shape)}, which does not broadcast to the images {list(x.shape)}; pass a "
            f"number, or one a channel as [1, {x.shape[1]}, 1, 1]."
        ) from error


_found_fit: MutableMapping[Tensor, tuple[int, str]] = WeakIdKeyDictionary()
"""Tensors on accelerators that were looked at: settings are copied at every step, and to look again would wait."""


def _finite(name: str, value: float | Tensor, suits: Callable[[Values], Any], which: str) -> None:
    # In float64, as 1e-50 is positive and 1e50 finite.
    if isinstance(value, Tensor):
        if (entries := at_hand(value)) is None:
            if _found_fit.get(value) == (value._version, which):
                return
            entries = value.detach().float().cpu().numpy()
    else:
        entries = np.asarray(value if _fits(value, float) else np.nan, dtype=np.float64)
    if entries.size == 0 or not bool((np.isfinite(entries) & suits(entries)).all()):
        raise ArgumentError(f"{name}={told(value)} is out of range; pass a finite value {which}.")
    if isinstance(value, Tensor) and value.device.type != "cpu":
        _found_fit[value] = value._version, which


def _hints(settings: Any) -> dict[str, Any]:
    """Return the types of the arguments of a dataclass."""
    kind: Any = type(settings)
    return _hints_of(kind)


@cache
def _hints_of(kind: type) -> dict[str, Any]:
    # Those that are named in a place where nobody else can look them up are left open.
    hints: dict[str, Any] = {}
    for each in reversed(kind.__mro__):
        with suppress(NameError, TypeError, AttributeError):
            hints |= get_type_hints(each)
    return {field.name: hints.get(field.name, Any) for field in fields(kind) if field.init}


@cache
def _settings_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's arguments, in their order; what nobody else can look up counts as a tensor."""
    hints: dict[str, Any] = {}
    with suppress(NameError, TypeError, AttributeError):
        hints = get_type_hints(function)
    return {name: hints.get(name, Tensor) for name in inspect.signature(function).parameters}


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    kinds = _kinds(hint)
    if len(kinds) > 1:
        return any(_fits(value, kind) for kind in kinds)
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Any:
        return True
    if origin is Literal:
        return value in [each for each in inner if type(each) is type(value)]
    if origin is int:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return whole and -_ENDLESS < value < _ENDLESS
    if origin is float:
        return _fits(value, int) or (isinstance(value, float | np.floating) and math.isfinite(value))
    if origin is tuple and inner and isinstance(value, list | tuple):
        items = _each(hint, len(value))
        return len(items) == len(value) and all(map(_fits, value, items))
    if origin is Sequence:
        several = isinstance(value, Sequence) and not isinstance(value, str)
        return several and all(_fits(each, kind) for each in value for kind in inner)
    # What is no class, such as a variable or a protocol, says nothing that could be looked at here.
    return not isinstance(origin, type) or getattr(origin, "_is_protocol", False) or isinstance(value, origin)


def _each(hint: Any, count: int) -> tuple[Any, ...]:
    """Return the types of the items of a tuple."""
    inner = get_args(hint)
    return inner[:1] * count if inner[1:] == (...,) else inner


def _plain(value: Any, hint: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    tuples = any((get_origin(kind) or kind) in (tuple, Sequence) for kind in _kinds(hint))
    return tuple(_plain(each, tuple) for each in value) if tuples and isinstance(value, list) else value


def _described(kind: Any) -> str:
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin in (tuple, Sequence) and inner:
        return f"several in brackets, each {' or '.join(map(_described, _kinds(inner[0])))}"
    return _SAID.get(origin) or f"one of the class {origin.__name__}"


def told(value: Any) -> str:
    """Return a value as the message of an error shows it: in one line, and shortened."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"tensor of shape {list(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
