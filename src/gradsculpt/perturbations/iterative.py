"""Many small steps uphill, each followed by a proximal step for the price of the perturbation."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from gradsculpt import checks
from gradsculpt.numerics import divided, length, spread, wide
from gradsculpt.penalties import Penalty
from gradsculpt.perturbations.base import InnerLoss, LossGradient, Perturbation, State, moved

_SHORTEST, _LONGEST = 1e-12, 1e6
"""Limits of a proximal step. Where the gradient all but vanishes, the longest all but reaches the minimum of h."""


@dataclass(frozen=True)
class Iterative(Perturbation):
    """Proximal gradient ascent on L(x + delta) - h(delta).

    delta becomes `conjugate_prox(delta + t * grad L, t)`, where t is such that the move before the proximal map is
    `step_size * penalty.ascent(grad L)`: a sign step for `L1`, a step of that L2 norm for others. For `L1` this is
    PGD with sign steps and projection on the l-infinity ball. The first of the `steps` moves goes to `dual(grad L)`,
    so that one step is `OneStep`, and so are many on a loss that is linear.

    The best of all iterates by L(x + delta) - h(delta) is kept, the clean batch among them; an iterate outside the
    domain of h never wins. The pass that gives the gradient at an iterate also judges it, and one more forward pass
    judges the last: `steps` forward and backward passes, 7 by default, and a forward pass. With `keep="last"`, or a
    single step, nothing is judged, and that pass is saved. `Harmonization` needs `positive=True`, to be convex.

    The published training is `Iterative(8, 0.3, keep="last")`, of the iterative recipes: seven steps after the start.

    Args:
        steps: Number of moves of delta, the one to the start included.
        step_size: Length of a move, in the norm in which `penalty.ascent` has unit length (the largest entry for
            `L1`, L2 for others). Units: model input, or none if `relative`.
        start: "dual" moves first to the one-step perturbation; "zero" moves from 0 like any other step.
        relative: Multiply `step_size` by the size of dual(grad L at x) in that same norm, for `L1` the weight.
        keep: "best" as above, or the "last" iterate.

    Raises: ArgumentError if a number is out of range or a choice not known; in use, if the penalty is not convex.
    Source: Gong et al., CVPR 2024 (AdvGrad), section 4.2 and B.4 ("iterative": 7 steps of 0.3 from `dual`); for `L1`,
        Madry et al., ICLR 2018 (PGD). Proximal gradient steps: Beck 2017, chapter 10.
    Deviation: the released code starts at 0, takes gradients of the elastic net's price instead of its proximal map,
        steps of 1 for groups and of 0.3 times the weight for L1 (`relative=True`). It keeps the last iterate, as does
        `keep="last"`.
    """

    steps: int = 7
    step_size: float = 0.3
    start: Literal["dual", "zero"] = "dual"
    relative: bool = False
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        checks.each_at_least(self, steps=1)
        checks.positive("step_size", self.step_size)

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return the best perturbation found for each sample."""
        judging = self.keep == "best" and self.steps > 1
        delta = torch.zeros_like(wide(x.detach()))
        losses, gradient = _wide(loss_gradient(x))
        best = _better(None, delta, losses, penalty) if judging else None
        size: Tensor | float = self.step_size
        if self.relative:  # times the size of dual(gradient) where ascent(gradient) has size 1; 0 for no gradient
            dual, unit = (length(t, keepdim=True) for t in (penalty.dual(gradient), penalty.ascent(gradient)))
            size = size * divided(dual, unit)
        delta = penalty.dual(gradient) if self.start == "dual" else _step(delta, gradient, size, penalty)
        for _ in range(self.steps - 1):
            losses, gradient = _wide(loss_gradient(moved(x, delta)))
            best = best and _better(best, delta, losses, penalty)
            delta = _step(delta, gradient, size, penalty)
        if best is not None:
            # By a forward pass alone where that is possible.
            end = moved(x, delta)
            losses = loss_gradient.values(end) if isinstance(loss_gradient, InnerLoss) else loss_gradient(end)[0]
            delta = _better(best, delta, losses, penalty)[0]
        return delta.to(x.dtype), state


def _wide(evaluated: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    losses, gradient = evaluated
    return wide(losses), wide(gradient)


def _better(
    best: tuple[Tensor, Tensor] | None, delta: Tensor, losses: Tensor, penalty: Penalty
) -> tuple[Tensor, Tensor]:
    """Return the best perturbation so far of each sample, and what it is worth: L(x + delta) - h(delta), [N]."""
    worth = losses - penalty.conjugate(delta)
    if best is None:
        return delta, worth
    # What is not a number wins and stays: the loss of the training step then shows it.
    better = ~(worth <= best[1])
    return torch.where(spread(better, delta), delta, best[0]), torch.where(better, worth, best[1])


def _step(delta: Tensor, gradient: Tensor, size: Tensor | float, penalty: Penalty) -> Tensor:
    move = size * penalty.ascent(gradient)
    step = (length(move, keepdim=True) / length(gradient, keepdim=True)).nan_to_num(nan=_LONGEST)
    return penalty.conjugate_prox(delta + move, step.clamp(_SHORTEST, _LONGEST))
