"""Between pixel values in [0, 1] and what a network takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.wording import counted

Bounds = tuple[float | Tensor, float | Tensor]
"""The least and the greatest value of an image, as the model takes it: numbers, or one a channel as [1, C, 1, 1]."""


@dataclass(frozen=True)
class InputSpace:
    """The affine map between images in [0, 1] and a network's mean/std-normalised input, where perturbations live.

    Args:
        mean, std: Mean and positive standard deviation of each channel. Units: [0, 1] pixels.

    Raises: ArgumentError if the lengths differ or an entry of `std` is not positive.

    Example:
        >>> space = InputSpace(mean=(0.5,), std=(0.25,))
        >>> [t.item() for t in (*space.bounds, space.pixels(0.5), space.normalize(torch.full((1, 1, 1, 1), 0.75)))]
        [-2.0, 2.0, 2.0, 1.0]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        checks.declared(self)
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if not self.mean or len(self.mean) != len(self.std):
            raise ArgumentError(
                f"mean has {counted(len(self.mean), 'channels')} but std has {len(self.std)}; give each one "
                "value a channel."
            )
        for std in self.std:
            checks.positive("std", std)

    def normalize(self, x01: Tensor) -> Tensor:
        """Map images in [0, 1] to model input; shape [N, C, H, W] is kept."""
        x01 = checks.tensor("x01", x01)
        mean, std = self._channels(x01)
        return (x01 - mean) / std

    def denormalize(self, z: Tensor) -> Tensor:
        """Map model input to images in [0, 1]; the inverse of `normalize`, without clamping."""
        z = checks.tensor("z", z)
        mean, std = self._channels(z)
        return z * std + mean

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The model input of a black and of a white pixel, each of shape [1, C, 1, 1]."""
        black = torch.zeros(1, len(self.mean), 1, 1)
        return self.normalize(black), self.normalize(black + 1)

    def pixels(self, eps: float) -> Tensor:
        """Turn a length in [0, 1] pixel units (8 / 255, say) into model units, shape [1, C, 1, 1]."""
        return eps / torch.tensor(self.std).view(1, -1, 1, 1)

    def _channels(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if like.ndim != 4 or like.shape[1] != len(self.mean):
            raise ArgumentError(f"images have shape {list(like.shape)}; this space needs [N, {len(self.mean)}, H, W].")
        mean, std = like.new_tensor((self.mean, self.std)).view(2, 1, -1, 1, 1)
        return mean, std


def in_precision_of(network: object, x: Tensor) -> Tensor:
    """Return images in the precision that a module computes in, its first parameter's; what is no module takes any."""
    if not isinstance(network, nn.Module):
        return x
    tensors = chain(network.parameters(), network.buffers())
    return x.to(next((t.dtype for t in tensors if t.is_floating_point()), x.dtype))


def as_images(model: object, x: Any) -> Tensor:
    """Return images as a tensor: one as it is; an array or a list in the model's precision, and where its weights are.

    Whole numbers stay whole, so that 8-bit images are not taken for what the model takes. The precision is PyTorch's
    default if the model is no module, or has no weights.
    """
    if isinstance(x, Tensor):
        return x
    images = checks.tensor("x", x)
    owner = getattr(model, "__self__", model)  # of a method, such as `network.forward`
    tensors = chain(owner.parameters(), owner.buffers()) if isinstance(owner, nn.Module) else ()
    weight = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    return images.to(weight.device, weight.dtype if images.is_floating_point() else images.dtype)


def arrays_as_images(method: Callable[..., Any], place: int) -> Callable[..., Any]:
    """Return a method that takes a model first, and images at a place, in arrays and lists as well as in tensors."""
    name = [*signature(method).parameters, *[""] * place][place]

    @wraps(method)
    def taking_arrays(self: Any, *args: Any, **kwargs: Any) -> Any:
        model = args[0] if args else kwargs.get("model")
        if len(args) >= place:
            args = (*args[: place - 1], as_images(model, args[place - 1]), *args[place:])
        elif name in kwargs:
            kwargs[name] = as_images(model, kwargs[name])
        return method(self, *args, **kwargs)

    return taking_arrays
