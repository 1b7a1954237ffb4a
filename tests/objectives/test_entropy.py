"""The entropy of the predictions against sums of p log p."""

import math

import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import MaxEntropy
from tests.objectives.oracles import NETWORKS, agrees, cross_entropy, images, negative_entropy, plain


@pytest.mark.parametrize("name", NETWORKS)
def test_value_and_gradient_are_the_oracles(name: str) -> None:
    model, (x, y) = NETWORKS[name](), images()
    losses = MaxEntropy(0.4)(model, x, y)
    agrees(losses.terms["cross_entropy"], model, cross_entropy(plain(model), x, y))
    agrees(losses.terms["negative_entropy"], model, negative_entropy(plain(model), x, y, 0.4))


@pytest.mark.parametrize(("scale", "value"), [(0.0, -2 * math.log(3)), (1e4, 0.0)])
def test_it_is_least_for_the_uncertain_and_0_for_the_sure(scale: float, value: float) -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]]).repeat(2, 1).requires_grad_()
    losses = MaxEntropy(2.0)(lambda x: scale * logits, torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]))
    losses.loss.backward()
    assert losses.terms["negative_entropy"].item() == pytest.approx(value, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ArgumentError, match="weight=-1"):
        MaxEntropy(-1.0)
