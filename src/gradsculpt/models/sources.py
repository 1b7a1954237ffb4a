"""Where networks by name come from: torchvision, timm, and functions of the user."""

from typing import Any

from torch import nn

from gradsculpt.errors import ModelError, did_you_mean
from gradsculpt.extensions import called


def resnet18_cifar(num_classes: int, image_size: int) -> nn.Module:
    """Build torchvision's ResNet-18 with a 3 x 3 stem of stride 1 and no pooling in front, for small images."""
    from torchvision.models import resnet18

    network: nn.Module = resnet18(num_classes=num_classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    network.maxpool = nn.Identity()
    # As torchvision does for the stem that this one replaces.
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


def torchvision_names() -> list[str]:
    """List the image classifiers of torchvision."""
    from torchvision import models

    return list(models.list_models(module=models))


def torchvision(name: str, num_classes: int, image_size: int) -> nn.Module:
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


def timm(name: str, num_classes: int, image_size: int) -> nn.Module:
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


def python(target: str, num_classes: int, image_size: int) -> nn.Module:
    """Call a function of the user, named as `package.module:function`, for a network."""
    network, call = called(target, ModelError, {"num_classes": num_classes}, {"image_size": image_size})
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"python:{target} gave a {type(network).__name__} for {call}, where a torch.nn.Module is needed. "
            "Return the network from the function."
        )
    return network
