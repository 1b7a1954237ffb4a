"""How the minimiser of a Moreau envelope is found: one loop, in which every image stops by itself."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.moreau.envelope import Envelope
from gradsculpt.numerics import length

SolverState = dict[str, Tensor]
"""What a solver knows of each image, tensors [N, ...]. "delta" is where the next gradient is taken, "previous" where it
was taken last; "solution" is the best answer so far; "dual" is the gradient of f that this answer goes with."""


_TOLD_APART = 4  # gradients from which on the solutions of two halves tell their error


class Solver(ABC):
    """Finds the perturbation at which a Moreau envelope attains its value.

    Units: perturbations are in model input, and so is the map times lambda.
    """

    @property
    def takes_noise(self) -> bool:
        """Whether gradients may be means over fresh noise."""
        return True

    def error(self, problem: Envelope, state: SolverState, index: int) -> Tensor:
        """Return how far each solution may be from that of endless noise, as a share of its length, [N].

        It is infinite where a solver cannot tell, which is the default.
        """
        return state["delta"].new_full((len(state["delta"]),), torch.inf)

    @abstractmethod
    def start(self, problem: Envelope, delta: Tensor) -> SolverState:
        """Return the state before the first gradient, which is taken at delta."""

    @abstractmethod
    def step(self, problem: Envelope, state: SolverState, gradient: Tensor, index: int, steps: int) -> SolverState:
        """Return the state after a gradient of f at `state["delta"]`, in step `index` of 1 to `steps`."""


class Solution(NamedTuple):
    """The minimiser, and the gradient `dual` that it goes with: delta = prox(-lambda dual), up to the residual.

    `error` is that of `Solver.error`.
    """

    delta: Tensor
    dual: Tensor
    iterations: Tensor
    residual: Tensor
    error: Tensor


class Stop(NamedTuple):
    """When an image takes no further part: at this residual, below this error, or after so many steps."""

    tolerance: float
    error: float
    steps: int


def solve(problem: Envelope, solver: Solver, delta: Tensor, stop: Stop, generator: torch.Generator) -> Solution:
    """Minimise from a start, each image until it may stop."""
    state = solver.start(problem, delta)
    active = torch.arange(len(delta), device=delta.device)
    iterations = torch.zeros_like(active)
    residual = delta.new_full((len(delta),), torch.inf)
    error = residual.clone()
    for index in range(1, stop.steps + 1):
        unsolved, before = problem.of(active), {name: values[active] for name, values in state.items()}
        gradient = unsolved.mean_gradient(before["delta"], generator).to(delta.dtype)
        after = solver.step(unsolved, before, gradient, index, stop.steps)
        for name, values in after.items():
            state[name] = state[name].index_copy(0, active, values)
        residual[active] = _residual(unsolved, after)
        # Without noise there is nothing to be averaged, and the residual alone tells.
        told = solver.error(unsolved, after, index)
        error[active] = torch.where(unsolved.level.flatten() > 0, told, torch.inf)
        iterations[active] = index
        active = active[(residual[active] > stop.tolerance) & (error[active] >= stop.error)]
        if not len(active):
            break
    return Solution(state["solution"], state["dual"], iterations, residual, error)


def _residual(problem: Envelope, state: SolverState) -> Tensor:
    fixed = problem.shrink(-problem.lambda_ * state["dual"])
    moved, whole = (length(t) for t in (fixed - state["previous"], fixed))
    # A map of 0 that stays 0 is a solution. NaN is none and never becomes one: it is neither within the tolerance nor
    # outside it, so the image takes no further part.
    return torch.where(moved == 0, 0.0, moved / whole)


@dataclass(frozen=True)
class DualAveraging(Solver):
    """Regularised dual averaging: the proximal map of the mean of all gradients so far.

    The threshold of a sparse penalty meets the averaged gradient, not one spoilt by the noise of a few samples; there
    is no step size, as the quadratic term fixes the scale. One step is the proximal map of the smoothed gradient.

    Args:
        power: Gradient t has a weight proportional to t^power: 0 is the plain mean, the least noisy; more than 0
            forgets gradients taken far from the solution.

    Raises: ArgumentError if the power is negative.
    Source: Xiao, JMLR 2010 (regularised dual averaging, strongly convex regularisation).
    """

    power: float = 0.0

    def __post_init__(self) -> None:
        checks.each_at_least(self, power=0)

    def start(self, problem: Envelope, delta: Tensor) -> SolverState:
        """Start with no gradients."""
        zeros = torch.zeros_like(delta)
        points = {"delta": delta, "previous": delta, "solution": delta}
        return {**points, "dual": zeros, "odd": zeros, "even": zeros}

    def step(self, problem: Envelope, state: SolverState, gradient: Tensor, index: int, steps: int) -> SolverState:
        """Let a gradient into the mean, and into that of every second one."""
        half = "odd" if index % 2 else "even"
        means = {name: self._with(state[name], gradient, index, every) for name, every in (("dual", 1), (half, 2))}
        delta = problem.shrink(-problem.lambda_ * means["dual"])
        return {**state, **means, "delta": delta, "previous": state["delta"], "solution": delta}

    def error(self, problem: Envelope, state: SolverState, index: int) -> Tensor:
        """Return the standard error, from the distance between the answers by every second gradient and by the others.

        What the first gradients, taken far from the solution, still weigh is part of the distance too. It is infinite
        before the fourth gradient, as two answers may agree by chance.
        """
        if index < _TOLD_APART:
            return super().error(problem, state, index)
        odd, even = (problem.shrink(-problem.lambda_ * state[half]) for half in ("odd", "even"))
        # Of two means of a and b values, the difference varies (a + b)^2 / ab times as much as the mean of all does.
        weights = [sum(self._weights(last, 2)) for last in (index, index - 1)]
        apart = length(odd - even) * (math.sqrt(math.prod(weights)) / sum(weights))
        return torch.where(apart == 0, 0.0, apart / length(state["solution"]))

    def _with(self, mean: Tensor, gradient: Tensor, index: int, every: int) -> Tensor:
        """Return the mean with one more gradient, the last of those that are `every` apart."""
        weights = self._weights(index, every)
        return mean + weights[0] / sum(weights) * (gradient - mean)

    def _weights(self, last: int, every: int) -> list[float]:
        """Return the weight of a gradient and of those before it that are `every` apart."""
        return [math.pow(t, self.power) for t in range(last, 0, -every)]


@dataclass(frozen=True)
class ProximalGradient(Solver):
    """Proximal gradient descent on f + |delta|^2 / (2 lambda), with the penalty's proximal map after each step.

    Args:
        step_size: None adapts it for each image to the curvature seen between its last two points.
        average: The answer is the mean of this many last iterates.

    Raises: ArgumentError if the step is not positive, or nothing is averaged.
    Source: Malitsky and Mishchenko 2023 (adaptive proximal steps). The code of MoreauGrad takes 300 plain steps of .1
        and averages the last 101.
    """

    step_size: float | None = None
    average: int = 1

    def __post_init__(self) -> None:
        checks.each_at_least(self, average=1)
        if self.step_size is not None:
            checks.positive("step_size", self.step_size)

    @property
    def takes_noise(self) -> bool:
        """False if the step is adaptive: noise would hide the curvature that it follows."""
        return self.step_size is not None

    def start(self, problem: Envelope, delta: Tensor) -> SolverState:
        """Start with the step that would solve a linear f at once, where the step is adaptive."""
        zeros, ones = torch.zeros_like(delta), delta.new_ones(len(delta), 1, 1, 1)
        step = ones * (problem.lambda_ if self.step_size is None else self.step_size)
        points = {"delta": delta, "previous": delta, "solution": delta, "sum": zeros}
        return {**points, "dual": zeros, "slope": zeros, "step": step, "ratio": ones / 3}

    def step(self, problem: Envelope, state: SolverState, gradient: Tensor, index: int, steps: int) -> SolverState:
        """Take a step from the point of the gradient."""
        point, slope = state["delta"], gradient + state["delta"] / problem.lambda_
        sizes = _fitted(state, slope) if self.step_size is None and index > 1 else {}
        size = sizes.get("step", state["step"])
        new = point - size * slope
        new = new if problem.penalty is None else problem.penalty.prox(new, size)
        averaged = min(index, index - (steps - self.average))
        total = state["sum"] + new if averaged > 0 else state["sum"]
        solution = total / averaged if averaged > 0 else new
        points = {"delta": new, "previous": point, "solution": solution, "sum": total}
        return {**state, **points, **sizes, "dual": gradient, "slope": slope}


def _fitted(state: SolverState, slope: Tensor) -> SolverState:
    """Return steps that fit the curvature between the last two points."""
    moved, bent = (length(t, keepdim=True) for t in (state["delta"] - state["previous"], slope - state["slope"]))
    step = state["step"]
    steep = 2 * (step * bent / torch.where(moved > 0, moved, torch.inf)).square() - 1
    longest = torch.where(steep > 0, step / steep.clamp(min=torch.finfo(step.dtype).tiny).sqrt(), torch.inf)
    new = torch.minimum((2 / 3 + state["ratio"]).sqrt() * step, longest)
    return {"step": new, "ratio": new / step}
