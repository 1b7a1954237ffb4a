"""Networks by name, adapted to the number of classes and the size of the images."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.errors import GradsculptError, ModelError, did_you_mean, first_line
from gradsculpt.extensions import called
from gradsculpt.models.classifier import noise, untouched
from gradsculpt.models.published import packaged_network
from gradsculpt.models.small import ConvNet, LeNet
from gradsculpt.models.smooth import to_softplus
from gradsculpt.outputs import logits_of, two_sided
from gradsculpt.wording import counted

SMALL = 64
"""Side of images, up to which the steps of a first layer mark a map that is looked at."""

MODELS = (
    ("lenet", "four convolutions and two linear layers, for images of up to 64 pixels"),
    ("convnet", "four convolutions with batch normalisation, for quick trials; that of the demo"),
    ("resnet18-cifar", "ResNet-18 with a 3 x 3 stem and no pooling in front, for images of 32 to 64 pixels"),
    ("resnet34-cifar", "ResNet-34 with the same stem"),
    ("resnet34", "ResNet-34 as in torchvision, for images of more than 64 pixels"),
    ("efficientnet_b0", "EfficientNet-B0 as in torchvision, for images of more than 64 pixels; smooth activations"),
    ("torchvision:NAME", "any image classifier of torchvision.models, for instance torchvision:resnet50"),
    ("pretrained:NAME", "one of the networks below that come with weights, which a training starts from"),
    ("timm:NAME", "any image classifier of timm, for instance timm:convnext_tiny; pip install 'gradsculpt[timm]'"),
    ("python:MODULE:FACTORY", "your own function that takes num_classes and returns a torch.nn.Module"),
)


def build(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    softplus: float | None = None,
    prepare: Callable[[nn.Module], None] = lambda network: None,
) -> nn.Module:
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
        prepare: Called with the network before it is run and its activations are swapped, to give it weights.

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
    prepare(network)
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
    prefix, _, rest = (f"torchvision:{name}" if name in _PLAIN else name).partition(":")
    make = _OURS.get(name) or (partial(_OTHERS[prefix], rest) if rest and prefix in _OTHERS else None)
    if make is None:
        choices = {key: f"torchvision:{key}" for key in torchvision_names()} | {key: key for key, _ in MODELS}
        hint = did_you_mean(rest or name, choices, 3)
        raise ModelError(f"there is no network {name!r}; choose from {', '.join(key for key, _ in MODELS)}.{hint}")
    try:
        network = make(num_classes, image_size)
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


def check_logits(name: str, network: nn.Module, x: Tensor, num_classes: int | None = None) -> int:
    """Run a network once and return its number of outputs, which have to be as many as there are classes."""
    size = x.shape[-1]
    try:
        with untouched(network):
            output = network(x)
    except Exception as error:
        raise ModelError(
            f"{name} cannot take {size} x {size} images, as a batch {list(x.shape)} ({first_line(error)}). "
            "Pass another image size, or choose another network."
        ) from error
    try:
        count = two_sided(logits_of(output, len(x))).shape[1]
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    if num_classes not in (None, count):
        raise ModelError(
            f"{name} gives {counted(count, 'outputs')} for images {list(x.shape)}, where {num_classes} are "
            "needed: one a class. "
            "Build it for as many, or choose another network."
        )
    return count


def grid_in_maps(name: str, network: nn.Module, image_size: int) -> str:
    """Return what is to be said of a network whose first convolution skips pixels of small images; else nothing.

    Example:
        >>> grid_in_maps("net", nn.Conv2d(3, 8, 7, stride=2), 64)[:60]
        'the first layer of net takes steps of 2 pixels, which leaves'
        >>> grid_in_maps("net", nn.Conv2d(3, 8, 7, stride=2), 65) + grid_in_maps("net", nn.Conv2d(3, 8, 3), 64)
        ''
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if image_size > SMALL or first is None or (stride := max(first.stride)) == 1:
        return ""
    return (
        f"the first layer of {name} takes steps of {stride} pixels, which leaves a regular grid in maps of "
        f"{image_size} x {image_size} pixels; images of more than {SMALL} pixels show less of it, and resnet18-cifar "
        "and resnet34-cifar take no steps there"
    )


def _small_resnet(name: str, num_classes: int, image_size: int) -> nn.Module:
    """Build a ResNet of torchvision with a 3 x 3 stem of stride 1 and no pooling in front, for small images."""
    from torchvision import models

    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    # As torchvision does for the stem that this one replaces.
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


def torchvision_names() -> list[str]:
    """List the image classifiers of torchvision."""
    from torchvision import models

    return list(models.list_models(module=models))


def _torchvision(name: str, num_classes: int, image_size: int) -> nn.Module:
    """Build an image classifier of torchvision without weights; nothing is downloaded."""
    from torchvision import models

    names = torchvision_names()
    if name not in names:
        fact = f"torchvision has no network {name!r}; choose a classifier of torchvision.models."
        if name in models.list_models():
            kind = models.get_model_builder(name).__module__.split(".")[2].replace("_", " ")
            fact = (
                f"torchvision:{name} is one of torchvision's {kind} models, and not a classifier of single images that "
                "could be trained and explained here; choose a classifier of torchvision.models."
            )
        raise ModelError(fact + did_you_mean(name, {key: f"torchvision:{key}" for key in names}, 3))
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = image_size
    elif name.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    elif name in ("googlenet", "inception_v3"):
        # The auxiliary heads make the output a tuple; an unset init_weights warns.
        options.update(aux_logits=False, init_weights=True)
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def _timm(name: str, num_classes: int, image_size: int) -> nn.Module:
    """Build a network of timm without weights; nothing is downloaded."""
    try:
        import timm as package
    except ImportError as error:
        raise ModelError(
            f"timm:{name} needs the package timm, which cannot be imported ({error}); "
            "install it with: pip install 'gradsculpt[timm]'"
        ) from error
    if not package.is_model(name):
        hint = did_you_mean(name, {key: f"timm:{key}" for key in package.list_models()}, 3)
        raise ModelError(f"timm {package.__version__} has no network {name!r}; timm.list_models() lists them.{hint}")
    try:
        network: nn.Module = package.create_model(name, num_classes=num_classes, img_size=image_size)
    except TypeError as error:
        # Most convolutional networks take any size, and no such argument.
        if "img_size" not in str(error):
            raise
        network = package.create_model(name, num_classes=num_classes)
    return network


def _pretrained(name: str, num_classes: int, image_size: int) -> nn.Module:
    return packaged_network(name, num_classes)


def _python(target: str, num_classes: int, image_size: int) -> nn.Module:
    """Call a function of the user, named as `package.module:function`, for a network."""
    network, call = called(target, ModelError, {"num_classes": num_classes}, {"image_size": image_size})
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"python:{target} gave a {type(network).__name__} for {call}, where a torch.nn.Module is needed. "
            "Return the network from the function."
        )
    return network


_OURS: dict[str, Callable[[int, int], nn.Module]] = {
    "lenet": LeNet,
    "convnet": ConvNet,
    "resnet18-cifar": partial(_small_resnet, "resnet18"),
    "resnet34-cifar": partial(_small_resnet, "resnet34"),
}
_PLAIN = ("resnet34", "efficientnet_b0")  # those of torchvision that go without its name
_OTHERS = {"torchvision": _torchvision, "timm": _timm, "pretrained": _pretrained, "python": _python}
