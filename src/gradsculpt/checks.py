"""Validation at the door: what public functions call on their arguments before any work is done."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError


def at_least(name: str, value: float | Tensor, low: float) -> None:
    """Raise `ArgumentError` unless every entry of `value` is finite and at least `low`."""
    _finite(name, value, lambda entries: entries >= low, f"of at least {low:g}")


def each_at_least(settings: object, **lows: float) -> None:
    """Raise `ArgumentError` unless every one of these attributes of the settings is finite and at least so large."""
    for name, low in lows.items():
        at_least(name, getattr(settings, name), low)


def whole(name: str, value: int, low: int) -> None:
    """Raise `ArgumentError` unless `value` is a whole number of at least `low`."""
    if not isinstance(value, int) or value < low:
        raise ArgumentError(f"{name}={value!r} is out of range; pass a whole number of at least {low}.")


def positive(name: str, value: float | Tensor) -> None:
    """Raise `ArgumentError` unless every entry of `value` is finite and greater than 0."""
    _finite(name, value, lambda entries: entries > 0, "greater than 0")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise `ArgumentError` unless `low <= value <= high`."""
    if not low <= value <= high:
        raise ArgumentError(f"{name}={value!r} is out of range; pass a value from {low:g} to {high:g}.")


def share(name: str, value: float) -> None:
    """Raise `ArgumentError` unless `value` is a share that is not empty: in (0, 1]."""
    positive(name, value)
    within(name, value, 0.0, 1.0)


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `ArgumentError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ArgumentError(f"{name}={value!r} is not known; choose from {', '.join(choices)}.")


def images(name: str, x: Tensor) -> None:
    """Raise `ArgumentError` unless `x` is a floating-point batch [N, C, H, W]."""
    if x.ndim != 4:
        raise ArgumentError(
            f"{name} has shape {list(x.shape)}; a batch [N, C, H, W] is needed. "
            "Add the batch dimension of a single image with x[None]."
        )
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


def labels(y: Tensor, batch: int, classes: int | None = None) -> None:
    """Raise `ArgumentError` unless `y` holds one class index for each of `batch` images."""
    if y.shape != (batch,) or y.is_floating_point():
        fact = f"class indices have shape {list(y.shape)} and dtype {y.dtype}"
        raise ArgumentError(f"{fact}; pass one integer for each image, shape [{batch}].")
    if classes is not None and batch and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ArgumentError(
            f"class indices run from {int(y.min())} to {int(y.max())} but the model has {classes} outputs; "
            f"pass indices from 0 to {classes - 1}."
        )


def broadcast(name: str, value: float | Tensor, x: Tensor) -> Tensor:
    """Return `value` shaped like the images x; raise `ArgumentError` if it does not broadcast to them."""
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    try:
        return value.expand_as(x)
    except RuntimeError as error:
        raise ArgumentError(
            f"{name} has shape {list(value.shape)}, which does not broadcast to the images {list(x.shape)}; pass a "
            f"number, or one a channel as [1, {x.shape[1]}, 1, 1]."
        ) from error


def _finite(name: str, value: float | Tensor, suits: Callable[[Tensor], Tensor], which: str) -> None:
    # In float64, as 1e-50 is positive and 1e50 finite.
    entries = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    if entries.numel() == 0 or not bool((torch.isfinite(entries) & suits(entries)).all()):
        told = f"tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ArgumentError(f"{name}={told} is out of range; pass a finite value {which}.")
