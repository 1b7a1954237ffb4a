"""A classifier as plain operations of PyTorch: what is written down for those who do not have this package."""

import copy
from contextlib import suppress
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt import kernels
from gradsculpt.eager import eager
from gradsculpt.errors import ModelError, first_line
from gradsculpt.files import strict_json
from gradsculpt.models.classifier import Classifier
from gradsculpt.outputs import logits_of, two_sided

CHANNELS = ("red", "green", "blue")


class Plain(nn.Module):
    """A classifier that normalises by itself, in operations of PyTorch alone; it takes the place of its network.

    Args:
        classifier: One of `detached`, whose network is changed.

    Shape: images [N, C, S, S] in [0, 1] to logits [N, K], K being at least 2: a single logit z becomes (-z / 2, z / 2),
        or the first of its two classes could not be predicted by the greatest one.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network = classifier.network
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(classifier.space, name)).view(1, -1, 1, 1))
        places = [(parent, *child) for parent in self.modules() for child in parent._modules.items()]
        for parent, name, child in places:
            if type(child) is kernels.Softplus:  # the same function, which others have too
                setattr(parent, name, nn.Softplus(child.beta, child.threshold))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        x = (images - self.mean) / self.std
        return two_sided(logits_of(self.network(x), x.shape[0]))


def detached(classifier: Classifier) -> Classifier:
    """Return a copy on the CPU, in float32 and eval mode; raise `ModelError` if there can be none."""
    network = eager(classifier.network, "an export")
    try:
        network = copy.deepcopy(network).to("cpu", torch.float32).requires_grad_(False)
    except Exception as error:
        raise ModelError(
            f"the network cannot be copied to be written down ({first_line(error)}). Keep tensors that it computes out "
            "of its attributes, and modules out of what copy.deepcopy does not take."
        ) from error
    return Classifier(network, classifier.space, classifier.classes, classifier.image_size, classifier.reached).eval()


def trial(channels: int, size: int) -> list[Tensor]:
    """Return 1, 2 and 5 images [N, C, S, S] in [0, 1]: noise, black, white, single pixels, a chessboard."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(4, channels, size, size, generator=generator)
    steps = torch.arange(size)
    board = ((steps[:, None] + steps) % 2).float().expand(1, channels, size, size)
    few = (torch.rand(1, 1, size, size, generator=generator) < 0.01).float().expand(1, channels, size, size)
    ends = torch.stack([torch.zeros_like(noise[0]), torch.ones_like(noise[0])])
    return [noise[:1], ends, torch.cat([board, few, noise[1:]])]


def description(classifier: Classifier, size: int, source: str) -> dict[str, str]:
    """Return what others have to know of a file, each entry a text, JSON where it is a list or a number."""
    channels = len(classifier.space.mean)
    colours = f", {', '.join(CHANNELS)}" if channels == len(CHANNELS) else ""
    texts: dict[str, Any] = {
        "input": f"images in [0, 1], float32 [N, {channels}, {size}, {size}]{colours}; they are normalised inside",
        "output": "logits [N, K] in the order of the classes; softmax gives probabilities",
        "classes": list(classifier.classes),
        "image_size": size,
        "mean": list(classifier.space.mean),
        "std": list(classifier.space.std),
        "source": source or type(classifier.network).__name__,
    }
    if classifier.reached is not None:
        texts["trained"] = str(classifier.reached)
    for package in ("gradsculpt", "torch"):
        with suppress(metadata.PackageNotFoundError):
            texts[f"{package}_version"] = metadata.version(package)
    plain = {key: text if isinstance(text, str) else strict_json(text).decode() for key, text in texts.items()}
    # Half a character, as of a folder's name that is not UTF-8, could not be kept.
    return {key: text.encode("utf-8", "backslashreplace").decode() for key, text in plain.items()}
