"""Handwritten digits of 8 x 8 pixels, which come with the package: real data without a download."""

from pathlib import Path

import numpy as np

from gradsculpt.data.base import ImageSet, Request, Splits
from gradsculpt.data.decode import cut_square
from gradsculpt.data.splits import TEST_SEED, stratified_cut

_TEST_FRACTION = 0.2


def load_digits(request: Request) -> Splits:
    """Return the 1,797 digits, resized smoothly, white on black; a fifth of each class is the test part.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
    (doi:10.24432/C50P49, licence CC BY 4.0): the file optdigits.tes, in the order that scikit-learn gives it.

    Example:
        >>> splits = load_digits(Request(size=16))
        >>> splits.train.images.shape[1:], len(splits.test)
        ((16, 16, 3), 359)
    """
    with np.load(Path(__file__).with_suffix(".npz")) as file:
        digits = np.rint(file["images"] * (255 / 16)).astype(np.uint8)  # from levels 0 to 16
        labels = file["labels"].astype(np.int64)
    whole = ImageSet(
        images=np.stack([cut_square(digit, request.size) for digit in digits])[..., None].repeat(3, axis=-1),
        labels=labels,
        classes=tuple("0123456789"),
        names=tuple(f"digits/{index:04d}" for index in range(len(digits))),
    )
    rest, test = stratified_cut(whole, _TEST_FRACTION, TEST_SEED)
    return Splits(*stratified_cut(rest, request.val_fraction, request.seed), test)
