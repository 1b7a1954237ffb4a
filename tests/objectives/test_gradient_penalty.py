"""Penalties of the loss gradient in the loss, against penalties and subgradients written out for each image."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import GradientPenalty
from gradsculpt.penalties import (
    L1,
    PENALTIES,
    ElasticNet,
    FunctionPenalty,
    GroupL21,
    Harmonization,
    Penalty,
    ScaledPenalty,
    SquaredL2,
)
from tests.objectives.oracles import CHANNELS, NETWORKS, SIDE, agrees, gradient_penalty, images, network, plain

ATTENTION = torch.rand(3, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(9))

Written = Callable[[Tensor, int], tuple[float, Tensor]]
"""The value of a penalty at one image's gradient and its derivative, given the image's index."""


def elastic(l1: float, l2: float) -> Written:
    return lambda g, i: (float(l1 * g.abs().sum() + l2 * (g * g).sum()), l1 * torch.sign(g) + 2 * l2 * g)


def group(g: Tensor, i: int) -> tuple[float, Tensor]:
    value, slope = 0.0, torch.zeros_like(g)
    for c in range(CHANNELS):
        for row in range(0, SIDE, 3):  # 3 does not divide 8: the last groups are smaller
            for column in range(0, SIDE, 3):
                patch = (c, slice(row, row + 3), slice(column, column + 3))
                length = math.sqrt(float((g[patch] ** 2).sum()))
                value += 0.3 * length
                slope[patch] = 0.3 * g[patch] / length
    return value, slope


def harmonized(positive: bool) -> Written:
    def written(g: Tensor, i: int) -> tuple[float, Tensor]:
        peak = float(ATTENTION[i].max())
        weights = peak - ATTENTION[i] + 0.05 if positive else peak / 2 - ATTENTION[i]
        return float(0.6 * (weights * g * g).sum()), 2 * 0.6 * weights * g

    return written


def pseudo_huber(g: Tensor, i: int) -> tuple[float, Tensor]:
    return float(((1 + g * g).sqrt() - 1).sum()), g / (1 + g * g).sqrt()


CASES: list[tuple[Penalty, Written]] = [
    (L1(0.3), elastic(0.3, 0)),
    (SquaredL2(0.7), elastic(0, 0.7)),
    (ElasticNet(0.3, 0.7), elastic(0.3, 0.7)),
    (GroupL21(0.3, patch=3), group),
    (Harmonization(0.6, positive=True, sigma=0.05), harmonized(True)),
    (Harmonization(0.6), harmonized(False)),
    (FunctionPenalty(lambda g: ((1 + g.square()).sqrt() - 1).flatten(1).sum(dim=1)), pseudo_huber),
    (ScaledPenalty(ElasticNet(0.6, 1.4), 0.5), elastic(0.3, 0.7)),
]


def test_every_penalty_is_tried() -> None:
    assert {type(penalty) for penalty, _ in CASES} == set(PENALTIES)


@pytest.mark.parametrize(("penalty", "written"), CASES, ids=[type(penalty).__name__ for penalty, _ in CASES])
def test_value_and_gradient_are_the_oracles(penalty: Penalty, written: Written) -> None:
    model, (x, y) = NETWORKS["norm in eval mode"](), images()
    losses = GradientPenalty(penalty)(model, x, y, ATTENTION)
    agrees(losses.terms["gradient_penalty"], model, gradient_penalty(plain(model), x, y, written))


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_will_do(name: str) -> None:
    model, (x, y) = NETWORKS[name](), images()
    losses = GradientPenalty(ElasticNet(0.3, 0.7))(model, x, y)
    agrees(losses.terms["gradient_penalty"], model, gradient_penalty(plain(model), x, y, elastic(0.3, 0.7)))


def test_a_relu_network_will_do() -> None:
    model, (x, y) = network(activation=nn.ReLU), images()
    losses = GradientPenalty(SquaredL2(0.7))(model, x, y)
    agrees(losses.terms["gradient_penalty"], model, gradient_penalty(plain(model), x, y, elastic(0, 0.7)))


def test_it_does_not_depend_on_batch_mates_or_batch_size() -> None:
    model, (x, y) = NETWORKS["max pool"](), images(4)
    single = [GradientPenalty(L1(0.3))(model, x[i : i + 1], y[i : i + 1]).terms["gradient_penalty"] for i in range(4)]
    whole = GradientPenalty(L1(0.3))(model, x, y).terms["gradient_penalty"]
    torch.testing.assert_close(whole, torch.stack(single).mean())


def test_attention_that_is_missing_is_missed() -> None:
    x, y = images()
    with pytest.raises(ArgumentError, match="needs attention maps"):
        GradientPenalty(Harmonization(0.6))(NETWORKS["max pool"](), x, y)
