"""The names that `load_data` takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradsculpt.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from gradsculpt.data.augment import Augment


@dataclass(frozen=True)
class Source:
    """Where images can come from, as it is listed and with what it is trained on unless told otherwise.

    Args:
        name: What `load_data` takes; words in capitals stand for the user's.
        description: One line.
        image_size: Side of the images, in pixels; None for the side that they come with.
        flip: Whether training mirrors images at random.
        crop: How far training shifts images at random, as a share of their side.
    """

    name: str
    description: str
    image_size: int | None
    flip: bool
    crop: float

    def augment(self) -> "Augment":
        """Return the augmentation that suits the source."""
        from gradsculpt.data.augment import Augment

        return Augment(flip=self.flip, crop=self.crop)


SOURCES = (
    # Reflection at the border would draw a second tail or border, which is another class.
    Source("cells", "synthetic cells in 10 classes, with the true place of the evidence", 64, flip=True, crop=0.0),
    Source("digits", "1,797 handwritten digits (UCI), without a download", 32, flip=False, crop=0.0625),
    Source("cifar10", "60,000 small photographs in 10 classes, downloaded", 32, flip=True, crop=0.125),
    Source("imagenette", "13,394 photographs in 10 easy classes of ImageNet, downloaded", 128, flip=True, crop=0.125),
    Source(
        "cub-gha",
        "11,780 photographs of 200 kinds of birds, with gaze maps, brought by you",
        224,
        flip=True,
        crop=0.125,
    ),
    Source(
        "folder:PATH",
        "your images: PATH/train and PATH/val or PATH/test, or one folder of class folders; PATH/attention for maps",
        128,
        flip=True,
        crop=0.125,
    ),
    Source(
        "python:MODULE:FACTORY",
        "what a function of your own returns: (train, test) or (train, val, test), each a data set or (images, labels)",
        None,
        flip=True,
        crop=0.125,
    ),
)


def find_source(name: str) -> Source:
    """Return the source that `name` belongs to.

    Raises:
        DataError: If there is none.

    Example:
        >>> find_source("folder:photos").name
        'folder:PATH'
    """
    kind, colon, rest = name.partition(":")
    for source in SOURCES:
        if name == source.name or (colon and rest and source.name.startswith(f"{kind}:")):
            return source
    names = [source.name for source in SOURCES]
    hint = did_you_mean(name.lower(), names).replace("Did", "did", 1)
    raise DataError(f"data {name!r} is not known, so there is nothing to read;{hint} choose from {', '.join(names)}.")
