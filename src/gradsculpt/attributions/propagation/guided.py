"""Guided backpropagation: only what is positive travels back, through units that were on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.propagation.engine import Propagation, by_channels
from gradsculpt.dispatch import Call, Handler, Kind
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
        propagation = Propagation(create_graph)
        handlers: dict[str | Kind, Handler] = {Kind.RECTIFIER: lambda call: propagation.ruled(call, _guide)}
        handlers |= dict.fromkeys(("relu", "relu6", Kind.CLAMP), partial(_by_output, propagation))
        maps, *_ = propagation.maps(model, by_channels(x, create_graph), target, handlers)
        return maps.contiguous() if x.is_contiguous() else maps


def _by_output(propagation: Propagation, call: Call) -> Any:
    """Propagate by the output, which is positive where the pre-activation is, and which the next layer keeps anyway."""
    if not call.is_rectifier:
        return call()
    return propagation.ruled(call, _guide_by_output, with_inputs=False, with_output=True)


def _guide(saved: Sequence[Tensor], g: Tensor) -> tuple[Tensor]:
    z = saved[0]
    return (torch.where(z > 0, g.relu(), 0.0).to(z.dtype),)


def _guide_by_output(saved: Sequence[Tensor], g: Tensor) -> tuple[Tensor]:
    passed = torch.ops.aten.threshold_backward(g, saved[-1].detach(), 0)
    return (passed.relu() if torch.is_grad_enabled() else passed.relu_(),)
