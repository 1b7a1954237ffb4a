"""Derivatives with respect to the input: the only place that calls autograd."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.autograd.graph import GradientEdge

from gradsculpt.devices import at_hand
from gradsculpt.diagnosis import explained, refuse_dead_ends, refuse_severed
from gradsculpt.graph import history
from gradsculpt.kernels import Reading, primitive, twice_differentiable

Model = Callable[[Tensor], Any]
"""Any callable from images [N, C, H, W] to logits [N, K], or to what `outputs.logits_of` finds them in."""


def input_gradient(
    function: Callable[[Tensor], Tensor], x: Tensor, *, create_graph: bool = False, flat: bool = False
) -> tuple[Tensor, Tensor]:
    """Evaluate a per-sample function of a batch and its gradient at each sample, by one forward and one backward pass.

    Args:
        function: Maps x [N, ...] to values [N], where value i depends on sample i alone (or, under batch
            statistics, where the gradient of the sum is wanted). Gradients of its parameters are not computed.
        x: The batch. It is never changed, and neither is its `requires_grad`.
        create_graph: Keep the graph, so that the gradient can itself be differentiated, with respect to
            parameters and, if x requires a gradient, with respect to x.
        flat: Whether the values may change with x without a gradient, as those of functions made of gradients do.

    Returns:
        The values [N] and the gradient of their sum, shaped like x: 0 of a function that ignores its input, NaN where
        the value is not finite.

    Raises: ModelError if the values change with x although no gradient leads back to it, unless `flat` allows it; or
        if autograd refuses.

    Example:
        >>> values, gradient = input_gradient(lambda x: x.square().sum(dim=1), torch.tensor([[1.0, 2.0]]))
        >>> values.tolist(), gradient.tolist()
        ([5.0], [[2.0, 4.0]])
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = differentiable(x)
        point = x if create_graph and x.requires_grad else x.detach().requires_grad_()
        with primitive() if create_graph else nullcontext():
            values = function(point)
        gradient = _connected(values, point, create_graph=create_graph)
        if gradient is None:
            if not flat:
                refuse_severed(function, point)
            gradient = torch.zeros_like(point)
        # A rectifier takes NaN for what it cuts off, so that the gradient would be 0.
        broken = ~values.detach().isfinite()
        known = at_hand(broken)
        if broken.shape == point.shape[:1] and (known is None or known.any()):
            gradient = gradient.masked_fill(broken.view(-1, *[1] * (gradient.ndim - 1)), torch.nan)
    return (values, gradient) if create_graph else (values.detach(), gradient)


def local_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], g: Tensor, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Return the gradients of <g, function(*inputs)> with respect to those inputs that are wanted, None for the others.

    Each input counts by itself, also where two are one tensor. Where gradients are enabled the result has a graph.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        pairs = zip(inputs, wanted, strict=True)
        points = [t.view_as(t) if create_graph else t.detach().requires_grad_(w) for t, w in pairs]
        with primitive() if create_graph else nullcontext():
            value = function(*points)
        asked = [point for point, w in zip(points, wanted, strict=True) if w]
        gradients = torch.autograd.grad(value, asked, g.to(value.dtype), create_graph=create_graph, allow_unused=True)
    remaining = iter(gradients)
    return [next(remaining) if w else None for w in wanted]


def gradient_at(
    values: Tensor,
    point: Tensor | GradientEdge,
    weights: Tensor | None = None,
    *,
    create_graph: bool = False,
    keep: bool = False,
) -> Tensor:
    """Return the gradient of the sum of values by something on the way to them, shaped like it; 0 if it is not.

    A place in the graph stands for the tensor that was computed there, also if it has been overwritten since. With
    weights it is that of the weighted sum; of a gradient, so a product with the Hessian. The graph is kept on request,
    and where the gradient has one.
    """
    total, keep = values.sum() if weights is None else values, keep or create_graph
    with explained():
        (gradient,) = torch.autograd.grad(
            total,
            point,
            weights,
            create_graph=create_graph,
            retain_graph=keep,
            materialize_grads=isinstance(point, Tensor),
        )
    if create_graph:
        refuse_dead_ends(gradient)
    return gradient


