"""Sets with a name: digits, which come with the package, and those that torchvision knows how to download."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradsculpt.data.base import TEST_SEED, ImageSet, Request, Splits, stratified_cut
from gradsculpt.data.cache import Row, cached
from gradsculpt.data.decode import cut_square
from gradsculpt.data.folder import load_folder
from gradsculpt.errors import DataError, first_line

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_EDITIONS = {"160px": 160, "320px": 320, "full": 1 << 30}


def load_digits(request: Request) -> Splits:
    """Return the 1,797 digits of 8 x 8 pixels, resized smoothly, white on black; a fifth of each class is for the test.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
    (doi:10.24432/C50P49, licence CC BY 4.0): the file optdigits.tes, in the order that scikit-learn gives it.
    """
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        digits = np.rint(file["images"] * (255 / 16)).astype(np.uint8)  # from levels 0 to 16
        labels = file["labels"].astype(np.int64)
    whole = ImageSet(
        images=np.stack([cut_square(digit, request.size) for digit in digits])[..., None].repeat(3, axis=-1),
        labels=labels,
        classes=tuple("0123456789"),
        names=tuple(f"digits/{index:04d}" for index in range(len(digits))),
    )
    rest, test = stratified_cut(whole, 0.2, TEST_SEED)
    return Splits(*stratified_cut(rest, request.val_fraction, request.seed), test)


def load_cifar10(request: Request) -> Splits:
    """Return CIFAR-10, after downloading it to `data_dir` if it is not there; test is its own test part.

    Raises `DataError` if the download fails.
    """
    from torchvision import datasets

    data_dir, size = request.data_dir, request.size

    def read(name: str) -> ImageSet:
        def rows() -> Iterator[Row]:
            source = _downloaded("cifar10", datasets.CIFAR10, data_dir, train=name == "train")
            for index, (image, label) in enumerate(zip(source.data, source.targets, strict=True)):
                pixels = image if len(image) == size else cut_square(image, size)
                yield Row(pixels, int(label), f"{name}/{index:05d}")
                request.progress(index + 1, len(source.data))

        return cached(request.cache_dir, f"cifar10-{name}-{size}", {"size": size}, _CIFAR10, rows).images

    return Splits(*stratified_cut(read("train"), request.val_fraction, request.seed), read("test"))


def load_imagenette(request: Request) -> Splits:
    """Return ImageNette, after downloading it to `data_dir` if it is not there; test is its own validation part.

    Of its three editions the smallest with sides of at least `size` is used, or one that is already there. Raises
    `DataError` if the download fails.
    """
    from torchvision import datasets

    folders = {
        edition: request.data_dir / ("imagenette2" if edition == "full" else f"imagenette2-{side}")
        for edition, side in _EDITIONS.items()
        if request.size <= side
    }
    edition = next((edition for edition, folder in folders.items() if folder.is_dir()), next(iter(folders)))
    source = _downloaded("imagenette", datasets.Imagenette, request.data_dir, split="train", size=edition)
    splits = load_folder(folders[edition], request)
    # The folders are named by WordNet number; people know the classes by their names.
    readable = dict(zip(source.wnids, (names[0] for names in source.classes), strict=True))
    classes = tuple(readable.get(name, name) for name in splits.train.classes)
    train, val, test = (replace(images, classes=classes) for images in (splits.train, splits.val, splits.test))
    return Splits(train, val, test, splits.skipped)


def _downloaded(name: str, dataset: Callable[..., Any], data_dir: Path, **options: Any) -> Any:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return dataset(data_dir, **options, download=True)
    # URLError is an OSError; RuntimeError is torchvision's word for a file that is missing or damaged.
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise DataError(
            f"{name} is not in {data_dir} and cannot be downloaded ({first_line(error, kind=False)}); put the archive "
            "that torchvision uses there by hand, or give a folder of images with folder:PATH."
        ) from error
