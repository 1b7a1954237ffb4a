"""Images from a function of the user's own: `python:MODULE:FACTORY`."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from gradsculpt.data.base import Bytes, ImageSet, Splits
from gradsculpt.data.cache import Progress
from gradsculpt.data.decode import cut_square
from gradsculpt.data.splits import stratified_cut
from gradsculpt.errors import DataError
from gradsculpt.extensions import called


def load_factory(
    target: str,
    *,
    data_dir: Path,
    size: int | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Splits:
    """Return what a function of the user's own returns: `Splits`, (train, test), or (train, val, test).

    The function is called with those of `image_size` (None for its own choice), `seed` and `data_dir` that it has
    parameters for. A part is anything that has a length and items (image, label), such as a data set of torchvision, or
    a pair (images, labels) of arrays, or an `ImageSet`. An image is a PIL image, an array [H, W] or [H, W, C], or a
    tensor [C, H, W], with 1 or 3 channels, in uint8 or in floating point from 0 to 1. Classes have the names in
    `train.classes`, if there is such an attribute, and go by their numbers otherwise.

    Pixels are read anew each time and kept in memory; an array of uint8 images [N, S, S, 3] that have their size is
    taken as it is, so that it can be a memory map. Other images are cut and scaled as those of a folder are.

    Args:
        target: `package.module:function`.
        data_dir: What the function may want to know.
        size: Side of the images, in pixels; None for the one that they have.
        val_fraction: Share of each class to cut off for validation, where the function returns no part for it.
        seed: Chooses the validation images.
        progress: Called as `progress(done, total)` while the items of a part are read.

    Raises:
        DataError: If the function cannot be had or fails, or returns what cannot be used.
    """
    said = f"python:{target}"
    wanted = {"image_size": size, "seed": seed, "data_dir": data_dir}
    returned, call = called(target, DataError, {}, wanted)
    splits = isinstance(returned, Splits)
    parts = (returned.train, returned.val, returned.test) if splits else returned
    if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
        raise DataError(
            f"{said} gave a {type(returned).__name__} for {call}; return (train, test) or (train, val, test), each a "
            "data set of (image, label) or a pair (images, labels)."
        )
    titles = ("train", "test") if len(parts) == 2 else ("train", "val", "test")
    sets = [_read(said, title, part, size, progress) for title, part in zip(titles, parts, strict=True)]
    sets = _with_classes(said, titles, [_class_names(part) for part in parts], sets)
    train, val = stratified_cut(sets[0], val_fraction, seed) if len(sets) == 2 else sets[:2]
    return Splits(train, val, sets[-1], *((returned.skipped, returned.notes) if splits else ()))


def _read(said: str, title: str, part: Any, size: int | None, progress: Progress | None) -> ImageSet:
    """Return a part of the data, whose classes are still to be named."""
    said = f"{said} {title}"
    pair = (part.images, part.labels) if isinstance(part, ImageSet) else part
    arrays = isinstance(pair, tuple) and len(pair) == 2
    if not hasattr(pair, "__getitem__") or not hasattr(pair, "__len__"):
        raise DataError(f"{said} is a {type(part).__name__}; return a data set with a length and items (image, label).")
    if arrays and len(pair[0]) != len(pair[1]):
        raise DataError(f"{said} has {len(pair[0])} images and {len(pair[1])} labels; give each image its label.")
    images, labels = pair if arrays else (None, [])
    shape = getattr(images, "shape", ())
    ready = len(shape) == 4 and shape[1:] == (size or shape[1],) * 2 + (3,) and getattr(images, "dtype", 0) == np.uint8
    if not ready:
        rows = zip(*pair, strict=True) if arrays else (pair[index] for index in range(len(pair)))
        images, labels = _stacked(said, rows, len(pair[0] if arrays else pair), size, progress)
    numbers = np.asarray(labels)
    if numbers.shape != (len(images),) or numbers.dtype.kind not in "iu":
        raise DataError(
            f"{said} has labels of shape {list(numbers.shape)} in {numbers.dtype}, the first {labels[0]}, for "
            f"{len(images)} images; give each image the number of its class."
        )
    if isinstance(part, ImageSet):
        if part.attention is not None and not ready:
            raise DataError(
                f"{said} has attention maps, which are not resized; give the function an image_size to use."
            )
        return replace(part, images=images)
    names = tuple(f"{title}/{index:05d}" for index in range(len(images)))
    return ImageSet(images, numbers.astype(np.int64), (), names)


def _stacked(
    said: str, rows: Iterable[Any], count: int, size: int | None, progress: Progress | None
) -> tuple[Bytes, list[Any]]:
    """Return images [N, S, S, 3] and labels, one by one from (image, label)."""
    labels: list[Any] = []
    stack = np.empty((0, 0, 0, 3), np.uint8)
    for index, row in enumerate(rows):
        if not isinstance(row, tuple | list) or len(row) != 2:
            raise DataError(f"{said} gives a {type(row).__name__} as its item {index}; give (image, label).")
        pixels = _pixels(f"{said}, image {index},", row[0])
        height, width = pixels.shape[:2]
        if index == 0:
            stack = np.empty((count, size or height, size or width, 3), np.uint8)
        if (height, width) != stack.shape[1:3] or height != width:
            if size is None:
                raise DataError(
                    f"{said}, image {index}, is {width} x {height} and the first is {stack.shape[2]} x "
                    f"{stack.shape[1]} pixels; pass --image-size, or return squares of one size."
                )
            pixels = cut_square(pixels, size, (width, height))
        stack[index] = pixels
        labels.append(np.asarray(row[1]))
        if progress is not None:
            progress(index + 1, count)
    return stack, labels


def _pixels(said: str, image: Any) -> Bytes:
    """Return an image as uint8 [H, W, 3]."""
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


def _class_names(part: Any) -> tuple[str, ...]:
    return tuple(map(str, getattr(part, "classes", ())))


def _with_classes(
    said: str, titles: tuple[str, ...], named: list[tuple[str, ...]], sets: list[ImageSet]
) -> list[ImageSet]:
    """Return the parts with the class names of the first, or else with numbers for them."""
    classes = named[0] or tuple(map(str, range(1 + max(int(images.labels.max(initial=0)) for images in sets))))
    for title, names, images in zip(titles, named, sets, strict=True):
        if names and names != classes:
            raise DataError(
                f"{said} has other classes in {title} than in train; give all parts the same, in one order."
            )
        wrong = images.labels[(images.labels < 0) | (images.labels >= len(classes))]
        if len(wrong):
            raise DataError(
                f"{said} {title} has the label {wrong[0]}, and those of {len(classes)} classes go from 0 to "
                f"{len(classes) - 1}; number the classes from 0."
            )
    return [replace(images, classes=classes) for images in sets]
