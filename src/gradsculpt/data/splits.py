"""Which images train, with which labels; which choose the model, and which are held out."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gradsculpt import checks
from gradsculpt.data.base import ImageSet
from gradsculpt.errors import ArgumentError

# The test part must stay the same images when a run is repeated with another seed: an evaluation would
# otherwise score a network on what it was trained with.
TEST_SEED = 0


def stratified_cut(images: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Cut a share of each class off, at random but repeatably.

    Every class gives at least one image and keeps at least one; a class of a single image gives none. The same seed and
    labels give the same cut.

    Returns:
        What stays and what was cut off, both in the order they had, as views.

    Example:
        >>> six = ImageSet(np.zeros((6, 2, 2, 3), np.uint8), np.arange(6) // 3, ("cat", "dog"), tuple("abcdef"))
        >>> [images.labels.tolist() for images in stratified_cut(six, 0.34, seed=0)]
        [[0, 0, 1, 1], [0, 1]]
    """
    checks.within("fraction", fraction, 0.0, 1.0)
    is_cut = np.zeros(len(images), dtype=bool)
    for label in np.unique(images.labels):
        members: npt.NDArray[np.int64] = np.flatnonzero(images.labels == label)
        wanted = max(1, round(fraction * len(members))) if fraction > 0 else 0
        order = np.random.default_rng([seed, int(label)]).permutation(members)
        is_cut[order[: min(wanted, len(members) - 1)]] = True
    return images.subset(np.flatnonzero(~is_cut)), images.subset(np.flatnonzero(is_cut))


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


def shuffled_labels(images: ImageSet, seed: int) -> ImageSet:
    """Permute the labels among the images, which keep their names and attention, by the seed."""
    return replace(images, labels=np.random.default_rng([seed, 0, 3]).permutation(images.labels))
