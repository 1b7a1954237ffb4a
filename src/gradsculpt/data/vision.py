"""Sets that torchvision knows how to download."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradsculpt.data.base import ImageSet, Request, Splits
from gradsculpt.data.cache import Row, cached
from gradsculpt.data.decode import cut_square
from gradsculpt.data.folder import load_folder
from gradsculpt.data.splits import stratified_cut
from gradsculpt.errors import DataError, first_line

_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_EDITIONS = {"160px": 160, "320px": 320, "full": 1 << 30}


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
