"""Guided backpropagation against captum, and against a plain loop where captum has none."""

import warnings

import captum.attr
import pytest
import torch
from tests.networks import batch, network
from torch import Tensor, nn

from gradsculpt.attributions import Gradient, GuidedBackprop
from gradsculpt.errors import ArgumentError, ModelError
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


@pytest.mark.parametrize("activation", [*ACTIVATIONS, nn.ReLU()], ids=lambda module: type(module).__name__)
def test_a_gate_by_slope_is_the_derivative_of_the_activation(activation: nn.Module) -> None:
    model, (x, y) = network().eval(), batch()
    model[2] = activation
    z = model[1](model[0](x)).detach().requires_grad_()
    value = activation(z)
    leaf = value.detach().requires_grad_()
    (g,) = torch.autograd.grad(model[3:](leaf).gather(1, y[:, None]).sum(), leaf)
    (passed,) = torch.autograd.grad(value, z, g * (g > 0))
    inputs = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model[1](model[0](inputs)), inputs, passed)
    torch.testing.assert_close(GuidedBackprop(gate="slope")(model, x, y), expected, rtol=1e-10, atol=1e-12)
    same = torch.allclose(expected, GuidedBackprop()(model, x, y))
    assert same == isinstance(activation, nn.ReLU | nn.ReLU6)


def test_a_gate_by_slope_is_the_same_however_a_rectifier_is_written() -> None:
    x, y = batch()
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 4, 3).double(), nn.Linear(64, 3).double()
    by_slope = GuidedBackprop(gate="slope")
    expected = by_slope(lambda t: last(nn.functional.silu(first(t)).flatten(1)), x, y)

    def written(t: Tensor) -> Tensor:
        z = first(t)
        return last((z * z.sigmoid()).flatten(1))

    torch.testing.assert_close(by_slope(written, x, y), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["hard", "", "Step"])
def test_gates_that_are_not_known_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match="gate"):
        GuidedBackprop(gate=name)  # type: ignore[arg-type]


def test_maps_by_slope_of_a_smooth_network_change_with_the_image() -> None:
    x, y = batch()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Softplus(3.0), nn.Flatten(), nn.Linear(64, 3)).double()
    for gate, still in (("step", True), ("slope", False)):
        points = x.clone().requires_grad_()
        maps = GuidedBackprop(gate=gate)(model, points, y, create_graph=True)  # type: ignore[arg-type]
        weights = torch.randn_like(maps)
        slope = torch.zeros_like(x)
        if maps.requires_grad:
            (found,) = torch.autograd.grad((maps * weights).sum(), points, allow_unused=True)
            slope = slope if found is None else found
        assert (not slope.any()) == still
        if not still:
            step = 1e-6 * torch.randn_like(x)
            ends = [(GuidedBackprop(gate="slope")(model, x + s * step, y) * weights).sum() for s in (1, -1)]
            torch.testing.assert_close((slope * step).sum(), (ends[0] - ends[1]) / 2, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(), nn.Softsign(), nn.Hardsigmoid()])
def test_functions_that_saturate_keep_their_derivative(gate: nn.Module) -> None:
    model, (x, y) = network().eval(), batch()
    above = nn.Sequential(nn.BatchNorm2d(4).double().eval(), gate)
    model[2] = nn.Sequential(nn.ReLU(), above)
    z = model[1](model[0](x)).detach()
    leaf = z.relu().requires_grad_()
    (g,) = torch.autograd.grad(model[3:](above(leaf)).gather(1, y[:, None]).sum(), leaf)
    inputs = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model[1](model[0](inputs)), inputs, g * (g > 0) * (z > 0))
    torch.testing.assert_close(GuidedBackprop()(model, x, y), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gate", [nn.Sigmoid(), nn.Tanh(), nn.Hardtanh(), nn.Identity()])
def test_a_network_without_rectifiers_has_nothing_to_guide(gate: nn.Module) -> None:
    model, (x, y) = network().eval(), batch()
    model[2] = gate
    with pytest.raises(ModelError, match="has no rectifier"):
        GuidedBackprop()(model, x, y)


def test_a_second_derivative_is_that_of_the_map() -> None:
    x, y = batch()
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3)
    ).double()
    direction, weights = torch.randn_like(x), torch.randn_like(x)
    points = x.clone().requires_grad_()
    maps = GuidedBackprop()(model, points, y, create_graph=True)
    (slope,) = torch.autograd.grad((maps * weights).sum(), points)
    ends = [(GuidedBackprop()(model, x + step * direction, y) * weights).sum() for step in (1e-6, -1e-6)]
    # Above the gates is a tanh, whose slope depends on the image by way of the Softplus.
    torch.testing.assert_close((slope * direction).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-8)
    assert slope.abs().max() > 1e-3


def test_networks_may_view_maps() -> None:
    torch.manual_seed(0)
    layers, last, (x, y) = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double(), nn.Linear(64, 3).double(), batch()
    expected = GuidedBackprop()(lambda t: last(layers(t).flatten(1)), x, y)
    torch.testing.assert_close(GuidedBackprop()(lambda t: last(layers(t).view(len(t), -1)), x, y), expected)
