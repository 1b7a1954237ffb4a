"""Perturbations of images in half precision are those of float32, rounded: what is sought is held in float32."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization, Penalty, SquaredL2
from gradsculpt.perturbations import Iterative, Perturbation
from tests.perturbations.test_perturbations import SOLVERS

SIDE = 150
"""Three channels of so many pixels have more entries than the largest number of float16."""

PENALTIES: tuple[Penalty, ...] = (
    L1(0.1),
    SquaredL2(0.3),
    ElasticNet(0.05, 0.3),
    GroupL21(0.4, patch=14),
    GroupL21(2.0, patch=1000, per_channel=False),
    Harmonization(0.6, positive=True).given(torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))),
    0.5 * L1(0.1),
)


def drawn(seed: int) -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


class Slope:
    """A bent loss in the type of the images, with entries of its gradient about as large as `size`."""

    def __init__(self, size: float) -> None:
        self.size, self.slope = size, drawn(0)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        exact = x.double()
        values = self.size * (self.slope * exact.sin()).flatten(1).sum(dim=1)
        return values.to(x.dtype), (self.size * self.slope * exact.cos()).to(x.dtype)


def found(solver: Perturbation, loss: Slope, x: Tensor, penalty: Penalty) -> Tensor:
    """Return what the second step gives, once the first was propagated back."""
    state = solver.initial_state()
    for _ in range(2):
        generator = torch.Generator().manual_seed(4)
        random = {"generator": generator} if solver.needs_randomness else {}
        delta, state = solver.step(state, loss, x, penalty, **random)
        if solver.needs_backward:
            inputs = (x + delta).requires_grad_()
            inputs.grad = loss(inputs.detach())[1]
            state = {**state, "inputs": inputs}
    return delta


@pytest.mark.parametrize("size", [1e-3, 10.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: type(penalty).__name__)
def test_every_solver_with_every_penalty(
    penalty: Penalty, solver: Perturbation, dtype: torch.dtype, size: float
) -> None:
    loss, x, eps = Slope(size), 0.3 * drawn(2).to(dtype), float(torch.finfo(dtype).eps)
    delta = found(solver, loss, x, penalty)
    assert delta.dtype == dtype
    assert bool(delta.isfinite().all())
    # Which iterate is the best hangs on rounded losses; the last one does not.
    solver = replace(solver, keep="last") if isinstance(solver, Iterative) else solver
    rounded, exact = found(solver, loss, x, penalty).float(), found(solver, loss, x.float(), penalty)
    # Where a gradient all but vanishes its sign may differ; all else is rounded.
    assert float((rounded - exact).norm() / exact.norm()) <= 20 * eps
    torch.testing.assert_close(rounded.flatten(1).norm(dim=1), exact.flatten(1).norm(dim=1), rtol=4 * eps, atol=0)
