"""Guided backpropagation: only what is positive travels back, through units that were on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.propagation.engine import Propagation, by_channels
from gradsculpt.attributions.propagation.rectifiers import LARGER, Rectifier
from gradsculpt.dispatch import Call, Handler, Kind
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model


@dataclass(frozen=True)
class GuidedBackprop(Attribution):
    """The gradient of the class logit, of which every rectifier lets only the positive part of units that are on pass.

    A unit is on where its pre-activation z is positive, and passes relu(g) 1(z > 0) of the gradient g that reaches it.
    This holds for ReLU and for every activation that is a smooth or leaky form of it: ReLU6, LeakyReLU, PReLU, ELU,
    CELU, SELU, GELU, SiLU, Mish, Softplus, Hardswish, clamping below at 0. Clamping below at c, and the larger of a map
    and a constant c, are the same at z > c. One forward and one backward pass.

    Functions that saturate, such as the sigmoid of a gate or clamping at two levels around 0, keep their derivative,
    and so do max pooling, attention and products, and clamping at a small positive number what is not negative, which
    guards a quotient.

    Raises:
        ModelError: If the network has no rectifier; if it has a kink that cannot be read as one, such as
            `t * (t > 0)`, `torch.where(t > 0, t, 0)` or `t.abs()`; or if it is TorchScript.
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
        maps = by_channels(lambda images: _maps(model, images, target, create_graph), x, create_graph)
        return maps.contiguous() if x.is_contiguous() else maps


def _maps(model: Model, x: Tensor, target: Tensor | None, create_graph: bool) -> Tensor:
    propagation, guided = Propagation(create_graph), False

    def guide(call: Call) -> Any:
        nonlocal guided
        found = propagation.rectifier(call)
        if found is None:
            # Cut at two levels it saturates; cut above only, or the larger of two maps, is left to be refused.
            two = call.operator.kind is Kind.CLAMP and call.levels[0] is not None
            return propagation.plain(call) if two else call()
        guided = True
        # By the output, which is positive where the pre-activation is, and which the next layer keeps anyway.
        if call.name in ("relu", "relu6") or (call.operator.kind is Kind.CLAMP and call.is_rectifier):
            return propagation.ruled(call, _guide_by_output, with_inputs=False, with_output=True)
        return propagation.ruled(call, partial(_guide, found))

    handlers: dict[str | Kind, Handler] = dict.fromkeys((Kind.RECTIFIER, Kind.CLAMP, *LARGER), guide)
    handlers[Kind.SATURATING] = propagation.plain
    maps, *_ = propagation.maps(model, x, target, handlers)
    if not guided:
        raise ModelError(
            "the network has no rectifier (ReLU or a form of it), so there is nothing to guide: the map would be "
            "the plain gradient. Take Gradient."
        )
    return maps


def _guide(found: Rectifier, saved: Sequence[Tensor], g: Tensor) -> tuple[Tensor | None, ...]:
    z = saved[found.place]
    passed = torch.where(z > found.level, g.relu(), 0.0).to(z.dtype)
    return *[None] * found.place, passed.sum_to_size(z.shape)


def _guide_by_output(saved: Sequence[Tensor], g: Tensor) -> tuple[Tensor]:
    passed = torch.ops.aten.threshold_backward(g, saved[-1].detach(), 0)
    return (passed.relu() if torch.is_grad_enabled() else passed.relu_(),)