def _connected(values: Tensor, point: Tensor, *, create_graph: bool = False, keep: bool = False) -> Tensor | None:
    """Return the gradient of the sum of values by a point, None if no way leads back to it."""
    if not values.requires_grad:
        return None
    with explained():
        (gradient,) = torch.autograd.grad(
            values.sum(), point, create_graph=create_graph, retain_graph=keep or create_graph, allow_unused=True
        )
    if create_graph and gradient is not None:
        refuse_dead_ends(gradient)
    return gradient


def pullback(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return function(x) and what pulls a gradient of it back to x, both with a graph if gradients are enabled."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        point = x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()
        with primitive() if create_graph else nullcontext():
            value = function(point)

    def pull(g: Tensor) -> Tensor:
        with torch.enable_grad():
            return gradient_at(value, point, g, create_graph=create_graph, keep=True)

    return value if create_graph else value.detach(), pull


class Recording:
    """A forward pass that keeps its graph: its input gradients can be read, and read again.

    Args:
        function, x: What is evaluated, and where; x stays as it is.
        tracked: Whether input gradients will be read; without, this is nothing but the forward pass.
        order: The highest derivative that will be taken; 2, for a gradient that is differentiated once, saves memory.

    Attributes:
        point, output: The leaf that the pass started from, x without its history, and what the function returned.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], x: Tensor, *, tracked: bool = True, order: int = 3
    ) -> None:
        with torch.inference_mode(False):
            self.point = differentiable(x).detach().requires_grad_() if tracked else x
            self._function, self._reading = function, Reading(self.point, order)
            with explained(), twice_differentiable(self._reading) if tracked else nullcontext():
                self.output = function(self.point)

    def gradient(self, values: Tensor, *, create_graph: bool = False) -> Tensor:
        """Return the gradient of the sum of values, which were computed from the output, shaped like x.

        The graph is kept, so that a loss of the output can still be propagated back to the parameters. `ModelError` if
        the output changes with x although no gradient leads back to it, or if autograd refuses.
        """
        self._reading.inputs_only = True
        try:
            gradient = _connected(values, self.point, create_graph=create_graph, keep=True)
            if gradient is None:
                if _connected(self.output, self.point, keep=True) is None:
                    refuse_severed(self._function, self.point)
                gradient = torch.zeros_like(self.point)
        finally:
            self._reading.inputs_only = False
        return gradient

    def hessian_product(self, gradient: Tensor, vector: Tensor, *, create_graph: bool = True) -> Tensor:
        """Return the derivative of <gradient, vector> by x; the gradient must have a graph, if it depends on x."""
        return self.gradient(gradient * vector, create_graph=create_graph)


def backpropagated(loss: Tensor, *, apart: Tensor | None = None) -> Tensor:
    """Propagate a loss back to its leaves at once, and return it with nothing but their gradients attached.

    The graph of the loss is freed; `backward` on what is returned, or on a sum with it, hands the gradients over, once.
    The loss is returned as it is where that would change something: if a leaf has hooks, which would be called twice,
    or in float16, where a loss is scaled before it is propagated. `apart` is a leaf whose gradient is not wanted.
    """
    kind = loss.device.type
    half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    leaves = [node.variable for node in history(loss.grad_fn) if hasattr(node, "variable")]
    leaves = [leaf for leaf in leaves if leaf is not apart]
    if not leaves or half or any(leaf._backward_hooks for leaf in leaves):
        return loss
    with explained():
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    result: Tensor = _Backpropagated.apply(loss.detach(), gradients, *leaves)
    return result


class _Backpropagated(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: tuple[Tensor | None, ...], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("this loss was propagated back already, and its graph is gone; evaluate it again.")
        factor = at_hand(g)
        there = [gradient for gradient in gradients if gradient is not None]
        if there and (factor is None or factor != 1):
            scaled = iter(torch._foreach_mul(there, g))
            gradients = tuple(None if gradient is None else next(scaled) for gradient in gradients)
        return None, None, *gradients


def leaf_gradients(value: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of a scalar by those leaves that it depends on; its graph is kept."""
    if not value.requires_grad:
        return []
    with explained():
        found = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def differentiable(t: Tensor) -> Tensor:
    """Return t, or a copy that autograd can record where t was made in inference mode."""
    with torch.inference_mode(False):
        return t.clone() if t.is_inference() else t
