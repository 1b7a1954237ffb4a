"""Guided backpropagation: only what is positive travels back, through units that were on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.propagation import Call, Propagation
from gradsculpt.gradients import Model


@dataclass(frozen=True)
class GuidedBackprop(Attribution):
    """The gradient of the class logit, of which every rectifier lets only the positive part of units that are on pass.

    A unit is on where its pre-activation z is positive, and passes relu(g) 1(z > 0) of the gradient g that reaches it.
    This holds for ReLU and for every activation that is a smooth or leaky form of it: ReLU6, LeakyReLU, PReLU, ELU,
    CELU, SELU, GELU, SiLU, Mish, Softplus, Hardswish, clamping below at 0. Functions that saturate, such as the sigmoid
    of a gate, keep their derivative. One forward and one backward pass.

    Raises:
        ArgumentError: If x is no floating-point batch or a target is out of range.

    Source: Springenberg et al. 2015 (Striving for simplicity); Joo et al., AAAI 2023 (local gradient alignment).
    Deviation: On smooth networks captum returns the plain gradient; the released code of local gradient alignment has
        the gate sigmoid(beta z) for Softplus, and leaves out the scale of batch normalisation.

    Example:
        >>> x = torch.tensor([[[[2.0, -1.0, 3.0]]]])
        >>> GuidedBackprop()(lambda t: t.relu().flatten(1) @ torch.tensor([[1.0], [1.0], [-1.0]]), x)
        tensor([[[[1., 0., 0.]]]])
    """

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the guided gradients, shape [N, C, H, W]."""
        return _Guided().maps(model, x, target, create_graph=create_graph)[0]


class _Guided(Propagation):
    """Rectifiers propagate by the guided rule."""

    def called(self, call: Call) -> Any:
        return self.ruled(call, _guide) if call.is_rectifier else super().called(call)


def _guide(inputs: Sequence[Tensor], g: Tensor) -> tuple[Tensor]:
    (z, *_), passed = inputs, g.relu()
    return (torch.where(z > 0, passed, 0.0).to(z.dtype),)
