"""Which images train, which choose the model, and which are held out."""

import numpy as np
import numpy.typing as npt

from gradsculpt import checks
from gradsculpt.data.base import ImageSet

# The test part must stay the same images when a run is repeated with another seed: an evaluation would
# otherwise score a network on what it was trained with.
TEST_SEED = 0


def stratified_cut(images: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Cut a share of each class off, at random but repeatably.

    Every class gives at least one image and keeps at least one; a class of a single image gives none.

    Args:
        images: What to cut from.
        fraction: Share to cut off, 0 to 1.
        seed: Chooses which images; the same seed and labels give the same cut.

    Returns:
        What stays and what was cut off, both in the order they had, as views.

    Raises:
        ArgumentError: If `fraction` is out of range.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> six = ImageSet(np.zeros((6, 2, 2, 3), np.uint8), labels, ("cat", "dog"), tuple("abcdef"))
        >>> stay, cut = stratified_cut(six, 0.34, seed=0)
        >>> stay.labels.tolist(), cut.labels.tolist()
        ([0, 0, 1, 1], [0, 1])
    """
    checks.within("fraction", fraction, 0.0, 1.0)
    is_cut = np.zeros(len(images), dtype=bool)
    for label in np.unique(images.labels):
        members: npt.NDArray[np.int64] = np.flatnonzero(images.labels == label)
        wanted = max(1, round(fraction * len(members))) if fraction > 0 else 0
        order = np.random.default_rng([seed, int(label)]).permutation(members)
        is_cut[order[: min(wanted, len(members) - 1)]] = True
    return images.subset(np.flatnonzero(~is_cut)), images.subset(np.flatnonzero(is_cut))
