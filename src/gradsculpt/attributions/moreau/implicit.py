"""The derivative of a fixed point, without a graph of the steps that led there."""

import torch
from torch import Tensor

from gradsculpt.attributions.moreau.envelope import Envelope
from gradsculpt.gradients import gradient_at, input_gradient
from gradsculpt.numerics import divided, per_sample

_STEPS = 50  # at most, of conjugate gradients


def differentiable_map(problem: Envelope, x: Tensor, delta: Tensor, dual: Tensor, generator: torch.Generator) -> Tensor:
    """Return the maps -delta / lambda with the derivative that the fixed point delta = prox(-lambda dual(x)) has.

    A vector v that is propagated back is first turned into u, which solves u + lambda H J u = v with the Hessian H of f
    and the derivative J of the proximal map, by conjugate gradients in the inner product <a, J b>: J is symmetric
    and positive semidefinite, and at a minimum so is the operator. The rest is one differentiable gradient.

    x has its history, delta is the minimiser, and dual the gradient of f at x + delta that it goes with.
    """
    # An own point, so that derivatives can be taken even where nobody asks for those of the images.
    point = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
    gradients = [
        input_gradient(problem.scores, (point + delta + noise).flatten(0, 1), create_graph=True)[1]
        for noise in problem.noise(problem.samples, generator)
    ]
    gradient = torch.cat(gradients).view(-1, *x.shape).mean(dim=0)
    # The value is that of the solver; gradients of other noise only lend their derivative.
    before = -problem.lambda_ * (dual + gradient - gradient.detach())
    after = problem.shrink(before)
    maps = -(after + (delta - after).detach()) / problem.lambda_
    if maps.requires_grad:
        maps.register_hook(lambda v: _solved(problem, point, gradient, before.detach(), v))
    return maps


def _solved(problem: Envelope, point: Tensor, gradient: Tensor, before: Tensor, v: Tensor | None) -> Tensor | None:
    """Solve u + lambda H J u = v, up to parts of u that J takes to 0."""
    if v is None:  # what autograd hands over where no gradient came in
        return None

    def curved(t: Tensor) -> Tensor:
        return problem.lambda_ * gradient_at(gradient, point, t, keep=True)

    def thresholded(t: Tensor) -> Tensor:
        # J is symmetric, so the gradient of <prox, t> is J t.
        return input_gradient(lambda inner: per_sample(problem.shrink(inner) * t), before)[1]

    solution, rest = torch.zeros_like(v), v
    inner = thresholded(rest)
    direction, turned = rest, inner
    size = _dot(rest, inner)
    least = (10 * torch.finfo(v.dtype).eps) ** 2 * size
    for _ in range(_STEPS):
        going = size > least
        if not bool(going.any()):
            break
        image = direction + curved(turned)
        energy = _dot(image, turned)
        # Without positive curvature the point is no minimum in this direction, and going on would not help.
        going = going & (energy > 0)
        step = torch.where(going, size / torch.where(going, energy, 1.0), 0.0)
        solution, rest = solution + step * direction, rest - step * image
        inner = thresholded(rest)
        new = _dot(rest, inner)
        ratio = torch.where(going, divided(new, size), 0.0)
        direction, turned, size = rest + ratio * direction, inner + ratio * turned, torch.where(going, new, 0.0)
    return solution


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)
