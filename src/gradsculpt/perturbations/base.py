"""How the inner maximum of adversarial training is found."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor

from gradsculpt.penalties import Penalty

LossGradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps a batch to its per-sample losses [N] and their gradients, shaped like the batch."""

State = dict[str, Any]
"""What is carried from one training step to the next; a step returns a new one, and leaves the one it got as it is."""


@dataclass(frozen=True)
class InnerLoss:
    """The loss that a perturbation is to raise: a `LossGradient` that gives `values` without the backward pass.

    Shape: a batch [N, C, H, W] to losses [N] and gradients like the batch.
    Units: of the batch, model input.
    """

    gradient: LossGradient
    values: Callable[[Tensor], Tensor]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient."""
        return self.gradient(inputs)


class Perturbation(ABC):
    """A solver of max over delta of L(x + delta) - h(delta), with h the conjugate of a penalty.

    To write one, derive a frozen dataclass and give it `step`, which hands on the state that it was handed. One that
    carries something from training step to training step says in `initial_state` what it begins with.

    Attributes:
        replays: How many training steps in a row want the same batch.
        needs_penalty: Whether the result depends on the penalty.
        needs_randomness: Whether the generator is used; others are called without one.
        needs_backward: Whether it learns from the backward pass of the training step, from the gradient of the leaf
            x + delta, which is then added to the state as "inputs".
        one_gradient: Whether it trusts the gradient at x over its whole length.

    Shape: x and delta are [N, C, H, W].
    Units: model input.

    Example:
        >>> import torch
        >>> from gradsculpt.penalties import L1
        >>> class Half(Perturbation):
        ...     def step(self, state, loss_gradient, x, penalty):
        ...         return penalty.dual(loss_gradient(x)[1]) / 2, state
        >>> Half().step({}, lambda x: (x.sum(dim=1), torch.ones_like(x)), torch.zeros(1, 2), L1(0.5))
        (tensor([[0.2500, 0.2500]]), {})
    """

    replays: int = 1
    needs_penalty: ClassVar[bool] = True
    needs_randomness: ClassVar[bool] = False
    needs_backward: ClassVar[bool] = False
    one_gradient: ClassVar[bool] = False

    def initial_state(self) -> State:
        """Return the state before the first step; empty, unless something is carried."""
        return {}

    @abstractmethod
    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return a perturbation of each sample of x, shaped like x and without a graph, and the state after it.

        The perturbation is in the precision of x; while it is sought, it is held in float32 at least.

        Args:
            state: From `initial_state`, or from the step before.
            loss_gradient: One forward and one backward pass. At the clean batch it is called with x itself, which other
                terms of a loss may have passed already.
            x: The clean batch [N, C, H, W].
            penalty: The penalty h*, with attention bound where it needs it.
            generator: Source of randomness, on the device of x; by default PyTorch's own.
        """

    def learnt(self, state: State) -> State:
        """Return the state once its training pass was propagated back: tensors alone, fit for a checkpoint."""
        return state

    def scaled(self, factor: float) -> "Perturbation":
        """Return the solver for a penalty that was multiplied by a factor: itself, if it follows the penalty."""
        return self


def moved(x: Tensor, delta: Tensor) -> Tensor:
    """Return x + delta without a graph, in the type of x, whatever that of delta is."""
    return (x.detach() + delta).to(x.dtype)
