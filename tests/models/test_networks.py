import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.models import MODELS, build
from gradsculpt.models.networks import construct, grid_in_maps

SHIPPED = [name for name, _ in MODELS if ":" not in name]
FACTORIES = """
import torch
from torch import nn
import torchvision.models as tv

class Net(nn.Sequential):
    def __init__(self, num_classes, image_size):
        super().__init__(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))
        self.size = image_size

class Tuple(nn.Module):
    def forward(self, x):
        return x, x

def plain(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(num_classes))

def keywords(num_classes, **others):
    assert not others
    return plain(num_classes)

def frozen(num_classes):
    network = plain(num_classes)
    network[0].eval()
    network.append(nn.Dropout())
    return network

def noisy(num_classes):
    class Noisy(nn.Module):
        def forward(self, x):
            return torch.randn(len(x), num_classes)
    return Noisy()

def features(num_classes):
    return nn.Flatten()

def pair(num_classes):
    return Tuple()

def forgets(num_classes):
    plain(num_classes)

def fails(num_classes):
    raise OSError("no licence")

constant = 3
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module of network factories."""
    (tmp_path / "someones_networks.py").write_text(FACTORIES)
    (tmp_path / "someones_broken.py").write_text("import a_package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("someones_networks", "someones_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "someones_networks"


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_networks_give_logits(name: str, size: int) -> None:
    network = build(name, num_classes=7, image_size=size)
    assert network.training
    assert network(torch.randn(2, 3, size, size)).shape == (2, 7)


def test_convnet_refuses_images_that_its_pooling_would_eat_up() -> None:
    with pytest.raises(ModelError, match=r"8 x 8 images.*at least 16"):
        build("convnet", num_classes=2, image_size=8)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("torchvision:resnet18", 32),
        ("torchvision:squeezenet1_1", 64),
        ("torchvision:mobilenet_v3_small", 32),
        ("torchvision:googlenet", 32),
        ("timm:resnet10t", 32),
        ("timm:vit_tiny_patch16_224", 48),
    ],
)
def test_other_sources_give_logits(name: str, size: int) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    network = build(name, num_classes=7, image_size=size)
    for mode in (True, False):
        assert network.train(mode)(torch.randn(2, 3, size, size)).shape == (2, 7)


def test_vision_transformers_get_the_image_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    def small(image_size: int, num_classes: int) -> nn.Module:
        network: nn.Module = models.VisionTransformer(image_size, 16, 1, 2, 16, 16, num_classes=num_classes)
        return network

    def get_model(name: str, weights: None, **options: int) -> nn.Module:
        return small(**options)

    monkeypatch.setattr(models, "get_model", get_model)
    assert build("torchvision:vit_b_16", num_classes=3, image_size=32).get_submodule("conv_proj").kernel_size == (
        16,
        16,
    )
    with pytest.raises(ModelError, match="cannot be built for 33 x 33"):
        build("torchvision:vit_b_16", num_classes=3, image_size=33)


@pytest.mark.parametrize(("name", "blocks"), [("resnet18-cifar", [2, 2, 2, 2]), ("resnet34-cifar", [3, 4, 6, 3])])
def test_the_small_image_resnets_keep_resolution(name: str, blocks: list[int]) -> None:
    network = build(name, num_classes=3, image_size=32)
    assert [len(list(network.get_submodule(f"layer{i}").children())) for i in (1, 2, 3, 4)] == blocks
    shapes = []
    network.get_submodule("layer1").register_forward_hook(lambda *call: shapes.append(call[2].shape))
    network(torch.randn(2, 3, 32, 32))
    assert shapes == [(2, 64, 32, 32)]


def test_activations_are_not_in_place() -> None:
    network = build("torchvision:mobilenet_v3_small", num_classes=3, image_size=32)
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_weights_come_from_the_global_seed_and_the_trial_leaves_it_alone(factories: str) -> None:
    def weights(name: str) -> torch.Tensor:
        torch.manual_seed(5)
        return next(build(name, num_classes=2, image_size=32).parameters()).detach()

    assert torch.equal(weights("lenet"), weights("lenet"))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(f"python:{factories}:noisy", num_classes=2, image_size=32)
    assert torch.equal(torch.rand(3), expected)


