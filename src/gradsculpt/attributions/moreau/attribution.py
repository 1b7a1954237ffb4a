"""MoreauGrad: the gradient of the Moreau envelope of a network, and its sparse relatives."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Literal, overload

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import Gradient, Output
from gradsculpt.attributions.moreau.envelope import Envelope, EnvelopeValue, differentiable_map
from gradsculpt.attributions.moreau.solvers import DualAveraging, ProximalGradient, Solution, Solver, Stop, solve
from gradsculpt.attributions.sampling import Passes, arithmetic, clean_classes, noise_level, passes, source
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model, input_gradient
from gradsculpt.isolation import undisturbed
from gradsculpt.numerics import wide
from gradsculpt.penalties.base import Penalty


@dataclass(frozen=True)
class MoreauInfo:
    """How well each image of a batch was solved.

    Args:
        objective: At the solution, with its decrease from the image itself, on noise that the solver did not see.
        iterations: Gradients taken, each over `samples` copies, [N].
        residual: Distance of delta from the fixed point prox(-lambda gradient), as a share of its length, [N].
        converged: Whether the residual reached the tolerance, [N]; it never does where the map is not finite.
        error: Standard error of the map by the noise that was averaged, as a share of its length, [N]; infinite where
            the solver cannot tell, as after fewer than four gradients.
        stopped: What each image stopped by: "tolerance", "error" or "steps".
    """

    objective: EnvelopeValue
    iterations: Tensor
    residual: Tensor
    converged: Tensor
    error: Tensor
    stopped: tuple[str, ...]


@dataclass(frozen=True)
class MoreauGrad(Attribution):
    """The gradient of the Moreau envelope of a class output: smooth, and sparse or sparse in groups with a penalty.

    The map is -delta / lambda of the delta that minimises

        mean over noise of f(x + delta + noise) + |delta|^2 / (2 lambda) + penalty(delta).

    Without a penalty this is the gradient of the least value, the Moreau envelope, as a function of x. With one it is
    prox(lambda g) / lambda, where g, the gradient at x + delta, is that of the least value: with `L1`, g after soft
    thresholding at the weight.

    Args:
        penalty: `L1` for sparse maps, `GroupL21` for maps sparse in patches, None for the envelope alone.
        lambda_: How far delta may go. Units: model input squared per unit of f. Where f + rho |.|^2 / 2 is convex and
            lambda rho < 1, the map without a penalty is Lipschitz continuous, with the larger of 1 / lambda and
            rho / (1 - lambda rho).
        sigma: Standard deviation of the noise, as of `Smoothed`; 0 for none.
        samples, steps: Noisy copies for each gradient, fresh ones every time; most gradients for an image.
        error: An image stops when the standard error of its map, as of `MoreauInfo`, is below this, for which it takes
            four gradients at least. At .35 the heat map has a cosine of about .95 to .98 with that of endless noise; 0
            goes on to the tolerance or the last step, for the most exact map.
        tolerance: An image stops at this residual, as of `MoreauInfo`; 0 goes on to the last step.
        solver: None takes `DualAveraging` with noise and adaptive `ProximalGradient` without.
        output: Which output of the class is f, as of `Gradient`.
        seed, batch_size: As of `Smoothed`.
        surrogate: With `create_graph`, return the plain gradient at x + delta where delta is not 0, in place of the
            map itself: one backward pass, and what published attacks on MoreauGrad see.

    Raises: ArgumentError if a setting or target is out of range, or the solver cannot cope with noise.
    Source: Zhang and Farnia, ICCV 2023 (MoreauGrad); settings of its code: lambda 1, sigma .1, L1 weight 5e-3, group
        weight 5e-2 in patches of 14.
    Deviation: The code returns delta itself, takes 300 plain steps of size .1, and measures the noise by the range of
        the batch. Dual averaging reaches a lower value in a few gradients, and its zeros are zeros.

    Example:
        >>> from gradsculpt.penalties import L1
        >>> x = torch.zeros(1, 1, 1, 3)
        >>> linear = lambda x: x.flatten(1) @ torch.tensor([[3.0], [-0.5], [-2.0]])
        >>> MoreauGrad(L1(1.0), sigma=0.0)(linear, x, torch.tensor([0])).round(decimals=4)
        tensor([[[[ 2., -0., -1.]]]])
    """

    penalty: Penalty | None = None
    lambda_: float = 1.0
    sigma: float = 0.1
    samples: int = 8
    steps: int = 80
    tolerance: float = 0.01
    solver: Solver | None = None
    output: Output = "logit"
    seed: int = 0
    batch_size: int | None = None
    surrogate: bool = False
    error: float = 0.35
    is_derivative: ClassVar[bool] = True

    @classmethod
    def published(cls, penalty: Penalty | None = None) -> "MoreauGrad":
        """Return the attribution as the published code has it: 300 plain steps over 32 copies each.

        The answer is the mean of the last 101. An image takes 9,600 passes there and back.
        """
        return cls(penalty, samples=32, steps=300, tolerance=0.0, solver=ProximalGradient(0.1, average=101), error=0.0)

    def __post_init__(self) -> None:
        checks.each_at_least(self, sigma=0, samples=1, steps=1, tolerance=0, seed=0, batch_size=1, error=0)
        checks.positive("lambda_", self.lambda_)
        if self.solver is not None and self.sigma > 0 and not self.solver.takes_noise:
            raise ArgumentError(
                f"sigma={self.sigma!r} makes gradients means over fresh noise, which hides the curvature that the "
                f"steps of {self.solver!r} follow; pass ProximalGradient(step_size=0.1), DualAveraging(), which has no "
                "step size, or sigma=0."
            )

    @overload
    def __call__(
        self,
        model: Model,
        x: Tensor,
        target: Tensor | None = None,
        *,
        create_graph: bool = False,
        start: Tensor | None = None,
        return_info: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def __call__(
        self,
        model: Model,
        x: Tensor,
        target: Tensor | None = None,
        *,
        create_graph: bool = False,
        start: Tensor | None = None,
        return_info: Literal[True],
    ) -> tuple[Tensor, MoreauInfo]: ...

    def __call__(
        self,
        model: Model,
        x: Tensor,
        target: Tensor | None = None,
        *,
        create_graph: bool = False,
        start: Tensor | None = None,
        return_info: bool = False,
    ) -> Tensor | tuple[Tensor, MoreauInfo]:
        """Return the maps -delta / lambda, shape [N, C, H, W].

        With `create_graph` they can be differentiated once more: through the fixed point, or, if the attribution is a
        `surrogate`, through that. `start` are maps of similar images to begin with, [N, C, H, W]; `return_info` returns
        how well each image was solved as well, for the price of 32 forward passes an image.
        """
        with arithmetic(create_graph):
            images = source(x, create_graph)
            target = clean_classes(model, images, target)
            generator = torch.Generator().manual_seed(self.seed)
            with undisturbed(model), self._passes(model, images, create_graph) as several:
                problem = self._problem(several, images.detach(), target)
                solution = self._solved(problem, start, generator)
                maps = self._maps(problem, images, solution, generator, create_graph)
                if not return_info:
                    return maps.to(x.dtype)
                objective = problem.objective(solution.delta, 32, generator)
            return maps.to(x.dtype), self._info(solution, objective)

    def objective(
        self, model: Model, x: Tensor, target: Tensor, maps: Tensor, samples: int = 512, seed: int = 1
    ) -> EnvelopeValue:
        """Return the objective that maps attain, and by how much that is lower than at delta = 0.

        The maps, [N, C, H, W], may have any origin. The values are means over `samples` noisy copies, whose seed has to
        be another one than the maps were made with, or the values are too low.
        """
        checks.same_shape("maps", maps, "x", x)
        with arithmetic(create_graph=False), undisturbed(model), self._passes(model, x, False) as several:
            problem = self._problem(several, source(x, create_graph=False), target)
            return problem.objective(-self.lambda_ * wide(maps.detach()), samples, torch.Generator().manual_seed(seed))

    def _passes(self, model: Model, x: Tensor, create_graph: bool) -> AbstractContextManager[Passes]:
        return passes(Gradient(self.output), model, x, create_graph, batch_size=self.batch_size)

    def _problem(self, several: Passes, x: Tensor, target: Tensor) -> Envelope:
        target, level = checks.labels(target, len(x)).to(x.device), noise_level(x, self.sigma)
        return Envelope(several, x, target, self.output, level, self.lambda_, self.penalty, self.samples)

    def _solved(self, problem: Envelope, start: Tensor | None, generator: torch.Generator) -> Solution:
        solver = self.solver or (DualAveraging() if self.sigma > 0 else ProximalGradient())
        delta = torch.zeros_like(wide(problem.x))
        if start is not None:
            checks.same_shape("start", start, "x", problem.x)
            delta = -self.lambda_ * start.detach().to(delta)
        with torch.no_grad():
            return solve(problem, solver, delta, Stop(self.tolerance, self.error, self.steps), generator)

    def _info(self, solution: Solution, objective: EnvelopeValue) -> MoreauInfo:
        solved, told = solution.residual <= self.tolerance, solution.error < self.error
        reasons = zip(solved.tolist(), told.tolist(), strict=True)
        stopped = tuple("tolerance" if one else "error" if other else "steps" for one, other in reasons)
        return MoreauInfo(objective, solution.iterations, solution.residual, solved, solution.error, stopped)

    def _maps(
        self, problem: Envelope, x: Tensor, solution: Solution, generator: torch.Generator, create_graph: bool
    ) -> Tensor:
        if not create_graph:
            return -solution.delta / self.lambda_
        if self.surrogate:
            gradient = input_gradient(problem.scores, (x + solution.delta).to(x.dtype), create_graph=True)[1]
            return torch.where(solution.delta != 0, gradient, 0.0)
        return differentiable_map(problem, x, solution.delta, solution.dual, generator)
