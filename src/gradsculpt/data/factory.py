"""Images from a function of the user's own: `python:MODULE:FACTORY`."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from gradsculpt.data.base import Bytes, ImageSet, Request, Splits, stratified_cut
from gradsculpt.data.decode import cut_square
from gradsculpt.errors import DataError
from gradsculpt.extensions import called
from gradsculpt.progress import Progress


def load_factory(target: str, size: int | None, request: Request) -> Splits:
    """Return what a function of the user's own returns: `Splits`, (train, test), or (train, val, test).

    The function is called with those of `image_size` (None for its own choice), `seed` and `data_dir` that it has
    parameters for. A part is anything that has a length and items (image, label), such as a data set of torchvision, or
    a pair (images, labels) of arrays. An image is a PIL image, an array [H, W] or [H, W, C], or a tensor [C, H, W],
    with 1 or 3 channels, in uint8 or in floating point from 0 to 1. Classes have the names in `train.classes`, if there
    is such an attribute, and go by their numbers otherwise.

    Pixels are read anew each time and kept in memory; an array of uint8 images [N, S, S, 3] that have their size is
    taken as it is, so that it can be a memory map. Other images are cut and scaled as those of a folder are.

    Validation is cut off where the function, `package.module:function`, returns no part for it. Raises `DataError` if
    the function cannot be had or fails, or returns what cannot be used.
    """
    said = f"python:{target}"
    wanted = {"image_size": size, "seed": request.seed, "data_dir": request.data_dir}
    returned, call = called(target, DataError, {}, wanted)
    if isinstance(returned, Splits):
        if size not in (None, side := returned.train.images.shape[1]):
            raise DataError(f"{said} gave images of {side} pixels, not {size}; let the function take image_size.")
        return returned
    if not isinstance(returned, tuple) or len(returned) not in (2, 3):
        raise DataError(
            f"{said} gave a {type(returned).__name__} for {call}; return (train, test) or (train, val, test), each a "
            "data set of (image, label) or a pair (images, labels)."
        )
    names = ("train", "test") if len(returned) == 2 else ("train", "val", "test")
    read = [_read(f"{said} {name}", part, size, request.progress) for name, part in zip(names, returned, strict=True)]
    classes = tuple(map(str, getattr(returned[0], "classes", range(1 + max(labels.max() for _, labels in read)))))
    sets = []
    for name, part, (images, labels) in zip(names, returned, read, strict=True):
        if tuple(map(str, getattr(part, "classes", classes))) != classes:
            raise DataError(f"{said} {name} has other classes than train; give all parts the same.")
        if not 0 <= labels.min() <= labels.max() < len(classes):
            raise DataError(
                f"{said} {name} has labels from {labels.min()} to {labels.max()}, and those of {len(classes)} classes "
                f"go from 0 to {len(classes) - 1}; number the classes from 0."
            )
        sets.append(ImageSet(images, labels, classes, tuple(f"{name}/{index:05d}" for index in range(len(labels)))))
    train, val = stratified_cut(sets[0], request.val_fraction, request.seed) if len(sets) == 2 else sets[:2]
    return Splits(train, val, sets[-1])


def _read(said: str, part: Any, size: int | None, progress: Progress) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Return the images of a part, [N, S, S, 3], and their labels, [N]."""
    if not hasattr(part, "__getitem__") or not hasattr(part, "__len__") or len(part) == 0:
        raise DataError(f"{said} is a {type(part).__name__} without items (image, label); return a data set.")
    if not isinstance(part, tuple):
        images, labels = _stacked(said, (part[index] for index in range(len(part))), len(part), size, progress)
    elif len(part) != 2 or len(part[0]) != len(part[1]):
        raise DataError(f"{said} has {' and '.join(str(len(item)) for item in part)} items; return (images, labels).")
    else:
        images, labels = part
        shape: tuple[int, ...] = getattr(images, "shape", ())
        side = size or max(shape[1:3], default=0)
        if shape[1:] != (side, side, 3) or getattr(images, "dtype", None) != np.uint8:
            images, _ = _stacked(said, zip(images, labels, strict=True), len(labels), size, progress)
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"{said} has labels such as {labels[0]!r}; give each image the number of its class.")
    return images, numbers.astype(np.int64)


def _stacked(
    said: str, items: Iterable[Any], count: int, size: int | None, progress: Progress
) -> tuple[Bytes, list[Any]]:
    labels: list[Any] = []
    stack = np.empty((0, 0, 0, 3), np.uint8)
    for index, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"{said} has a {type(item).__name__} as item {index}; return (image, label).")
        pixels = _pixels(f"{said}, image {index},", item[0])
        height, width = pixels.shape[:2]
        if index == 0:
            stack = np.empty((count, size or height, size or width, 3), np.uint8)
        if (height, width) != stack.shape[1:3] or height != width:
            if size is None:
                raise DataError(
                    f"{said}, image {index}, is {width} x {height} and the first is {stack.shape[2]} x "
                    f"{stack.shape[1]} pixels; pass --image-size, or return squares of one size."
                )
            pixels = cut_square(pixels, size)
        stack[index] = pixels
        labels.append(item[1].item() if isinstance(item[1], Tensor) else item[1])
        progress(index + 1, count)
    return stack, labels


def _pixels(said: str, image: Any) -> Bytes:
    values = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if isinstance(image, Tensor) and values.ndim == 3:
        values = values.transpose(1, 2, 0)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3) or values.dtype.kind not in "uf":
        raise DataError(
            f"{said} is a {type(image).__name__} of shape {list(values.shape)} in {values.dtype}; return a PIL image, "
            "an array [H, W, 3] or a tensor [3, H, W], in uint8 or in floating point from 0 to 1."
        )
    if values.dtype.kind == "f":
        if not (values.min() >= 0 and values.max() <= 1):
            raise DataError(
                f"{said} has values from {values.min():g} to {values.max():g}; return values from 0 to 1, before they "
                "are normalised, which is done here."
            )
        values = np.rint(values * 255)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)), dtype=np.uint8)
