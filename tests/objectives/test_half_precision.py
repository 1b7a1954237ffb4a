"""Objectives of networks in half precision are those of float32 up to rounding, terms and gradients."""

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.objectives import (
    OBJECTIVES,
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    GradientPenalty,
    HessianNorm,
    InputGradientAlignment,
    LocalGradientAlignment,
    MaxEntropy,
    Objective,
    Scaled,
    Sum,
)
from gradsculpt.penalties import L1, ElasticNet, GroupL21, SquaredL2
from gradsculpt.perturbations import Free, Iterative, Momentum, Noise
from tests.networks import halved

MEMBERS: tuple[Objective, ...] = (
    CrossEntropy(),
    AdversarialTraining(ElasticNet(0.05, 0.1)),
    AdversarialTraining(L1(0.05), Iterative(3, keep="last")),
    AdversarialTraining(GroupL21(0.4), Momentum(3)),
    AdversarialTraining(L1(0.05), Free(2)),
    AdversarialTraining(perturbation=Noise(0.1)),
    GradientPenalty(SquaredL2(100.0)),
    GradientPenalty(L1(0.1)),
    GradientPenalty(GroupL21(0.1, patch=None, per_channel=False)),
    LocalGradientAlignment(1e4, 1.0, eps=1.0),
    LocalGradientAlignment(10.0, 1.0, eps=100.0, noise="gradient", squared=False),
    HessianNorm(1e4),
    InputGradientAlignment(0.5, eps=0.1),
    ExplanationDistillation(0.5, eps=0.1),
    MaxEntropy(0.1),
    AdversarialTraining(L1(0.05)) + HessianNorm(1e4),
    0.5 * GradientPenalty(SquaredL2(100.0)),
)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_objective_is_tried() -> None:
    assert {type(objective) for objective in MEMBERS} == set(OBJECTIVES)
    assert {Sum, Scaled} <= set(OBJECTIVES)


def evaluated(objective: Objective, model: nn.Module, x: Tensor, teacher: nn.Module) -> tuple[list[float], Tensor]:
    """Return the terms of the loss, and its gradient by all parameters."""
    y, maps = torch.tensor([0, 1]), torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    objective = objective.with_teacher(teacher)
    losses = objective(model, x, y, maps, generator=seeded(), state=objective.initial_state() or None)
    losses.loss.backward()
    gradients = [p.grad.flatten().double() for p in model.parameters() if p.grad is not None]
    return [float(term.detach()) for term in losses.terms.values()], torch.cat(gradients)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("objective", MEMBERS, ids=repr)
def test_every_objective(objective: Objective, dtype: torch.dtype) -> None:
    half, single, x = halved(dtype, 152)
    teacher, exact_teacher, _ = halved(dtype, 152)
    found, exact = evaluated(objective, half, x, teacher), evaluated(objective, single, x.float(), exact_teacher)
    eps = float(torch.finfo(dtype).eps)
    assert found[0] == pytest.approx(exact[0], rel=20 * eps, abs=2 * eps)
    assert all(term != 0 for term in found[0])
    assert float((found[1] - exact[1]).norm() / exact[1].norm()) <= 20 * eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_a_teacher_answers_in_its_own_precision(dtype: torch.dtype) -> None:
    teacher, exact_teacher, _ = halved(torch.bfloat16, 16)
    _, model, x = halved(torch.bfloat16, 16)
    objective, maps = ExplanationDistillation(1.0, 0.3), torch.rand(2, 3, 16, 16)
    results = [
        objective.with_teacher(network)(model, x.float(), torch.tensor([0, 1]), maps, generator=seeded()).loss
        for network in (teacher.to(dtype), exact_teacher)
    ]
    torch.testing.assert_close(results[0], results[1], rtol=0.01, atol=1e-3)
