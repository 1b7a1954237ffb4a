import hashlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets

from gradsculpt.data import sets
from gradsculpt.data.base import Request
from gradsculpt.data.sets import load_digits


def test_the_file_is_the_published_set() -> None:
    with np.load(sets.__file__.replace("sets.py", "digits.npz")) as file:
        images, labels = file["images"], file["labels"]
    assert (images.shape, images.dtype, labels.dtype) == ((1797, 8, 8), np.uint8, np.uint8)
    # Of sklearn.datasets.load_digits() of scikit-learn 1.9, as bytes.
    sums = [hashlib.sha256(array.tobytes()).hexdigest()[:32] for array in (images, labels)]
    assert sums == ["8f26b2bd9d135c256808f68f14fdabdd", "8ba4f891220f5e4c9c819638d1602d74"]


def test_no_library_of_others_is_needed() -> None:
    # In a fresh process, where no test has imported it.
    code = (
        "import sys; from gradsculpt.data.base import Request; from gradsculpt.data.sets import load_digits;"
        "load_digits(Request(8)); sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_which_images_are_held_out_stays_what_it_was() -> None:
    splits = load_digits(Request(8))
    assert [int(name[-4:]) for name in splits.test.names[:8]] == [1, 3, 4, 6, 11, 13, 14, 21]
    assert [int(name[-4:]) for name in splits.val.names[:8]] == [7, 16, 23, 35, 41, 56, 86, 94]


def test_parts_are_stratified_and_disjoint() -> None:
    splits = load_digits(Request(32))
    parts = (splits.train, splits.val, splits.test)
    assert sum(len(part) for part in parts) == 1797
    assert len({name for part in parts for name in part.names}) == 1797
    for part, low, high in zip(parts, (124, 13, 34), (133, 15, 38), strict=True):
        counts = np.bincount(part.labels, minlength=10)
        assert low <= counts.min() <= counts.max() <= high


def test_the_test_part_does_not_depend_on_the_seed() -> None:
    first, second = load_digits(Request(8, seed=0)), load_digits(Request(8, seed=1))
    assert first.test.names == second.test.names
    assert first.val.names != second.val.names


@pytest.mark.parametrize("size", [8, 32])
def test_pixels_and_labels_are_those_of_the_source(size: int) -> None:
    bunch = datasets.load_digits()
    splits = load_digits(Request(size))
    for position in range(0, len(splits.test), 40):
        image = splits.test.images[position]
        index = int(splits.test.names[position].removeprefix("digits/"))
        assert splits.test.labels[position] == bunch.target[index]
        assert image.shape == (size, size, 3)
        assert (image[..., :1] == image).all()
        blocks = image[..., 0].reshape(8, size // 8, 8, size // 8).mean(axis=(1, 3))
        # Enlarging rounds corners off, but keeps most of each pixel where it was.
        assert np.corrcoef(blocks.ravel(), bunch.images[index].ravel())[0, 1] > 0.97
        if size == 8:
            assert np.abs(blocks - bunch.images[index] * 255 / 16).max() <= 0.5
