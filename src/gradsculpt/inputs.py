"""Between pixel values in [0, 1] and what a network takes."""

from collections.abc import Callable
from contextvars import ContextVar
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

_LEVELS = 10.0  # no mean of images in [0, 1], and none of images in 8 bits, is near it
_LEAST, _MOST = 1e-6, 1e6  # of a standard deviation: beyond, 8 bits of a pixel are lost, or grow without end
_BEYOND = 0.5  # so far from [0, 1] no image is, whatever resampled it


@dataclass(frozen=True)
class InputSpace:
    """The affine map between images in [0, 1] and a network's mean/std-normalised input, where perturbations live.

    Args:
        mean, std: Mean and positive standard deviation of each channel. Units: [0, 1] pixels.

    Raises: ArgumentError if the lengths differ or an entry of `std` is not positive, or far from that of pixels.

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
        if any(not _LEAST <= std <= _MOST for std in self.std):
            raise ArgumentError(
                f"std={checks.told(self.std)} leaves nothing of images, or makes numbers of them that are not finite; "
                f"pass the standard deviations of pixels in [0, 1], as 0.25, from {_LEAST:g} to {_MOST:g}."
            )
        if any(abs(mean) > _LEVELS for mean in self.mean):
            raise ArgumentError(
                f"mean={checks.told(self.mean)} is of pixels up to 255, while images are taken in [0, 1]; divide mean "
                "and std by 255."
            )

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
        count = len(self.mean)
        if like.ndim != 4 or like.shape[1] != count:
            last = like.ndim in (3, 4) and like.shape[-1] == count
            remedy = "" if like.ndim == 4 else " Add the batch dimension of a single image with x[None]."
            if last:
                order = "(0, 3, 1, 2)" if like.ndim == 4 else "(2, 0, 1)"
                remedy = f" Channels are last: pass x.permute{order} or array.transpose{order}.{remedy}"
            raise ArgumentError(f"images have shape {list(like.shape)}; this space needs [N, {count}, H, W].{remedy}")
        if not like.is_floating_point():
            raise ArgumentError(
                f"images have dtype {like.dtype}, in which nothing can be normalised; pass numbers in [0, 1], for "
                "instance x.float() / 255 for 8-bit images."
            )
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


def plausible(model: object, x: Tensor) -> Tensor:
    """Return images if they may be what a model takes, of which much is not known.

    Raises: ArgumentError if the model cannot be called, or images are far from [0, 1] where it has an `InputSpace`, as
        a `Classifier` has, so that it takes images in [0, 1].
    """
    if not callable(model):
        raise ArgumentError(
            f"model={checks.told(model)} cannot be called; pass a network or a function from images to logits."
        )
    if not isinstance(getattr(model, "space", None), InputSpace) or not x.is_floating_point() or not x.numel():
        return x  # what it takes is not known, or is refused elsewhere
    low, high = (float(end) for end in x.detach().aminmax())
    if low < -_BEYOND or high > 1 + _BEYOND:  # maps of NaN are NaN, and those of other images none the worse
        raise ArgumentError(
            f"x has values from {low:g} to {high:g}, while this {type(model).__name__} takes images in [0, 1] and "
            "normalises them itself; divide by 255 what goes up to 255, and of normalised images pass "
            "model.space.denormalize(x), or model.network in place of the model."
        )
    return x


def arrays_as_images(method: Callable[..., Any], place: int) -> Callable[..., Any]:
    """Return a method that takes a model first, and images at a place, in arrays and lists as well as in tensors.

    Images have to be `plausible`, but for those that another such method passes on, which may have been altered.
    """
    name = [*signature(method).parameters, *[""] * place][place]

    @wraps(method)
    def taking_arrays(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the method with images in a tensor; within it, none are looked at again."""
        model = args[0] if args else kwargs.get("model")

        def read(given: Any) -> Tensor:
            images = as_images(model, given)
            return images if _WITHIN.get() else plausible(model, images)

        if len(args) >= place:
            args = (*args[: place - 1], read(args[place - 1]), *args[place:])
        elif name in kwargs:
            kwargs[name] = read(kwargs[name])
        token = _WITHIN.set(True)
        try:
            return method(self, *args, **kwargs)
        finally:
            _WITHIN.reset(token)

    return taking_arrays


_WITHIN: ContextVar[bool] = ContextVar("within", default=False)
"""Whether images come from a method that has had its own looked at."""
