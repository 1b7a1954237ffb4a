"""The input times its map."""

from dataclasses import dataclass, field

from torch import Tensor

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import Gradient
from gradsculpt.attributions.sampling import arithmetic, source
from gradsculpt.gradients import Model


@dataclass(frozen=True)
class InputXGradient(Attribution):
    """The image times its map, entry by entry: for a linear function without a bias, what each entry adds.

    The image is taken as the model takes it, so where a model has normalised input, an entry at the mean of the
    dataset has no attribution.

    Args:
        base: The map that the image is multiplied by.

    Raises: ArgumentError if x is no floating-point batch or a target is out of range.
    Source: Shrikumar et al. 2016 (Not just a black box).

    Example:
        >>> import torch
        >>> InputXGradient()(lambda x: x.flatten(1).square(), torch.tensor([[[[2.0, 1.0]]]]), torch.tensor([0]))
        tensor([[[[8., 0.]]]])
    """

    base: Attribution = field(default_factory=Gradient)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the products, shape [N, C, H, W]."""
        with arithmetic(create_graph):
            x = source(x, create_graph)
            return x * self.base(model, x, target, create_graph=create_graph)
