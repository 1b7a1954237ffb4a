"""What every source of images becomes: 8-bit arrays of one size, with labels and more; and how they are split."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradsculpt import checks
from gradsculpt.data.names import some_of
from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.progress import Progress

# The test part must stay the same images when a run is repeated with another seed: an evaluation would
# otherwise score a network on what it was trained with.
TEST_SEED = 0

Bytes = npt.NDArray[np.uint8]


def unheard(done: int, total: int | None) -> None:
    """Take note of progress where nobody listens."""


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size, usually on disk and read by rows.

    Args:
        images: uint8 [N, H, W, 3]. Rows of channels last, so that a batch becomes a channels_last tensor for free.
        labels: int64 [N], indices into `classes`.
        names: One name an image, to report it by; unique within a set: a tuple, or `Names` where there are many.
        attention: Maps that accompany the images, [N, H, W], or [N, H, W, C] where they have channels; None for none.
            uint8 says where a human would look, 0 (nowhere) to 255; maps of other types are taken as they are.
    """

    images: Bytes
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    names: Sequence[str]
    attention: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: npt.NDArray[np.int64]) -> "ImageSet":
        """Return the images at `indices`, in that order, as a view that copies no pixels until a batch is read."""
        return replace(
            self,
            images=_Rows(self.images, indices),  # type: ignore[arg-type]
            labels=self.labels[indices],
            names=some_of(self.names, indices),
            attention=None if self.attention is None else _Rows(self.attention, indices),  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Request:
    """What is asked of a source of images: the side of the images in pixels; the rest is as of `load_data`."""

    size: int
    data_dir: Path = Path()
    cache_dir: Path = Path()
    val_fraction: float = 0.1
    seed: int = 0
    strict: bool = False
    progress: Progress = unheard
    train_count: int | None = None
    tell: Callable[[str], object] = warnings.warn


@dataclass(frozen=True)
class Skipped:
    """A file that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Splits:
    """A data set's images to train on, to choose the epoch by (cut from those), and held out for the test.

    Args:
        skipped: Files that were left out.
        notes: What else a user should know about the data, a sentence each.

    Raises: DataError if a part has no images.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("train", "val", "test"):
            if len(getattr(self, part)) == 0:
                raise DataError(
                    f"the {part} part has no images, so there is nothing to work on; add images or change "
                    "--val-fraction."
                )


def stratified_cut(images: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Cut a share of each class off, at random but repeatably.

    Every class gives at least one image and keeps at least one; a class of a single image gives none. The same seed and
    labels give the same cut.

    Returns:
        What stays and what was cut off, both in the order they had, as views.
    """
    checks.within("fraction", fraction, 0.0, 1.0)
    is_cut = np.zeros(len(images), dtype=bool)
    for label in np.unique(images.labels):
        members: npt.NDArray[np.int64] = np.flatnonzero(images.labels == label)
        wanted = max(1, round(fraction * len(members))) if fraction > 0 else 0
        order = np.random.default_rng([seed, int(label)]).permutation(members)
        is_cut[order[: min(wanted, len(members) - 1)]] = True
    return images.subset(np.flatnonzero(~is_cut)), images.subset(np.flatnonzero(is_cut))


def cut_parts(parts: Sequence[ImageSet], request: Request) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Return training, validation and test images of one set, or of two or three in this order, as views.

    Of two, the second is the test, and validation is cut off the first; of one, the test is too, as much again, and is
    the same for every seed. The same labels give the same cut.
    """
    (train, *held_out), fraction = parts, request.val_fraction
    if not held_out:
        train, *held_out = stratified_cut(train, fraction, TEST_SEED)
        fraction /= 1 - fraction
    if len(held_out) == 1:
        train, val = stratified_cut(train, fraction, request.seed)
        held_out = [val, *held_out]
    return train, held_out[0], held_out[1]


def stratified_subset(images: ImageSet, count: int, seed: int) -> ImageSet:
    """Keep `count` images, each class in proportion, at random but repeatably; a view in the order that they had.

    Every class keeps at least one image. The subset of a smaller count is part of that of a larger one. Raises
    `ArgumentError` if there are fewer images than `count`, or more classes.
    """
    present, sizes = np.unique(images.labels, return_counts=True)
    if not len(present) <= count <= len(images):
        fact = f"there are only {len(images)}" if count > len(images) else f"they are of {len(present)} classes"
        raise ArgumentError(
            f"train_count={count} training images cannot be had, as {fact}; pass a number from {len(present)} to "
            f"{len(images)}."
        )
    place = np.empty(len(images))
    for label, size in zip(present, sizes, strict=True):
        members = np.random.default_rng([seed, int(label), 1]).permutation(np.flatnonzero(images.labels == label))
        # Where the images of a class stand when all classes are spread evenly over one line, its first in front.
        place[members] = (np.arange(size) + 0.5) / size
        place[members[0]] = -1
    # Classes of one size stand at the same places: the order between them is drawn, not alphabetical.
    tie = np.random.default_rng([seed, 0, 2]).permutation(len(images))
    return images.subset(np.sort(np.lexsort((tie, place))[:count]))


def wanted(train: ImageSet, request: Request) -> ImageSet:
    """Return as many of the training images as are asked for."""
    return train if request.train_count is None else stratified_subset(train, request.train_count, request.seed)


def shuffled_labels(images: ImageSet, seed: int) -> ImageSet:
    """Permute the labels among the images, which keep their names and attention, by the seed."""
    return replace(images, labels=np.random.default_rng([seed, 0, 3]).permutation(images.labels))


def swapped(train: ImageSet, test: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return training and test images of which `count` have changed places, drawn at random by the seed; as views.

    Raises `ArgumentError` if there are not so many of either, and `DataError` if only one has attention, or both an
    image of one name.
    """
    if count > min(len(train), len(test)):
        raise ArgumentError(
            f"swap={count} images cannot change places, as there are {len(train)} to train on and {len(test)} to test "
            f"on; pass a number up to {min(len(train), len(test))}."
        )
    if (train.attention is None) != (test.attention is None):
        raise DataError(
            "only the training images or only the test images have attention, so they cannot change places; give both "
            "maps or none, or leave swap at 0."
        )
    draws = np.random.default_rng([seed, 0, 4])
    leaving, coming = (np.sort(draws.permutation(len(each))[:count]) for each in (train, test))
    rows = np.arange(len(train) + len(test))
    rows[leaving], rows[len(train) + coming] = len(train) + coming, leaving
    pairs = ((getattr(train, name), getattr(test, name)) for name in ("images", "attention"))
    images, attention = (None if pair[0] is None else _Joined(*pair) for pair in pairs)
    labels, names = np.concatenate([train.labels, test.labels]), (*train.names, *test.names)
    if len(set(names)) < len(names):
        raise DataError(
            "a training image and a test image have the same name, so they cannot be told apart once they change "
            "places; give them different names, or leave swap at 0."
        )
    both = ImageSet(images, labels, train.classes, names, attention)  # type: ignore[arg-type]
    return both.subset(rows[: len(train)]), both.subset(rows[len(train) :])


class _Joined:
    """Two arrays one after the other, read only when indexed by numbers of rows."""

    def __init__(self, first: Any, second: Any) -> None:
        self._parts, self._length = (first, second), len(first) + len(second)
        self.shape, self.dtype = (self._length, *first.shape[1:]), first.dtype

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, key: int | npt.NDArray[np.int64]) -> Any:
        first, second = self._parts
        rows, length = np.asarray(key), len(first)
        if rows.ndim == 0:
            return first[key] if key < length else second[key - length]
        result, early = np.empty((len(rows), *self.shape[1:]), self.dtype), rows < length
        result[early], result[~early] = first[rows[early]], second[rows[~early] - length]
        return result


class _Rows:
    """Rows of an array picked by index, read only when indexed: a memory map stays on disk."""

    def __init__(self, array: Any, rows: npt.NDArray[np.int64]) -> None:
        if isinstance(array, _Rows):
            array, rows = array._array, array._rows[rows]
        self._array: Any = array
        self._rows = rows
        self.shape, self.dtype = (len(rows), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | slice | npt.NDArray[np.int64]) -> Any:
        return self._array[self._rows[key]]
