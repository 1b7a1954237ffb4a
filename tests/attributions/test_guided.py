"""Guided backpropagation against captum, and against a plain loop where captum has none."""

import warnings

import captum.attr
import pytest
import torch
from tests.networks import batch, network
from torch import Tensor, nn

from gradsculpt.attributions import Gradient, GuidedBackprop
from gradsculpt.kernels import Softplus


def test_on_relu_networks_it_is_captums() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 4, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 3),
    ).double().eval()  # fmt: skip
    x, y = batch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = captum.attr.GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=y)
    torch.testing.assert_close(GuidedBackprop()(model, x, y), expected, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(expected, Gradient()(model, x, y))


ACTIVATIONS = [
    nn.Softplus(), Softplus(3.0), nn.SiLU(), nn.GELU(), nn.ELU(), nn.CELU(), nn.SELU(), nn.Mish(), nn.Hardswish(),
    nn.LeakyReLU(), nn.PReLU().double(), nn.ReLU6(),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda module: type(module).__name__)
def test_the_gate_is_the_sign_of_the_pre_activation(activation: nn.Module) -> None:
    model, (x, y) = network().eval(), batch()
    model[2] = activation
    z = model[1](model[0](x)).detach().requires_grad_()
    above: Tensor = model[4:](z).gather(1, y[:, None]).sum()
    (g,) = torch.autograd.grad(above, z)
    inputs = x.clone().requires_grad_()
    passed = (g * (g > 0) * (z > 0)).detach()
    (expected,) = torch.autograd.grad(model[1](model[0](inputs)), inputs, passed)
    torch.testing.assert_close(GuidedBackprop()(model, x, y), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Tanh(), nn.Hardtanh()])
def test_functions_that_saturate_keep_their_derivative(gate: nn.Module) -> None:
    model, (x, y) = network().eval(), batch()
    model[2] = gate
    torch.testing.assert_close(GuidedBackprop()(model, x, y), Gradient()(model, x, y))
