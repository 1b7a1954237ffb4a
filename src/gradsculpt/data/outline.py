"""What is known of data before any image is decoded or downloaded: how many of how many classes, and their side."""

from dataclasses import dataclass
from pathlib import Path

from gradsculpt.data.base import Splits
from gradsculpt.data.folder import cut_listings, find_folder
from gradsculpt.data.load import find_source, request_for
from gradsculpt.data.sets import digits_parts


@dataclass(frozen=True)
class Outline:
    """What a training can be planned by.

    Args:
        classes: Number of classes.
        size: Side of the images, in pixels.
        attention: Whether maps of where to look accompany the training images.
        counts: Images for training, validation and test, but for files that cannot be decoded; None if not known.
    """

    classes: int
    size: int
    attention: bool
    counts: tuple[int, int, int] | None


def outlined(
    name: str,
    *,
    image_size: int | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    train_count: int | None = None,
    cache_dir: Path | None = None,
) -> Outline | None:
    """Return the outline of what `load_data` would read, whose arguments these are; None if that has to be read first.

    What is wrong with the name, a number or the listing of a folder is raised as by `load_data`.
    """
    request = request_for(name, image_size=image_size, val_fraction=val_fraction, seed=seed, train_count=train_count)
    kind, _, rest = name.partition(":")
    if kind == "python":
        return None
    if kind == "folder":
        folder = find_folder(Path(rest), cache_dir)
        train, val, test = cut_listings([listing for _, listing in folder.listed], request)
        counts = _counts(Splits(train, val, test))
        return Outline(len(train.classes), request.size, folder.attention[0] is not None, counts)
    if kind == "digits":
        train, val, test = digits_parts(request)
        return Outline(10, request.size, False, _counts(Splits(train, val, test)))
    classes, attention, total, tests = _SETS[find_source(name).name]
    if kind == "cells" and train_count is not None:
        total, tests = train_count, train_count // 4
    if not total:
        return Outline(classes, request.size, attention, None)
    cut = round(val_fraction * total)
    left = total - cut if train_count is None or kind == "cells" else min(train_count, total - cut)
    return Outline(classes, request.size, attention, (left, cut, tests))


def outline_of(splits: Splits) -> Outline:
    """Return the outline of data that were read."""
    train = splits.train
    return Outline(len(train.classes), train.images.shape[1], train.attention is not None, _counts(splits))


def _counts(splits: Splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.val), len(splits.test)


# Classes, whether there is attention, and images to train on before validation is cut off, and to test on.
_SETS = {
    "cells": (10, True, 2000, 500),
    "cifar10": (10, False, 50_000, 10_000),
    "imagenette": (10, False, 9_469, 3_925),
    "cub-gha": (200, True, 0, 0),  # how many there are stands in lists that the user brings
}
