"""Guided backpropagation: only what is positive travels back, through units that were on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.propagation.engine import Propagation, by_channels
from gradsculpt.attributions.propagation.rectifiers import LARGER, Rectifier, SelfGates
from gradsculpt.dispatch import Call, Handler, Kind
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Model, local_gradients

Gate = Literal["step", "slope"]


@dataclass(frozen=True)
class GuidedBackprop(Attribution):
    """The gradient of the class logit, of which every rectifier lets only the positive part of units that are on pass.

    A unit is on where its pre-activation z is positive, and passes relu(g) 1(z > 0) of the gradient g that reaches it.
    This holds for ReLU and for every activation that is a smooth or leaky form of it: ReLU6, LeakyReLU, PReLU, ELU,
    CELU, SELU, GELU, SiLU, Mish, Softplus, Hardswish, clamping below at 0. Clamping below at c, and the larger of a map
    and a constant c, are the same at z > c. One forward and one backward pass.

    So is what a map makes with a gate of itself, x sigmoid(c x) with c > 0, which is SiLU written out.

    Functions that saturate, such as the sigmoid of a gate or clamping at two levels around 0, keep their derivative,
    and so do max pooling, attention and products, and clamping at a small positive number what is not negative, which
    guards a quotient.

    Args:
        gate: What a rectifier passes of relu(g): step, all of it through units that are on; or slope, relu(g) times its
            own slope at z, which for Softplus is sigmoid(beta z). They differ where a rectifier is no ReLU. By steps,
            the map of a smooth network changes with the image only where a unit goes on or off, so no gradient leads an
            attack on it.

    Raises:
        ModelError: If the network has no rectifier; if it has a kink that cannot be read as one, such as
            `t * (t > 0)`, `torch.where(t > 0, t, 0)` or `t.abs()`; or if it is TorchScript.
        ArgumentError: If x is no floating-point batch or a target is out of range.

    Source: Springenberg et al. 2015 (Striving for simplicity); Joo et al., AAAI 2023 (local gradient alignment).
    Deviation: On smooth networks captum returns the plain gradient; the released code of local gradient alignment
        has slopes in the place of the steps of the paper, and leaves out the scale of batch normalisation.

    Example:
        >>> x = torch.tensor([[[[2.0, -1.0, 3.0]]]])
        >>> GuidedBackprop()(lambda t: t.relu().flatten(1) @ torch.tensor([[1.0], [1.0], [-1.0]]), x)
        tensor([[[[1., 0., 0.]]]])
    """

    gate: Gate = "step"

    def __post_init__(self) -> None:
        checks.one_of("gate", self.gate, get_args(Gate))

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the guided gradients, shape [N, C, H, W]."""
        maps = by_channels(lambda images: _maps(model, images, target, create_graph, self.gate), x, create_graph)
        return maps.contiguous() if x.is_contiguous() else maps


def _maps(model: Model, x: Tensor, target: Tensor | None, create_graph: bool, gate: Gate) -> Tensor:
    propagation, guided = Propagation(create_graph), False

    def guide(call: Call) -> Any:
        nonlocal guided
        found = propagation.rectifier(call)
        if found is None:
            # Cut at two levels it saturates; cut above only, or the larger of two maps, is left to be refused.
            saturates = call.operator.kind is Kind.CLAMP and isinstance(call.levels[0], int | float)
            return propagation.plain(call) if saturates and len(call.tensors) == 1 else call()
        guided = True
        if gate == "slope":
            return propagation.ruled(call, partial(_guide_by_slope, call))
        # By the output, which is positive where the pre-activation is, and which the next layer keeps anyway.
        if call.name in ("relu", "relu6") or (call.operator.kind is Kind.CLAMP and call.is_rectifier):
            return propagation.ruled(call, _guide_by_output, with_inputs=False, with_output=True)
        return propagation.ruled(call, partial(_guide, found))

    handlers: dict[str | Kind, Handler] = dict.fromkeys((Kind.RECTIFIER, Kind.CLAMP, *LARGER), guide)
    gates = SelfGates()

    def multiply(call: Call) -> Any:
        nonlocal guided
        found = gates.gated(call)
        if found is None:
            return gates.noting(call, call())
        guided = True
        rule = partial(_guide_by_slope, call) if gate == "slope" else partial(_guide, found)
        return propagation.ruled(call, rule)

    handlers[Kind.SATURATING] = lambda call: gates.noting(call, propagation.plain(call))
    handlers |= dict.fromkeys(("mul", "multiply"), multiply)
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


def _guide_by_slope(call: Call, saved: Sequence[Tensor], g: Tensor) -> Sequence[Tensor | None]:
    return local_gradients(call.of_tensors, saved, g.relu(), [t.requires_grad for t in saved])
