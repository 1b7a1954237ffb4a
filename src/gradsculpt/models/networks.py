"""Networks by name, adapted to the number of classes and the size of the images."""

from collections.abc import Callable

from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.errors import GradsculptError, ModelError, did_you_mean, first_line
from gradsculpt.models import sources
from gradsculpt.models.classifier import noise, untouched
from gradsculpt.models.small import ConvNet, LeNet
from gradsculpt.models.smooth import to_softplus

MODELS = (
    ("lenet", "four convolutions and two linear layers, for images of up to 64 pixels"),
    ("convnet", "four convolutions with batch normalisation, for quick trials; that of the demo"),
    ("resnet18-cifar", "ResNet-18 with a 3 x 3 stem and no pooling in front, for images of 32 to 64 pixels"),
    ("resnet34", "ResNet-34 as in torchvision, for images of 64 pixels and more"),
    ("efficientnet_b0", "EfficientNet-B0 as in torchvision; its activations are smooth"),
    ("torchvision:NAME", "any image classifier of torchvision.models, for instance torchvision:resnet50"),
    ("timm:NAME", "any image classifier of timm, for instance timm:convnext_tiny; pip install 'gradsculpt[timm]'"),
    ("python:MODULE:FACTORY", "your own function that takes num_classes and returns a torch.nn.Module"),
)

_OURS: dict[str, Callable[[int, int], nn.Module]] = {
    "lenet": LeNet,
    "convnet": ConvNet,
    "resnet18-cifar": sources.resnet18_cifar,
}
_PLAIN = ("resnet34", "efficientnet_b0")  # those of torchvision that go without its name
_OTHERS = {"torchvision": sources.torchvision, "timm": sources.timm, "python": sources.python}


def build(name: str, *, num_classes: int, image_size: int, softplus: float | None = None) -> nn.Module:
    """Build a network with fresh weights by its name, adapted to the classes and the size of the images.

    The weights are drawn from PyTorch's global random state. The network is run once, in eval mode and leaving no
    trace, to see that it gives logits. Activations that work in place are switched to give the same values out of
    place, because attribution methods hook them.

    `python:MODULE:FACTORY` imports and calls code of the user: `FACTORY(num_classes=...)`, with `image_size=...` too if
    it has a parameter of that name.

    Args:
        name: A name from `MODELS`, with NAME, MODULE and FACTORY filled in.
        num_classes: Number of outputs.
        image_size: Height and width of the images.
        softplus: The beta of the Softplus that takes the place of ReLU-like activations (see `to_softplus`), or None.

    Returns:
        A network in training mode from [N, 3, image_size, image_size] to logits [N, num_classes].

    Raises:
        ModelError: If the name is not known, or the network cannot be built or used as asked.
        ArgumentError: If a number is out of range.

    Example:
        >>> build("lenet", num_classes=5, image_size=32, softplus=3.0).head[2]
        Softplus(beta=3.0, threshold=20.0)
    """
    checks.at_least("num_classes", num_classes, 1)
    checks.at_least("image_size", image_size, 1)
    network = construct(name, num_classes, image_size)
    x = noise(image_size, network)
    check_logits(name, network, x, num_classes)
    if softplus is not None:
        try:
            to_softplus(network, softplus, example=x)
        except ModelError as error:
            raise ModelError(f"{name} with Softplus: {error}") from error
    return network


def construct(name: str, num_classes: int, image_size: int) -> nn.Module:
    """Make a network as `build` does, without running it."""
    try:
        network = _make(name, num_classes, image_size)
    except GradsculptError:
        raise
    except Exception as error:
        raise ModelError(
            f"{name} cannot be built for {image_size} x {image_size} images and {num_classes} classes "
            f"({first_line(error)}). Pass another image size, or choose another network."
        ) from error
    for module in network.modules():
        if vars(module).get("inplace") is True:
            vars(module)["inplace"] = False
    return network


def _make(name: str, num_classes: int, image_size: int) -> nn.Module:
    if name in _OURS:
        return _OURS[name](num_classes, image_size)
    prefix, _, rest = (f"torchvision:{name}" if name in _PLAIN else name).partition(":")
    if rest and prefix in _OTHERS:
        return _OTHERS[prefix](rest, num_classes, image_size)
    choices = {key: f"torchvision:{key}" for key in sources.torchvision_names()} | {key: key for key, _ in MODELS}
    hint = did_you_mean(rest or name, choices, 3)
    raise ModelError(f"there is no network {name!r}; choose from {', '.join(key for key, _ in MODELS)}.{hint}")


def check_logits(name: str, network: nn.Module, x: Tensor, num_classes: int | None = None) -> int:
    """Run a network once and return its number of outputs, which have to be as many as there are classes."""
    size = x.shape[-1]
    try:
        with untouched(network):
            logits = network(x)
    except Exception as error:
        raise ModelError(
            f"{name} cannot take {size} x {size} images, as a batch {list(x.shape)} ({first_line(error)}). "
            "Pass another image size, or choose another network."
        ) from error
    shape = list(logits.shape) if isinstance(logits, Tensor) else None
    if shape is None or len(shape) != 2 or shape != [len(x), num_classes or shape[1]]:
        came = f"a {type(logits).__name__}" if shape is None else f"shape {shape}"
        raise ModelError(
            f"{name} gives {came} for images {list(x.shape)}, where logits [{len(x)}, {num_classes or 'classes'}] are "
            "needed: one row an image, one column a class. Choose a classifier, or return its logits alone."
        )
    return shape[1]
