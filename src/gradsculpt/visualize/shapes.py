"""Images and maps as they are at hand, one or many, in tensors, arrays or pictures, as batches."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace

_CHANNELS = (1, 3)
_ROUNDING = 1e-3


def image_batch(name: str, images: Any, space: InputSpace | None = None) -> tuple[Tensor, bool]:
    """Return images as a batch [N, C, H, W] in [0, 1], and whether they were a single one.

    Args:
        name: Of the argument, for messages.
        images: One image or a batch of them, a tensor, an array, a PIL image or a list: [H, W], [C, H, W], [H, W, C],
            [N, C, H, W] or [N, H, W, C] with one or three channels; in 8 bits, in [0, 1], or as the space has them.
        space: How they are normalised; None if they are not.

    Raises: ArgumentError if they are none of these.

    Example:
        >>> image_batch("image", np.zeros((4, 5, 3), np.uint8))[0].shape
        torch.Size([1, 3, 4, 5])
    """
    if isinstance(images, Image.Image):
        images = np.asarray(images.convert("RGB"))
    given = checks.tensor(name, images).detach()
    batch = given[None] if given.ndim == 2 else given
    single = batch.ndim == 3
    batch = batch[None] if single else batch
    if batch.ndim != 4 or not batch.numel():
        raise ArgumentError(
            f"{name} has shape {list(given.shape)}, which is no image and no batch of them; pass [H, W], [C, H, W], "
            "[N, C, H, W], or the same with channels last."
        )
    if batch.shape[1] not in _CHANNELS and batch.shape[3] in _CHANNELS:
        batch = batch.permute(0, 3, 1, 2)
    if batch.shape[1] not in _CHANNELS:
        raise ArgumentError(
            f"{name} has shape {list(given.shape)}, with {batch.shape[1]} channels; a picture has one or three."
        )
    return _in_range(name, batch, space), single


def map_batch(name: str, maps: Any, images: Tensor | None) -> Tensor:
    """Return maps as a batch, [N, H, W] or [N, C, H, W], one for each image.

    Args:
        name: Of the argument, for messages.
        maps: [H, W] or [C, H, W] of one image, [N, H, W] or [N, C, H, W] of a batch. Where there are no images, three
            dimensions are one map of one or three channels, or else a batch.
        images: The images, [N, C, H, W], if there are any.

    Raises: ArgumentError if they are not one map for each image.
    """
    given = checks.tensor(name, maps).detach()
    one = given.ndim == 2 or (given.ndim == 3 and len(given) in _CHANNELS and (images is None or len(images) == 1))
    batch = given[None] if one else given
    count = len(batch) if images is None else len(images)
    if batch.ndim not in (3, 4) or len(batch) != count or not batch.numel():
        what = "a map" if count == 1 else f"{count} maps"
        raise ArgumentError(
            f"{name} has shape {list(given.shape)}, which is not {what}; pass one map for each image, [H, W] or "
            "[C, H, W] for one, [N, H, W] or [N, C, H, W] for a batch."
        )
    return batch if batch.is_floating_point() else batch.float()


def named_maps(maps: Any, single: bool) -> dict[str, Any]:
    """Return maps of one kind or of several by heading: those of a mapping by its keys.

    A list of tensors or arrays holds several maps of a single image, or else one of each.
    """
    if maps is None:
        return {}
    if isinstance(maps, Mapping):
        return {str(name): each for name, each in maps.items()}
    if single and isinstance(maps, list | tuple) and all(isinstance(each, Tensor | np.ndarray) for each in maps):
        return {f"map {i + 1}": each for i, each in enumerate(maps)} if len(maps) != 1 else {"map": maps[0]}
    return {"map": maps}


def _in_range(name: str, images: Tensor, space: InputSpace | None) -> Tensor:
    if images.dtype == torch.uint8:
        return images.float() / 255
    if images.dtype == torch.bool:
        return images.float()
    if not images.is_floating_point():
        raise ArgumentError(f"{name} has dtype {images.dtype}; pass 8 bits (torch.uint8), or numbers in [0, 1].")
    pixels = images.float() if space is None else space.denormalize(images.float())
    low, high = float(images.min()), float(images.max())
    if not -_ROUNDING <= float(pixels.min()) <= float(pixels.max()) <= 1 + _ROUNDING:
        remedy = (
            "of normalised images say so: space=InputSpace(mean, std)"
            if space is None
            else f"pass the space that they were normalised by, which is not {space}"
        )
        raise ArgumentError(
            f"{name} has values from {low:g} to {high:g}, which are not those of a picture; pass 8 bits or [0, 1], "
            f"clamp(0, 1) what goes a little beyond, and {remedy}."
        )
    return pixels.clamp(0, 1)
