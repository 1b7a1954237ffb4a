"""Grad-CAM against captum."""

import captum.attr
import pytest
import torch
from tests.networks import batch, network
from torch import nn

from gradsculpt.attributions import GradCAM
from gradsculpt.errors import ArgumentError, ModelError


def model() -> nn.Sequential:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    first = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True))
    return nn.Sequential(first, block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double().eval()


@pytest.mark.parametrize("layer", ["0", "0.0", "1.0", "1.1", "1.2"])
def test_it_is_captums(layer: str) -> None:
    net, (x, y) = model(), batch()
    if layer.endswith((".0", ".1")):  # captum sees what in-place activations have overwritten
        for parent, place in ((net[0], "1"), (net[1], "2")):
            setattr(parent, place, nn.ReLU())
    module = net.get_submodule(layer)
    coarse = captum.attr.LayerGradCam(net, module).attribute(x, target=y, relu_attributions=True)
    expected = captum.attr.LayerAttribution.interpolate(coarse, (6, 6), "bilinear").detach()
    assert expected.any()
    for given in (layer, module):
        torch.testing.assert_close(GradCAM(given)(net, x, y), expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(GradCAM(given)(model(), x, y), expected) if isinstance(given, str) else None


def test_without_a_layer_it_is_the_last_with_more_than_one_place() -> None:
    net, (x, y) = model(), batch()
    assert torch.equal(GradCAM()(net, x, y), GradCAM("1")(net, x, y))
    assert not torch.equal(GradCAM()(net, x, y), GradCAM("0")(net, x, y))


def test_hooks_are_gone_even_after_a_failure() -> None:
    net, (x, y) = model(), batch()
    net.append(nn.Linear(99, 3).double())
    with pytest.raises(ModelError, match="of this size"):
        GradCAM()(net, x, y)
    assert not any(module._forward_hooks for module in net.modules())


def test_what_has_no_such_layer_is_refused() -> None:
    net, (x, y) = model(), batch()
    with pytest.raises(ModelError, match="the model is a function"):
        GradCAM()(lambda t: net(t), x, y)
    with pytest.raises(ModelError, match=r"'nowhere' is not a part.*one of 0, 1"):
        GradCAM("nowhere")(net, x, y)
    with pytest.raises(ModelError, match=r"given \(ReLU\) is not a part"):
        GradCAM(nn.ReLU())(net, x, y)
    with pytest.raises(ModelError, match=r"shape \[4, 3\]"):
        GradCAM("4")(net, x, y)
    with pytest.raises(ModelError, match="no layer with maps"):
        GradCAM()(nn.Sequential(nn.Flatten(), nn.Linear(108, 3)).double(), x, y)
    with pytest.raises(ArgumentError, match="layer=3"):
        GradCAM(3)  # type: ignore[arg-type]
    assert GradCAM()(network().eval(), x, y).shape == (4, 1, 6, 6)
