from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from gradsculpt.errors import ModelError
from gradsculpt.models import LeNet, to_softplus

from . import oracles


@pytest.mark.parametrize("beta", [None, 3.0], ids=["relu", "softplus"])
def test_computes_what_the_layers_say(beta: float | None) -> None:
    torch.manual_seed(0)
    network = LeNet(num_classes=5, image_size=8).double()
    activation: Callable[[oracles.Array], oracles.Array] = oracles.relu
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    if beta is not None:
        assert to_softplus(network, beta, example=x) == 5
        activation = oracles.softplus(beta)
    parameters = [parameter.detach().numpy() for parameter in network.parameters()]
    shapes = [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (256, 64 * 4), (5, 256)]
    assert [parameter.shape for parameter in parameters[::2]] == shapes
    np.testing.assert_allclose(
        network(x)[0].detach().numpy(), oracles.lenet(x[0].numpy(), parameters, activation), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("size", [4, 28, 32, 36, 64])
def test_takes_multiples_of_four(size: int) -> None:
    assert LeNet(3, size)(torch.zeros(2, 3, size, size)).shape == (2, 3)


def test_activations_are_modules_of_their_own_and_not_in_place() -> None:
    activations = [module for module in LeNet().modules() if isinstance(module, nn.ReLU)]
    assert len(activations) == 5
    assert not any(activation.inplace for activation in activations)


@pytest.mark.parametrize(
    ("size", "words"), [(96, "up to 64 x 64, not 96 x 96"), (30, "30 does not divide by 4"), (0, "multiple of 4")]
)
def test_refuses_other_sizes(size: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        LeNet(10, size)


def test_says_which_images_it_was_built_for() -> None:
    with pytest.raises(ModelError, match="built for 32 x 32 pixels"):
        LeNet()(torch.zeros(1, 3, 64, 64))
