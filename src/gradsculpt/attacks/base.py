"""What an attack is, and what it may be given."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import Attribution
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model, differentiable

Bounds = tuple[float | Tensor, float | Tensor]
"""The least and the greatest value of an image, as the model takes it: numbers, or one a channel as [1, C, 1, 1]."""

_TOLERANCE = 1e-4


class Attack(ABC):
    """A small change of images that changes their maps and not their predicted classes."""

    @abstractmethod
    def __call__(self, model: Model, attribution: Attribution, x: Tensor, y: Tensor) -> Tensor:
        """Return the attacked images, shape [N, C, H, W].

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K]. Its mode is used as it is and no state changes.
            attribution: What reads the maps that are attacked.
            x: The clean images, [N, C, H, W].
            y: The classes [N] whose maps are attacked. The class that is kept is the one predicted for x.
        """


def valid(x: Tensor, y: Tensor, eps: float | Tensor, bounds: Bounds | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return images without a graph, classes, and eps shaped like the images.

    Raises:
        ArgumentError: If x is no floating-point batch or lies outside the bounds, or y or eps do not fit it.
    """
    checks.images("x", x)
    checks.labels(y, len(x))
    x, y = differentiable(x).detach(), differentiable(y).to(x.device)
    low, high = edges(x, bounds)
    if low is not None and high is not None:
        room = _TOLERANCE * (high - low)
        if bool(((x < low - room) | (x > high + room)).any()):
            raise ArgumentError(
                f"x has values from {float(x.min()):g} to {float(x.max()):g}, outside the bounds, so an attack within "
                "them could not start from it; pass the bounds of what the model takes (InputSpace.bounds), or None."
            )
    return x, y, _broadcast("eps", eps, x)


def edges(x: Tensor, bounds: Bounds | None) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the least and the greatest value of every entry, shaped like x.

    Raises:
        ArgumentError: If the bounds do not fit the images.
    """
    if bounds is None:
        return None, None
    low, high = (_broadcast("bounds", edge, x) for edge in bounds)
    return low, high


def check_bounds(bounds: Bounds | None) -> None:
    """Raise `ArgumentError` unless the lower bound is below the upper one."""
    if bounds is not None and not bool((torch.as_tensor(bounds[0]) < torch.as_tensor(bounds[1])).all()):
        raise ArgumentError("the bounds leave no room: pass (low, high) with every low below its high.")


def _broadcast(name: str, value: float | Tensor, x: Tensor) -> Tensor:
    value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    try:
        return differentiable(value).detach().expand_as(x)
    except RuntimeError as error:
        raise ArgumentError(
            f"{name} has shape {list(value.shape)}, which does not broadcast to the images {list(x.shape)}; pass a "
            f"number, or one a channel as [1, {x.shape[1]}, 1, 1]."
        ) from error
