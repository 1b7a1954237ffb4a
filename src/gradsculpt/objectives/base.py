"""What training minimises."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from gradsculpt.gradients import Model


@dataclass(frozen=True)
class Losses:
    """The result of an objective on one batch.

    Args:
        loss: What to call `backward` on; a scalar, averaged over the batch.
        logits: [N, K], of the inputs on which the data term was computed.
        terms: The parts whose sum is the loss, by name.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]


class Objective(ABC):
    """A training loss: one data term, and in some objectives regularisers of the input gradient."""

    @abstractmethod
    def __call__(self, model: Model, x: Tensor, y: Tensor, attention: Tensor | None = None) -> Losses:
        """Evaluate the loss of a batch.

        Args:
            model: Any callable from [N, C, H, W] to logits [N, K].
            x: What the model takes, [N, C, H, W].
            y: Class indices [N].
            attention: Attention maps [N, 1, H, W], for penalties that follow them.
        """