def test_softplus_is_built_in() -> None:
    network = build("resnet34", num_classes=2, image_size=32, softplus=5.0)
    assert any(isinstance(module, nn.Softplus) for module in network.modules())
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnt34", "no network 'resnt34'; choose from lenet.*Did you mean resnet34 "),
        ("resnet50", "Did you mean torchvision:resnet50 "),
        ("timm:", "no network 'timm:'"),
        ("torchvision:resnet5", "torchvision has no network 'resnet5'.*torchvision:resnet50"),
        ("torchvision:fcn_resnet50", "segmentation models"),
        ("torchvision:ssd300_vgg16", "detection models"),
        ("torchvision:r3d_18", "video models"),
        ("torchvision:quantized_resnet18", "quantization models.*Did you mean torchvision:resnet18"),
        ("torchvision:alexnet", r"cannot take 32 x 32 images.*\[2, 3, 32, 32\].*RuntimeError"),
        ("torchvision:vit_b_16_and_more", "torchvision:vit_b_16"),
        ("python:nowhere_at_all:make", "no module 'nowhere_at_all'.*PYTHONPATH"),
        ("python:json.nowhere:make", "no module 'json.nowhere'"),
        ("python:json", "write python:package.module:function"),
        ("python:builtins:dict", r"gave a dict for dict\(num_classes=3\)"),
    ],
)
def test_unusable_names(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build(name, num_classes=3, image_size=32)


def test_unknown_timm_names() -> None:
    pytest.importorskip("timm")
    with pytest.raises(ModelError, match=r"has no network 'resnet10q'.*timm:resnet10t"):
        build("timm:resnet10q", num_classes=3, image_size=32)
    with pytest.raises(ModelError, match="has no network 'hf-hub:someone/something'"):
        build("timm:hf-hub:someone/something", num_classes=3, image_size=32)


def test_says_how_to_install_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"pip install 'gradsculpt\[timm\]'"):
        build("timm:resnet10t", num_classes=3, image_size=32)


def test_calls_a_factory_with_what_it_takes(factories: str) -> None:
    sized = build(f"python:{factories}:Net", num_classes=4, image_size=36)
    assert sized(torch.zeros(2, 3, 36, 36)).shape == (2, 4)
    for name in ("plain", "keywords"):
        assert build(f"python:{factories}:{name}", num_classes=4, image_size=9)(torch.zeros(2, 3, 5, 5)).shape == (2, 4)


def test_the_trial_keeps_the_modes_of_a_factory(factories: str) -> None:
    network = build(f"python:{factories}:frozen", num_classes=2, image_size=8)
    assert [network.training, *(module.training for module in network.children())] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plane", r"someones_networks.py\) has no callable 'plane'. Did you mean plain"),
        ("constant", "no callable 'constant'"),
        ("features", r"gives 192 outputs for images \[2, 3, 8, 8\], where 3 are needed"),
        ("pair", "a tuple of 0"),
        ("forgets", r"gave a NoneType for forgets\(num_classes=3\), where a torch.nn.Module is needed"),
        ("fails", r"fails\(num_classes=3\) raised OSError: no licence"),
    ],
)
def test_factories_that_cannot_be_used(factories: str, name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build(f"python:{factories}:{name}", num_classes=3, image_size=8)


def test_a_module_that_breaks_on_import_is_told_apart_from_a_missing_one(factories: str) -> None:
    with pytest.raises(ModelError, match=r"someones_broken raised ModuleNotFoundError.*a_package_that_is_not_there"):
        build("python:someones_broken:make", num_classes=3, image_size=8)


@pytest.mark.parametrize(("classes", "size"), [(0, 32), (3, 0), (3, -32)])
def test_refuses_numbers_out_of_range(classes: int, size: int) -> None:
    with pytest.raises(ArgumentError, match="out of range"):
        build("lenet", num_classes=classes, image_size=size)


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("lenet", 1),
        ("convnet", 1),
        ("resnet18-cifar", 1),
        ("resnet34-cifar", 1),
        ("resnet34", 2),
        ("efficientnet_b0", 2),
        ("torchvision:resnet18", 2),
        ("torchvision:convnext_tiny", 4),
    ],
)
def test_networks_that_skip_pixels_of_small_images_are_known(name: str, stride: int) -> None:
    network = construct(name, 3, 64)
    assert grid_in_maps(name, network, 65) == ""
    note = grid_in_maps(name, network, 64)
    assert note == "" if stride == 1 else f"the first layer of {name} takes steps of {stride} pixels" in note
