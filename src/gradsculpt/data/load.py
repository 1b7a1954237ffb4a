"""From a name such as `cells` or `folder:photos` to training, validation and test images."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradsculpt import checks
from gradsculpt.data.augment import Augment
from gradsculpt.data.base import (
    ImageSet,
    Request,
    Splits,
    shuffled_labels,
    stratified_cut,
    stratified_subset,
    swapped,
    unheard,
)
from gradsculpt.data.building import Row
from gradsculpt.data.cache import cached, ordered, workers
from gradsculpt.data.cub_gha import load_cub_gha
from gradsculpt.data.factory import load_factory
from gradsculpt.data.folder import load_folder
from gradsculpt.data.sets import load_cifar10, load_digits, load_imagenette
from gradsculpt.errors import DataError, did_you_mean
from gradsculpt.progress import Progress
from gradsculpt.wording import alike, printable

# Training cells come from the user's seed, so that this one never meets it.
CELLS_TEST_SEED = 2**31 - 1

_AHEAD, _WAITING = 256, 1 << 25  # cells, and bytes of them, that are drawn before the first of them is written


@dataclass(frozen=True)
class Source:
    """Where images can come from, as it is listed and with what it is trained on unless told otherwise.

    Args:
        name: What `load_data` takes; words in capitals stand for the user's.
        image_size: Side of the images, in pixels; None for the side that they come with.
        flip: Whether training mirrors images at random.
        crop: How far training shifts images at random, as a share of their side.
    """

    name: str
    description: str
    image_size: int | None
    flip: bool = True
    crop: float = 0.125

    def augment(self) -> Augment:
        """Return the augmentation that suits the source."""
        return Augment(flip=self.flip, crop=self.crop)


SOURCES = (
    # Reflection at the border would draw a second tail or border, which is another class.
    Source("cells", "synthetic cells in 10 classes, with the true place of the evidence", 64, crop=0.0),
    Source("digits", "1,797 handwritten digits (UCI), without a download", 32, flip=False, crop=0.0625),
    Source("cifar10", "60,000 small photographs in 10 classes, downloaded", 32),
    Source("imagenette", "13,394 photographs in 10 easy classes of ImageNet, downloaded", 128),
    Source("cub-gha", "11,780 photographs of 200 kinds of birds, with gaze maps, brought by you", 224),
    Source(
        "folder:PATH",
        "your images: PATH/train and PATH/val or PATH/test, or one folder of class folders; PATH/attention for maps",
        128,
    ),
    Source(
        "python:MODULE:FACTORY",
        "what a function of your own returns: (train, test) or (train, val, test), each a data set or (images, labels)",
        None,
    ),
)


def find_source(name: str) -> Source:
    """Return the source that `name` belongs to; raise `DataError` if there is none."""
    kind, colon, rest = name.partition(":")
    for source in SOURCES:
        if name == source.name or (colon and rest and source.name.startswith(f"{kind}:")):
            return source
    names = [source.name for source in SOURCES]
    hint = did_you_mean(name.lower(), names).replace("Did", "did", 1)
    raise DataError(f"data {name!r} is not known, so there is nothing to read;{hint} choose from {', '.join(names)}.")


def load_data(
    name: str,
    *,
    data_dir: Path,
    cache_dir: Path,
    image_size: int | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    train_count: int | None = None,
    swap: int = 0,
    shuffle_labels: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], object] = warnings.warn,
) -> Splits:
    """Read a set of images by name and split it.

    Args:
        name: The name of one of `SOURCES`.
        data_dir: Where downloaded sets are or go.
        cache_dir: Where decoded images are kept, to be read by rows.
        image_size: Side of the images, in pixels; None for the source's own, or that of the images that it gives.
        val_fraction: Share of each class of the training images to use for validation, 0 to 0.5.
        seed: Chooses the validation images, and the training images of cells; never the test images.
        train_count: Number of training images to keep, the same share of each class, once validation is cut off;
            the seed chooses them. Of cells, which are drawn, the number for training and validation, to which a
            fourth as many are added for the test.
        swap: Number of training images that change places with test images, once validation is cut off; the seed
            chooses them. Data of another seed, or without a swap, then have test images that were learnt from here.
        shuffle_labels: Permute the labels of the training images among them, and those of the validation images
            likewise, by the seed; images keep their attention, and test images their labels.
        strict: Raise at the first file that cannot be decoded, instead of listing it in `skipped`.
        progress: Called as `progress(done, total)` during long work.
        tell: Told, in one line, that decoded images were damaged and are made again.

    Raises:
        DataError: If the name is not known, or the source cannot be used.
        ArgumentError: If a number is out of range.
    """
    kind, _, rest = name.partition(":")
    asked = request_for(name, image_size=image_size, val_fraction=val_fraction, seed=seed, train_count=train_count)
    data_dir, cache_dir = (Path(os.path.expanduser(each)) for each in (data_dir, cache_dir))
    told: Any = {"progress": progress or unheard, "tell": tell}
    request = replace(asked, data_dir=data_dir, cache_dir=cache_dir, strict=strict, **told)
    readers: dict[str, Callable[[], Splits]] = {
        "cells": lambda: _load_cells(request),
        "digits": lambda: load_digits(request),
        "cifar10": lambda: load_cifar10(request),
        "imagenette": lambda: load_imagenette(request),
        "cub-gha": lambda: load_cub_gha(request),
        "folder": lambda: load_folder(Path(rest), request),
        "python": lambda: load_factory(rest, request.size or None, request),
    }
    try:
        splits = readers[kind]()
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error}); check that it is there and may be read.") from error
    if train_count is not None and kind != "cells":
        splits = replace(splits, train=stratified_subset(splits.train, train_count, seed))
    checks.whole("swap", swap, 0)
    if swap:
        train, test = swapped(splits.train, splits.test, swap, seed)
        splits = replace(splits, train=train, test=test)
    splits = _worded(name, splits)
    if shuffle_labels:
        splits = replace(splits, train=shuffled_labels(splits.train, seed), val=shuffled_labels(splits.val, seed))
    return splits


def request_for(
    name: str, *, image_size: int | None, val_fraction: float, seed: int, train_count: int | None
) -> Request:
    """Return what is asked of a source, size 0 for its own choice; the arguments and errors are as of `load_data`."""
    source = find_source(name)
    checks.within("val_fraction", val_fraction, 0.0, 0.5)
    checks.within("seed", seed, 0, CELLS_TEST_SEED - 1)
    size = source.image_size if image_size is None else image_size
    checks.within("image_size", 8 if size is None else size, 8, 4096)
    if source.name == "cells" and train_count is not None:
        checks.within("train_count", train_count, 40, 10**7)
    return Request(size or 0, val_fraction=val_fraction, seed=seed, train_count=train_count)


def _worded(source: str, splits: Splits) -> Splits:
    """Return data whose classes and names can be printed and written anywhere; `DataError` if they are then alike."""
    parts = (splits.train, splits.val, splits.test)
    shown = all(name.isprintable() for images in parts for name in images.names)  # then none looks like another
    names = dict.fromkeys(() if shown else (name for images in parts for name in images.names))
    for what, texts in (("classes", splits.train.classes), ("images", names)):
        if pairs := alike(texts):
            raise DataError(
                f"{source} has two {what} of one name, {' and '.join(map(repr, pairs[0]))}, that cannot be told apart "
                "in print; rename one."
            )
    if shown and all(text.isprintable() for text in splits.train.classes):
        return splits
    train, val, test = (
        replace(part, classes=tuple(map(printable, part.classes)), names=tuple(map(printable, part.names)))
        for part in parts
    )
    return replace(splits, train=train, val=val, test=test)


def _load_cells(request: Request) -> Splits:
    from gradsculpt.data import cells

    count = 2000 if request.train_count is None else request.train_count
    total = count + count // 4
    # The drawing code is part of what the pixels depend on.
    code = hashlib.sha256(Path(cells.__file__).read_bytes()).hexdigest()

    def part(name: str, count: int, seed: int, before: int) -> ImageSet:
        def rows(done: Sequence[bool] = ()) -> Iterator[Row]:
            first, ahead = len(done), max(2 * workers(), min(_AHEAD, _WAITING // (4 * request.size**2)))
            drawn = ordered(lambda index: cells.draw(index, seed=seed, size=request.size), range(first, count), ahead)
            for index, cell in enumerate(drawn, start=first):
                yield Row(cell.image, cell.label, f"cells-s{seed}-{index:05d}", cell.truth)
                request.progress(before + index + 1, total)

        identity = {"count": count, "seed": seed, "size": request.size, "code": code}
        source = f"cells-{name}-{count}-{request.size}"
        room = count * request.size**2 * 4
        return cached(request.cache_dir, source, identity, cells.CLASSES, rows, room, request.tell, rows).images

    train, val = stratified_cut(part("train", count, request.seed, 0), request.val_fraction, request.seed)
    return Splits(train, val, part("test", count // 4, CELLS_TEST_SEED, count))
