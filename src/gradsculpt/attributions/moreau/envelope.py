"""The Moreau envelope of a class output: what is minimised, and the derivative that its minimiser has."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gradsculpt.attributions.gradient import Output, class_output
from gradsculpt.attributions.sampling import Passes
from gradsculpt.attributions.sampling import noise as standard_normal
from gradsculpt.gradients import gradient_at, input_gradient
from gradsculpt.numerics import divided, per_sample, wide
from gradsculpt.outputs import logits_at
from gradsculpt.penalties.base import Penalty

_STEPS = 50  # at most, of conjugate gradients


class EnvelopeValue(NamedTuple):
    """The penalised envelope of each image at a perturbation, over the same noise as at the perturbation 0.

    Args:
        value, standard_error: Mean class output + |delta|^2 / (2 lambda) + penalty, and its standard error, [N].
        decrease, decrease_error: The value at 0 minus `value`, [N]; its error is small, as both share their noise.
    """

    value: Tensor
    standard_error: Tensor
    decrease: Tensor
    decrease_error: Tensor


@dataclass(frozen=True)
class Envelope:
    """Minimise over delta: the mean of f(x + delta + noise) over the noise + |delta|^2 / (2 lambda) + penalty(delta).

    The settings are those of `MoreauGrad`; x has no history, and `level`, [N, 1, 1, 1], is the standard deviation of
    the noise of each image, of which a single copy is read where it is 0. delta is in float32 at least, whatever x is.
    """

    passes: Passes
    x: Tensor
    target: Tensor
    output: Output
    level: Tensor
    lambda_: float
    penalty: Penalty | None
    samples: int

    def of(self, chosen: Tensor) -> "Envelope":
        """Return the problem of some of the images, given by their indices."""
        return replace(self, x=self.x[chosen], target=self.target[chosen], level=self.level[chosen])

    def shrink(self, v: Tensor) -> Tensor:
        """Return the delta that is least in |delta - v|^2 / (2 lambda) + penalty(delta)."""
        return v if self.penalty is None else self.penalty.prox(v, self.lambda_)

    def mean_gradient(self, delta: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean over fresh noise of the gradient of f at x + delta, [N, C, H, W]."""
        total, count = torch.zeros(()), 0
        for noise in self.noise(self.samples, generator):
            points = (self.x + delta + noise).to(self.x.dtype)
            gradient = self.passes.by_pieces(self._gradients, points.flatten(0, 1), self._classes(points))
            total = total + wide(gradient.view(points.shape)).sum(dim=0)
            count += len(points)
        return total / count

    def objective(self, delta: Tensor, samples: int, generator: torch.Generator) -> EnvelopeValue:
        """Return the objective at delta and at 0, over the same noise, with standard errors."""
        here: list[Tensor] = []
        there: list[Tensor] = []
        with torch.no_grad():
            for noise in self.noise(samples, generator):
                for outputs, shift in ((here, delta), (there, torch.zeros_like(delta))):
                    points = (self.x + shift + noise).to(self.x.dtype)
                    scores = self.passes.by_pieces(self.scores, points.flatten(0, 1), self._classes(points))
                    outputs.append(scores.view(points.shape[:2]).double())
            values, differences = torch.cat(here), torch.cat(there) - torch.cat(here)
            cost = per_sample(delta.double().square()) / (2 * self.lambda_)
            if self.penalty is not None:
                cost = cost + self.penalty.value(delta).double()
        count = len(values)
        errors = [t.std(dim=0) * count**-0.5 if count > 1 else torch.zeros_like(t[0]) for t in (values, differences)]
        return EnvelopeValue(values.mean(dim=0) + cost, errors[0], differences.mean(dim=0) - cost, errors[1])

    def scores(self, inputs: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return the class output of each of several copies of the images, one after the other, or of other classes."""
        classes = self.target.repeat(len(inputs) // len(self.target)) if classes is None else classes
        return class_output(logits_at(self.passes.model, inputs), classes, self.output)

    def _gradients(self, inputs: Tensor, classes: Tensor) -> Tensor:
        return input_gradient(lambda points: self.scores(points, classes), inputs)[1]

    def _classes(self, points: Tensor) -> Tensor:
        return self.target.repeat(len(points))

    def noise(self, samples: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield groups of noise for the images, [S, N, C, H, W]; a single 0 if their level is 0."""
        # Noise that was averaged away would leave sums of rounding errors behind: one sample is enough without it.
        samples = samples if bool((self.level > 0).any()) else 1
        drawn = standard_normal(self.x, self.passes.groups(samples, len(self.x)), generator)
        return (self.level * noise for noise in drawn)


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
        input_gradient(problem.scores, (point + delta + noise).to(x.dtype).flatten(0, 1), create_graph=True)[1]
        for noise in problem.noise(problem.samples, generator)
    ]
    gradient = wide(torch.cat(gradients)).view(-1, *x.shape).mean(dim=0)
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
        return problem.lambda_ * wide(gradient_at(gradient, point, t, keep=True))

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
