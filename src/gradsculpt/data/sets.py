"""Sets with a name: digits, which come with the package, and those that torchvision knows how to download."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gradsculpt.data.base import TEST_SEED, ImageSet, Request, Splits, cut_parts, stratified_cut, wanted
from gradsculpt.data.building import Row
from gradsculpt.data.cache import cached
from gradsculpt.data.decode import cut_square
from gradsculpt.data.folder import load_folder
from gradsculpt.errors import DataError, first_line
from gradsculpt.machine import free_memory
from gradsculpt.wording import size_of

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_EDITIONS = {"160px": 160, "320px": 320, "full": 1 << 30}


def load_digits(request: Request) -> Splits:
    """Return the 1,797 digits of 8 x 8 pixels, resized smoothly, white on black; a fifth of each class is for the test.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
    (doi:10.24432/C50P49, licence CC BY 4.0): the file optdigits.tes, in the order that scikit-learn gives it.
    """
    train, val, test = digits_parts(request)
    needed, free = 3 * request.size**2 * (len(train) + len(val) + len(test)), free_memory()
    if free is not None and needed > free:
        raise DataError(
            f"the digits would take {size_of(needed)} of memory at {request.size} pixels, of which {size_of(free)} are "
            "free; pass a smaller --image-size, or --train-count."
        )
    return Splits(_enlarged(train, request.size), _enlarged(val, request.size), _enlarged(test, request.size))


def digits_parts(request: Request) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Return the digits for training, validation and test, [N, 8, 8], as they come."""
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        digits = np.rint(file["images"] * (255 / 16)).astype(np.uint8)  # from levels 0 to 16
        labels = file["labels"].astype(np.int64)
    names = tuple(f"digits/{index:04d}" for index in range(len(digits)))
    rest, test = stratified_cut(ImageSet(digits, labels, tuple("0123456789"), names), 0.2, TEST_SEED)
    train, val, test = cut_parts([rest, test], request)
    return wanted(train, request), val, test


def _enlarged(digits: ImageSet, size: int) -> ImageSet:
    pixels = np.array([cut_square(digit, size) for digit in digits.images[:]], np.uint8).reshape(-1, size, size)
    return replace(digits, images=pixels[..., None].repeat(3, axis=-1))


def load_cifar10(request: Request) -> Splits:
    """Return CIFAR-10, after downloading it to `data_dir` if it is not there; test is its own test part.

    Raises `DataError` if the download fails.
    """
    from torchvision import datasets

    data_dir, size = request.data_dir, request.size

    def read(name: str, part: int | None = None) -> ImageSet:
        """Return images of a file: all, or those that are wanted for training (part 0) or validation (1)."""
        decisive = (part, request.train_count, request.val_fraction, request.seed)

        def rows() -> Iterator[Row]:
            source = _downloaded("cifar10", datasets.CIFAR10, data_dir, train=name == "train")
            labels = np.asarray(source.targets, dtype=np.int64)
            every = ImageSet(np.arange(len(labels)), labels, _CIFAR10, ("",) * len(labels))  # type: ignore[arg-type]
            if part is not None:
                cut = stratified_cut(every, request.val_fraction, request.seed)
                every = (wanted(cut[0], request), cut[1])[part]
            for done, index in enumerate(np.asarray(every.images[:]).tolist(), start=1):
                image = source.data[index]
                pixels = image if len(image) == size else cut_square(image, size)
                yield Row(pixels, int(labels[index]), f"{name}/{index:05d}")
                request.progress(done, len(every))

        kind, identity = ("", {}) if part is None else (f"-{request.train_count}-{part}", {"part": decisive})
        source = f"cifar10-{name}{kind}-{size}"
        return cached(request.cache_dir, source, {"size": size, **identity}, _CIFAR10, rows, tell=request.tell).images

    if request.train_count is not None:
        return Splits(read("train", 0), read("train", 1), read("test"))
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
