"""How the minimiser of a Moreau envelope is found: one loop, in which every image stops by itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.envelope import Envelope
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import per_sample

State = dict[str, Tensor]
"""What a solver knows of each image, tensors [N, ...]. "delta" is where the next gradient is taken; "solution" is the
best answer so far; "dual" is the gradient of f that this answer goes with."""


class Solver(ABC):
    """Finds the perturbation at which a Moreau envelope attains its value."""

    @property
    def takes_noise(self) -> bool:
        """Whether gradients may be means over fresh noise."""
        return True

    @abstractmethod
    def start(self, problem: Envelope, delta: Tensor) -> State:
        """Return the state before the first gradient, which is taken at delta."""

    @abstractmethod
    def step(self, problem: Envelope, state: State, value: Tensor, gradient: Tensor, index: int, steps: int) -> State:
        """Return the state after a value [N] and gradient of f at `state["delta"]`, in step `index` of 1 to `steps`."""


@dataclass(frozen=True)
class Solution:
    """What the loop found for each image.

    Args:
        delta: The minimiser, [N, C, H, W].
        dual: The gradient of f that it goes with: delta = prox(-lambda dual), up to the residual.
        iterations: Gradients that were taken, [N].
        residual: Length of delta - prox(-lambda dual) as a share of delta's, [N].
        converged: Whether the residual reached the tolerance, [N].
    """

    delta: Tensor
    dual: Tensor
    iterations: Tensor
    residual: Tensor
    converged: Tensor


def solve(
    problem: Envelope, solver: Solver, delta: Tensor, steps: int, tolerance: float, generator: torch.Generator
) -> Solution:
    """Minimise from a start; images whose residual reaches the tolerance take no further part."""
    state = solver.start(problem, delta)
    count = len(delta)
    iterations = torch.zeros(count, dtype=torch.long, device=delta.device)
    residual = torch.full((count,), torch.inf, dtype=delta.dtype, device=delta.device)
    active = torch.arange(count, device=delta.device)
    for index in range(1, steps + 1):
        part, known = problem.of(active), {name: values[active] for name, values in state.items()}
        value, gradient = part.smooth_gradient(known["delta"], generator)
        known = solver.step(part, known, value, gradient.to(delta.dtype), index, steps)
        for name, values in known.items():
            state[name] = state[name].index_copy(0, active, values)
        residual[active] = _residual(part, known)
        iterations[active] = index
        active = active[residual[active] > tolerance]
        if not len(active):
            break
    return Solution(state["solution"], state["dual"], iterations, residual, residual <= tolerance)


def _residual(problem: Envelope, state: State) -> Tensor:
    fixed = problem.shrink(-problem.lambda_ * state["dual"])
    moved, length = (_length(t).view(-1) for t in (fixed - state["previous"], fixed))
    # A map of 0 that stays 0 is a solution; NaN is none, and would never become one.
    return torch.where(moved == 0, 0.0, moved / length).nan_to_num(nan=0.0, posinf=torch.inf)


@dataclass(frozen=True)
class DualAveraging(Solver):
    """Regularised dual averaging: the proximal map of the mean of all gradients so far.

    The threshold of a sparse penalty meets the averaged gradient, not one spoilt by the noise of a few samples; there
    is no step size, as the quadratic term fixes the scale. One step gives the proximal map of the plain smoothed
    gradient.

    Args:
        power: Gradient t has a weight proportional to t^power: 0 is the plain mean, the least noisy; more than 0
            forgets gradients taken far from the solution.

    Raises:
        ArgumentError: If `power` is negative.

    Source: Xiao, JMLR 2010 (regularised dual averaging, strongly convex regularisation).
    """

    power: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least("power", self.power, 0.0)

    def start(self, problem: Envelope, delta: Tensor) -> State:
        """Start with no gradients."""
        return {"delta": delta, "previous": delta, "solution": delta, "dual": torch.zeros_like(delta)}

    def step(self, problem: Envelope, state: State, value: Tensor, gradient: Tensor, index: int, steps: int) -> State:
        """Let a gradient into the mean."""
        share = index**self.power / sum(t**self.power for t in range(1, index + 1))
        dual = state["dual"] + share * (gradient - state["dual"])
        delta = problem.shrink(-problem.lambda_ * dual)
        return {"delta": delta, "previous": state["delta"], "solution": delta, "dual": dual}


@dataclass(frozen=True)
class ProximalGradient(Solver):
    """Proximal gradient descent on f + |delta|^2 / (2 lambda), with the penalty's proximal map after each step.

    Args:
        step_size: Length of a step; None adapts it for each image to the curvature seen between its last two points,
            which noise would hide.
        accelerated: Take the gradient at a point extrapolated beyond the last two; an image starts anew whenever
            this points uphill. Needs a `step_size`.
        average: The answer is the mean of this many last iterates.

    Raises:
        ArgumentError: If a number is out of range, or there is no `step_size` where one is needed.

    Source: Beck and Teboulle, SIAM J. Imaging Sciences 2009 (acceleration); O'Donoghue and Candes 2015 (starting anew);
        Malitsky and Mishchenko 2023 (adaptive proximal steps). The code of MoreauGrad takes 300 plain steps of .1 and
        averages the last 101.
    """

    step_size: float | None = None
    accelerated: bool = False
    average: int = 1

    def __post_init__(self) -> None:
        if self.step_size is not None:
            checks.positive("step_size", self.step_size)
        elif self.accelerated:
            raise ArgumentError("accelerated steps of an adaptive size may diverge; pass a step_size as well.")
        checks.at_least("average", self.average, 1)

    @property
    def takes_noise(self) -> bool:
        """False if the step is adaptive: noise would hide the curvature that it follows."""
        return self.step_size is not None

    def start(self, problem: Envelope, delta: Tensor) -> State:
        """Start with the step that would solve a linear f at once, where the step is adaptive."""
        zeros, ones = torch.zeros_like(delta), delta.new_ones(len(delta), 1, 1, 1)
        step = ones * (problem.lambda_ if self.step_size is None else self.step_size)
        known = {"delta": delta, "previous": delta, "solution": delta, "dual": zeros, "last": delta}
        return {**known, "slope": zeros, "step": step, "ratio": ones / 3, "age": ones, "sum": zeros}

    def step(self, problem: Envelope, state: State, value: Tensor, gradient: Tensor, index: int, steps: int) -> State:
        """Take a step from the point of the gradient."""
        point, slope = state["delta"], gradient + state["delta"] / problem.lambda_
        known = {"previous": point, "dual": gradient, "slope": slope}
        known |= self._length(state, slope) if self.step_size is None and index > 1 else {}
        size = known.get("step", state["step"])
        new = point - size * slope
        new = new if problem.penalty is None else problem.penalty.prox(new, size)
        onward, age = self._extrapolated(state, new) if self.accelerated else (new, state["age"])
        averaged = index - (steps - self.average)
        total = state["sum"] + new if averaged > 0 else state["sum"]
        solution = total / averaged if averaged > 0 else new
        return {**state, **known, "delta": onward, "last": new, "age": age, "sum": total, "solution": solution}

    def _length(self, state: State, slope: Tensor) -> State:
        """Return steps that fit the curvature between the last two points."""
        moved, bent = _length(state["delta"] - state["previous"]), _length(slope - state["slope"])
        step = state["step"]
        steep = 2 * (step * bent / torch.where(moved > 0, moved, torch.inf)).square() - 1
        longest = torch.where(steep > 0, step / steep.clamp(min=torch.finfo(step.dtype).tiny).sqrt(), torch.inf)
        new = torch.minimum((2 / 3 + state["ratio"]).sqrt() * step, longest)
        return {"step": new, "ratio": new / step}

    def _extrapolated(self, state: State, new: Tensor) -> tuple[Tensor, Tensor]:
        uphill = per_sample((state["delta"] - new) * (new - state["last"])).view(-1, 1, 1, 1) > 0
        age = torch.where(uphill, 1.0, state["age"])
        older = (1 + (1 + 4 * age.square()).sqrt()) / 2
        return new + (age - 1) / older * (new - state["last"]), older


def _length(t: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(t, dim=(1, 2, 3), keepdim=True)
    return length
