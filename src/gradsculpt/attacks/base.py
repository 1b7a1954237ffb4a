"""What an attack is, and what it may be given."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import Attribution
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model, differentiable
from gradsculpt.inputs import Bounds


class Attack(ABC):
    """A small change of images that changes their maps and not their predicted classes.

    An attack of your own is a subclass, best a frozen dataclass whose fields are its settings, with a `__call__`. For
    one that follows a gradient, `Manipulation` does all but say what is wanted.

    Example:
        >>> from dataclasses import dataclass
        >>> from gradsculpt.attributions import Gradient
        >>> @dataclass(frozen=True)
        ... class Darkening(Attack):
        ...     eps: float = 0.1
        ...
        ...     def __call__(self, model, attribution, x, y):
        ...         darker = x - self.eps
        ...         kept = model(darker).argmax(dim=1) == model(x).argmax(dim=1)
        ...         return torch.where(kept.view(-1, 1, 1, 1), darker, x)
        >>> model = lambda x: x.flatten(1)
        >>> Darkening()(model, Gradient(), torch.tensor([[[[0.5, 0.3]]]]), torch.tensor([0]))
        tensor([[[[0.4000, 0.2000]]]])
    """

    @abstractmethod
    def __call__(self, model: Model, attribution: Attribution, x: Tensor, y: Tensor) -> Tensor:
        """Return the attacked images, shape [N, C, H, W].

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K]. Its mode is used as it is and no state changes.
            attribution: What reads the maps that are attacked.
            x: The clean images, [N, C, H, W].
            y: The classes [N] whose maps are attacked. The class that is kept is the one predicted for x.
        """


def valid(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return images without a graph, and classes; raise `ArgumentError` unless they are batches that fit."""
    checks.images("x", x)
    checks.labels(y, len(x))
    return differentiable(x).detach(), differentiable(y).to(x.device)


def check_bounds(bounds: Bounds | None) -> None:
    """Raise `ArgumentError` unless the lower bound is below the upper one."""
    if bounds is not None and not bool((torch.as_tensor(bounds[0]) < torch.as_tensor(bounds[1])).all()):
        raise ArgumentError("the bounds leave no room: pass (low, high) with every low below its high.")
