"""The 8 x 8 handwritten digits that come with scikit-learn: real data without a download."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from gradsculpt.data.base import Bytes, ImageSet, Splits
from gradsculpt.data.splits import TEST_SEED, stratified_cut

TEST_FRACTION = 0.2


def load_digits(*, size: int = 32, val_fraction: float = 0.1, seed: int = 0) -> Splits:
    """Return the 1,797 digits, resized smoothly, white on black; a fifth of each class is the test part.

    Args:
        size: Side of the images, in pixels.
        val_fraction: Share of each class of the remaining images to use for validation.
        seed: Chooses the validation images; the test images are always the same.

    Example:
        >>> splits = load_digits(size=16)
        >>> splits.train.images.shape[1:], len(splits.test)
        ((16, 16, 3), 359)
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.stack([_enlarge(digit, size) for digit in bunch.images])
    whole = ImageSet(
        images=images,
        labels=bunch.target.astype(np.int64),
        classes=tuple("0123456789"),
        names=tuple(f"digits/{index:04d}" for index in range(len(images))),
    )
    rest, test = stratified_cut(whole, TEST_FRACTION, TEST_SEED)
    rest, val = stratified_cut(rest, val_fraction, seed)
    return Splits(rest, val, test)


def _enlarge(digit: npt.NDArray[np.float64], size: int) -> Bytes:
    image = Image.fromarray(np.rint(digit * (255 / 16)).astype(np.uint8))
    grey = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    return np.repeat(grey[:, :, None], 3, axis=2)
