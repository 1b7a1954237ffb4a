"""The exact maximiser of the linearised loss."""

from dataclasses import dataclass

from torch import Generator, Tensor

from gradsculpt.penalties import Penalty
from gradsculpt.perturbations.base import LossGradient, Perturbation, State


@dataclass(frozen=True)
class OneStep(Perturbation):
    """One gradient, one step: delta = dual(grad L), which maximises <delta, grad L> - h(delta).

    Costs one forward and one backward pass. For `L1` it is FGSM without a random start.

    Source: Gong et al., CVPR 2024 (AdvGrad), Proposition 1 and B.3 ("fast").
    """

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return `penalty.dual` of the loss gradient at x."""
        return penalty.dual(loss_gradient(x)[1]), state
