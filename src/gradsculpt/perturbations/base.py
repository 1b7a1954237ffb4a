"""How the inner maximum of adversarial training is found."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt.penalties import Penalty

LossGradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps a batch to its per-sample losses [N] and their gradients, shaped like the batch."""


@dataclass(frozen=True)
class InnerLoss:
    """The loss that a perturbation is to raise: a `LossGradient` that can also do without the backward pass.

    Args:
        gradient: The loss and its gradient.
        values: The loss of each sample [N] alone.
    """

    gradient: LossGradient
    values: Callable[[Tensor], Tensor]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient at a batch."""
        return self.gradient(inputs)


def values_of(loss_gradient: LossGradient, inputs: Tensor) -> Tensor:
    """Return the loss of each sample, by a forward pass alone where that is possible."""
    return loss_gradient.values(inputs) if isinstance(loss_gradient, InnerLoss) else loss_gradient(inputs)[0]


class Perturbation(ABC):
    """A solver of max over delta of L(x + delta) - h(delta), with h the conjugate of a penalty.

    Attributes:
        replays: How many training steps in a row want the same batch.
        needs_penalty: Whether the result depends on the penalty.
        needs_randomness: Whether the generator is used; others are called without one.
    """

    replays: int = 1
    needs_penalty: ClassVar[bool] = True
    needs_randomness: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return a perturbation of each sample of x, shaped like x, without a graph.

        Args:
            loss_gradient: The loss and its gradient at a batch; each call is one forward and one backward pass. At
                the clean batch it is called with x itself, which other terms of a loss may have passed already.
            x: The clean batch [N, C, H, W].
            penalty: The penalty h*, with attention bound where it needs it.
            generator: Source of randomness, on the device of x; by default PyTorch's own.
        """

    def watch(self, inputs: Tensor) -> Tensor:
        """Return the perturbed batch for the training pass; a solver that learns from that pass attaches to it here."""
        return inputs

    @property
    def carried(self) -> Tensor | None:
        """What is remembered from step to step, for a checkpoint; most solvers remember nothing."""
        return None

    def restore(self, carried: Tensor | None) -> None:  # noqa: B027 - there is nothing to take up for most
        """Take up what a checkpoint holds."""

    def scaled(self, factor: float) -> "Perturbation":
        """Return the solver for a penalty that was multiplied by a factor: itself, if it follows the penalty."""
        return self
