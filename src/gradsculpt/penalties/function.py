"""A penalty from any convex function."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError, ConvergenceError
from gradsculpt.gradients import input_gradient
from gradsculpt.numerics import in_range
from gradsculpt.penalties.base import Penalty, Size
from gradsculpt.penalties.convex import Minimum, minimise
from gradsculpt.wording import counted

_ACCURACY = 1e-11


@dataclass(frozen=True)
class FunctionPenalty(Penalty):
    """The penalty h* = fn, for any convex function of a gradient map.

    `value` and `dual`, all that one-step adversarial training needs, are one call of `fn` and of autograd. The other
    operations solve convex problems numerically, in float64, and vouch for the result; fn has to be differentiable.

    Args:
        fn: Maps g [N, ...] to [N]; convex, each value from its own sample alone.

    Raises:
        ArgumentError: If fn returns another shape, or has no finite derivative where one is needed.
        ConvergenceError: If a numerical solution cannot be vouched for, for instance at a kink of fn.

    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.2, Proposition 1, for a general h*.

    Example:
        >>> FunctionPenalty(lambda g: g.square().sum(dim=1)).conjugate(torch.tensor([[2.0, 0.0]]))
        tensor([1.])
    """

    fn: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        checks.declared(self)

    def value(self, g: Tensor) -> Tensor:
        """Return fn(g), shape [N]."""
        values = self.fn(g)
        if values.shape != g.shape[:1]:
            raise ArgumentError(
                f"fn returned shape {list(values.shape)} for {counted(len(g), 'samples')}; return one value a sample, "
                f"shape [{len(g)}], for instance with .flatten(1).sum(dim=1)."
            )
        return values

    def dual(self, g: Tensor) -> Tensor:
        """Return the gradient of fn at g, as autograd gives it (at a kink, the subgradient that it chooses)."""
        gradient = input_gradient(self.value, g)[1]
        if not bool(gradient.isfinite().all()):
            raise ArgumentError(
                "fn has no finite derivative at one of these gradients, so there is no perturbation to take. "
                "Mind roots and quotients at 0: torch.linalg.vector_norm is safe, x.square().sum().sqrt() is not."
            )
        return gradient

    def conjugate(self, delta: Tensor) -> Tensor:
        """Return sup over g of <g, delta> - fn(g), shape [N], accurate to about 1e-9; inf if unbounded."""
        target = _working_copy(delta)

        def objective(u: Tensor) -> Tensor:
            return self.value(u.view(delta.shape)) - (u * target).sum(dim=1)

        tolerance = _ACCURACY * (1 + target.norm(dim=1))
        return -_minimum("conjugate", objective, torch.zeros_like(target), tolerance).value.to(in_range(delta.dtype))

    def prox(self, v: Tensor, step: Size) -> Tensor:
        """Return argmin over u of fn(u) + |u - v|^2 / (2 step), accurate to about 1e-9, shaped like v."""
        checks.positive("step", step)
        start = _working_copy(v)
        steps = _working_copy(torch.as_tensor(step, dtype=torch.float64, device=v.device).expand(v.shape))

        def objective(u: Tensor) -> Tensor:
            return self.value(u.view(v.shape)) + ((u - start).square() / (2 * steps)).sum(dim=1)

        # The objective is strongly convex with modulus 1 / step, so a gradient r bounds the error by step * |r|.
        tolerance = _ACCURACY * (1 + start.norm(dim=1)) / steps.amax(dim=1)
        return _minimum("prox", objective, start, tolerance).point.to(v.dtype).view(v.shape)


def _working_copy(t: Tensor) -> Tensor:
    # The solver can differentiate with the copy even if t was made in inference mode.
    with torch.inference_mode(False):
        return t.detach().to(torch.float64, copy=True).flatten(1)


def _minimum(operation: str, objective: Callable[[Tensor], Tensor], start: Tensor, tolerance: Tensor) -> Minimum:
    with torch.inference_mode(False):
        lowest = minimise(lambda u: input_gradient(objective, u), start, tolerance)
    # Rounding keeps stiff functions from the last digits; what is still good to 1e-9 passes.
    worst = float((lowest.residual / tolerance).max()) if len(start) else 0.0
    if not worst <= 100:
        raise ConvergenceError(
            f"{operation} of this function did not converge: its optimality residual is {worst:.1g} times the "
            "tolerance. Functions with kinks, or of very uneven curvature, need a Penalty subclass with their prox in "
            "closed form; dual and value work as they are."
        )
    return lowest
