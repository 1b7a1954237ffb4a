"""What the kernels of one forward pass share."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Reading:
    """What is being asked of a recorded pass at the moment.

    An autograd function of PyTorch's own knows whether the gradient of its weights is wanted; one written in Python is
    told only that its weights have gradients. Here it can look.

    Args:
        point: The inputs of the pass. They are a leaf of its own, whose gradient is wanted only while `inputs_only` is
            set.
        order: The highest derivative that will be taken.
        inputs_only: Whether gradients of the inputs are being read, and none of parameters.
    """

    point: Tensor | None = None
    order: int = 3
    inputs_only: bool = field(default=False, init=False)
