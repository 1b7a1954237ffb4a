"""Where images come from: synthetic cells, folders, digits, torchvision's sets; the cache; batches of them."""

from gradsculpt.data.augment import Augment, to_float, to_input
from gradsculpt.data.base import ImageSet, Skipped, Splits
from gradsculpt.data.batches import Batch, loader
from gradsculpt.data.load import load_data
from gradsculpt.data.sources import SOURCES, Source
from gradsculpt.data.statistics import pixel_statistics

__all__ = [
    "SOURCES",
    "Augment",
    "Batch",
    "ImageSet",
    "Skipped",
    "Source",
    "Splits",
    "load_data",
    "loader",
    "pixel_statistics",
    "to_float",
    "to_input",
]
