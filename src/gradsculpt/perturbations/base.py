"""How the inner maximum of adversarial training is found."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from gradsculpt.penalties import Penalty

LossGradient = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps a batch to its per-sample losses [N] and their gradients, shaped like the batch."""


class Perturbation(ABC):
    """A solver of max over delta of L(x + delta) - h(delta), with h the conjugate of a penalty."""

    @abstractmethod
    def __call__(self, loss_gradient: LossGradient, x: Tensor, penalty: Penalty) -> Tensor:
        """Return a perturbation of each sample of x, shaped like x, without a graph.

        Args:
            loss_gradient: The loss and its gradient at a batch; each call is one forward and one backward pass.
            x: The clean batch [N, C, H, W].
            penalty: The penalty h*, with attention bound where it needs it.
        """

    @property
    def replays(self) -> int:
        """How many training steps in a row want the same batch."""
        return 1

    def watch(self, inputs: Tensor) -> Tensor:
        """Return the perturbed batch for the training pass; a solver that learns from that pass attaches to it here."""
        return inputs
