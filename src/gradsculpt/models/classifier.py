"""A network together with what its inputs and outputs mean; and runs of one that leave no trace."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.errors import ArgumentError, first_line
from gradsculpt.inputs import InputSpace, as_images
from gradsculpt.isolation import own_randomness, undisturbed
from gradsculpt.notebook import table
from gradsculpt.outputs import logits_at, logits_of, two_sided
from gradsculpt.runs import Reached

_SHOWN = 8


class Classifier(nn.Module):
    """A network with its input space and class names; it takes images in [0, 1].

    Methods that work in the network's own space take `.network` and normalised images; everybody else calls this.
    A call raises `ArgumentError` if the images are not a floating-point batch with the channels of `space`.

    Args:
        network: Maps normalised images [N, C, H, W] to logits [N, K].
        space: How images in [0, 1] are normalised.
        classes: The K class names, in the order of the logits.
        image_size: Height and width of the images that the network was built for.
        reached: How far its training got; None where that is not known.

    Shape: images [N, C, H, W] in [0, 1] to logits [N, K]; to [N, 1] of a network with a single logit, which is that of
        the second of two classes.
    Raises: ArgumentError, when called, if images are not what the space takes; ModelError if the network returns no
        logits (see `OutputOf`).

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> space = InputSpace(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> Classifier(network, space, classes=("cat", "dog"), image_size=2)(torch.rand(5, 3, 2, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        network: nn.Module,
        space: InputSpace,
        classes: Sequence[str],
        image_size: int,
        reached: Reached | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.space = space
        self.classes = tuple(classes)
        self.image_size = image_size
        self.reached = reached

    def _repr_html_(self) -> str:
        shown = ", ".join(self.classes[:_SHOWN]) + (", ..." if len(self.classes) > _SHOWN else "")
        rows = (
            ("network", f"{type(self.network).__name__}, {sum(p.numel() for p in self.parameters()):,} parameters"),
            ("classes", f"{len(self.classes)}: {shown}" if self.classes else "not named"),
            ("images", f"[0, 1], of {self.image_size} x {self.image_size} pixels when it was built"),
            ("normalised by", f"mean {_rounded(self.space.mean)}, standard deviation {_rounded(self.space.std)}"),
            ("trained", "not known" if self.reached is None else str(self.reached)),
            ("where and how", f"{self.device}, {'training' if self.training else 'evaluation'} mode"),
        )
        return table(type(self).__name__, rows)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return device_of(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, K] of images in [0, 1], in a tensor or an array."""
        images = as_images(self, images)
        checks.images("images", images)
        return logits_at(self.network, self.space.normalize(images))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probability of every class, [N, K], of images in [0, 1]; without a graph, and leaving no trace."""
        with undisturbed(self), torch.no_grad():
            return two_sided(self(images)).softmax(dim=1)


def _rounded(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


class OutputOf(nn.Module):
    """One of the outputs of a network that returns several.

    A tuple, list, mapping, named tuple or dataclass in which one entry is called `logits`, or one alone has the shape
    of logits, is understood without it.

    Args:
        network: Maps images [N, C, H, W] to several outputs.
        output_key: The name or position of the one that counts.

    Shape: images [N, C, H, W] to [N, K].
    Raises: ModelError, when called, if there is no such output, or it holds no logits.

    Example:
        >>> class Two(nn.Module):
        ...     def forward(self, x):
        ...         return {"cat or dog": x.flatten(1)[:, :2], "indoors": x.flatten(1)[:, 2:4]}
        >>> OutputOf(Two(), output_key="indoors")(torch.arange(4.0).view(1, 1, 2, 2))
        tensor([[2., 3.]])
    """

    def __init__(self, network: nn.Module, output_key: str | int) -> None:
        super().__init__()
        self.network = network
        self.output_key = output_key

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return logits_of(self.network(x), x.shape[0], self.output_key)  # which an export keeps open, unlike len(x)


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Within the block: eval mode, no gradients; after it: the modes and the random state are as before."""
    modes = [(module, module.training) for module in network.modules()]
    device = device_of(network)
    try:
        with own_randomness(devices=[str(device)] if device.type == "cuda" else []), torch.no_grad():
            network.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training


def noise(size: int, network: nn.Module) -> Tensor:
    """Return two noise images [2, 3, size, size] on the device of `network`, and in the precision of its weights.

    Noise, because comparisons that decide between branches are all alike on a constant image.
    """
    tensors = chain(network.parameters(), network.buffers())
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return images.to(device_of(network), dtype)


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer; the CPU for a network that has none."""
    return next((tensor.device for tensor in chain(network.parameters(), network.buffers())), torch.device("cpu"))


def found_device(device: str | int | torch.device) -> torch.device:
    """Return a device by name, number or itself, "auto" for the first accelerator; `ArgumentError` if there is none.

    Example:
        >>> found_device("cpu")
        device(type='cpu')
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kinds = [kind for kind, available in there.items() if available]
    try:
        place = torch.device(kinds[0] if device == "auto" else device)
        torch.zeros(1, device=place).item()  # a device may exist by name, and be out of order, or hold nothing
    except (RuntimeError, TypeError, AssertionError, NotImplementedError, ValueError) as error:
        raise ArgumentError(
            f"device={checks.told(device)} cannot be had here ({first_line(error, kind=False)}); what there is: "
            f'{", ".join(kinds)}. Pass one of these, or "auto".'
        ) from error
    return place
