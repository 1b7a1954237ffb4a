"""DeepLIFT against captum and the sum that it promises."""

import warnings

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.networks import batch, network
from torch import Tensor, nn

from gradsculpt.attributions import DeepLift, InputXGradient
from gradsculpt.errors import ArgumentError, ModelError


class Apart(nn.Module):
    """Between pooling and activation, where captum's two hooks on one tensor would run in the wrong order."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.0 * x


def pooled(activation: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.MaxPool2d(2), Apart(), activation(), nn.Conv2d(5, 4, 2), activation(),
        nn.Flatten(), nn.Linear(16, 3),
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Softplus, nn.Sigmoid, nn.ELU])
@pytest.mark.parametrize("baseline", [0.0, "image"])
def test_it_is_captums(activation: type[nn.Module], baseline: float | str) -> None:
    model, (x, y) = pooled(activation), batch()
    start = batch(seed=9)[0] if baseline == "image" else torch.zeros_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = captum.attr.DeepLift(model).attribute(x, start, target=y)
    attribution = DeepLift(start if baseline == "image" else 0.0)
    found = attribution(model, x, y)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        attribution.completeness(model, x, y, found), torch.zeros(4).double(), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Softplus])
def test_pooling_after_an_activation_is_the_plain_loop(activation: type[nn.Module]) -> None:
    # captum has two hooks on the tensor between the two, and gives other maps here.
    (x, y), x0 = batch(), batch(seed=9)[0]
    torch.manual_seed(0)
    conv, activate, last = nn.Conv2d(3, 5, 3, padding=1).double(), activation(), nn.Linear(45, 3).double()
    found = DeepLift(x0)(nn.Sequential(conv, activate, nn.MaxPool2d(2), nn.Flatten(), last), x, y)
    with torch.no_grad():
        z, z0 = conv(x), conv(x0)
        a, a0 = activate(z), activate(z0)
        g, multiplier = last.weight[y].view(4, 5, 3, 3), torch.zeros_like(a)
        for n, c, i, j in np.ndindex(4, 5, 3, 3):
            window, window0 = (t[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].flatten() for t in (a, a0))
            change = window.max() - window0.max()
            k = int((window if change > 0 else window0).argmax())
            if change != 0:
                place = n, c, 2 * i + k // 2, 2 * j + k % 2
                multiplier[place] = g[n, c, i, j] * change / (window - window0)[k]
        multiplier *= (a - a0) / (z - z0)
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(conv(inputs), inputs, multiplier)
    torch.testing.assert_close(found, (x - x0) * gradient, rtol=1e-9, atol=1e-12)


class Residual(nn.Module):
    """Reuses its activation, overlaps its pooling, adds in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.relu, self.last = nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Linear(4, 3)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        out = self.norm(self.second(x))
        out += x
        return self.last(F.adaptive_max_pool2d(F.max_pool2d(self.relu(out), 3, 2, 1), 1).flatten(1))


def test_maps_add_up_where_captum_refuses() -> None:
    model, (x, y) = Residual(), batch()
    found = DeepLift(0.2)(model, x, y)
    values = [model(t).gather(1, y[:, None])[:, 0] for t in (x, torch.full_like(x, 0.2))]
    torch.testing.assert_close(found.sum((1, 2, 3)), (values[0] - values[1]).detach(), rtol=1e-9, atol=1e-12)


def test_of_a_linear_function_it_is_the_input_times_the_gradient() -> None:
    model, (x, y) = network().eval(), batch()
    model[2] = nn.Identity()
    torch.testing.assert_close(DeepLift()(model, x, y), InputXGradient()(model, x, y))
    assert not DeepLift(x.clone())(network().eval(), x, y).any()


def test_a_network_in_training_mode_keeps_its_dropout_mask() -> None:
    model, (x, y) = network(norm=False, dropout=0.5).train(), batch()
    attribution = DeepLift()
    maps = attribution(model, x, y)
    assert attribution.completeness(model, x, y, maps).abs().max() < 1e-10


def test_activations_of_constants_are_no_obstacle() -> None:
    model, (x, y), level = network().eval(), batch(), torch.zeros((), dtype=torch.float64)
    found = DeepLift()(lambda t: model(t + level.sigmoid().sub(0.5)), x, y)
    torch.testing.assert_close(found, DeepLift()(model, x, y))


def test_what_the_rule_does_not_hold_for_is_refused() -> None:
    model, (x, y) = network().eval(), batch()
    with pytest.raises(ModelError, match=r"add up to .* but the logit changes by"):
        DeepLift()(lambda t: model(t * t.mean((2, 3), keepdim=True).sigmoid()), x, y)
    with pytest.raises(ModelError, match=r"model\.eval\(\)"):
        DeepLift()(network(), x, y)
    with pytest.raises(ModelError, match="so the two cannot be compared"):
        DeepLift()(lambda t: model(t.relu() if t.any() else t), x, y)
    for wrong in (torch.zeros(4), float("nan")):
        with pytest.raises(ArgumentError, match="baseline"):
            DeepLift(wrong)(model, x, y)
