"""Validation at the door: what public functions call on their arguments before any work is done."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError

Labels = Tensor | npt.NDArray[np.integer] | Sequence[int] | int
"""One class index for each image, or a single one for all of them."""


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


def labels(y: Labels, batch: int, classes: int | None = None) -> Tensor:
    """Return class indices as a tensor [N] of int64; raise `ArgumentError` unless there is one for each image.

    Args:
        y: Whole numbers for each image, as a tensor, array or sequence of any integer type or bool; or a single one,
            the class of every image.
        batch: The number N of images, at least 1.
        classes: The number of outputs of the model, if known.

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
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or (classes is not None and high >= classes):
        known = "which no class has" if classes is None else f"but the model has {classes} outputs"
        fitting = "from 0 on" if classes is None else f"from 0 to {classes - 1}"
        raise ArgumentError(f"class indices run from {low} to {high} {known}; pass indices {fitting}.")
    return indices


def not_empty(name: str, count: int) -> None:
    """Raise `ArgumentError` if there are no images, of which nothing can be said."""
    if not count:
        raise ArgumentError(f"{name} is empty, so there is nothing to compute; pass at least one image.")


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
