"""The Hessian norm against the Hessian written out."""

import pytest
import torch
from torch import nn
from torch.func import hessian

from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import HessianNorm
from tests.objectives.oracles import NETWORKS, agrees, hessian_norm, images, network, normal, plain

SEED = 5


@pytest.mark.parametrize("name", NETWORKS)
def test_value_and_gradient_are_the_oracles(name: str) -> None:
    model, (x, y) = NETWORKS[name](), images()
    losses = HessianNorm(0.4)(model, x, y, generator=torch.Generator().manual_seed(SEED))
    agrees(losses.terms["hessian_norm"], model, hessian_norm(plain(model), x, y, normal(x, SEED), 0.4))


def test_on_average_it_is_the_squared_frobenius_norm() -> None:
    model, (x, y) = NETWORKS["average pool"](), images(1)
    by_hand = plain(model)
    full = hessian(by_hand.logit(y), argnums=1)(by_hand.parameters, x)
    many = HessianNorm(1.0)(
        model, x.expand(1000, -1, -1, -1), y.expand(1000), generator=torch.Generator().manual_seed(SEED)
    )
    torch.testing.assert_close(many.terms["hessian_norm"], full.square().sum(), rtol=0.1, atol=0)


def test_a_relu_network_has_none() -> None:
    model, (x, y) = network(activation=nn.ReLU), images()
    losses = HessianNorm(1.0)(model, x, y)
    assert losses.terms["hessian_norm"].item() == 0
    found = torch.autograd.grad(losses.loss, list(model.parameters()), retain_graph=True)
    wanted = torch.autograd.grad(losses.terms["cross_entropy"], list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_linear_network_has_none() -> None:
    model, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double(), images()
    losses = HessianNorm(1.0)(model, x, y)
    losses.loss.backward()
    assert losses.terms["hessian_norm"].item() == 0


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ArgumentError, match="weight=-1"):
        HessianNorm(-1.0)
