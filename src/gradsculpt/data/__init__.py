"""Where images come from: synthetic cells, folders, digits, torchvision's sets; the cache; batches of them."""

from gradsculpt.data.augment import Augment, pixel_statistics, to_float, to_input
from gradsculpt.data.base import ImageSet, Skipped, Splits
from gradsculpt.data.batches import Batch, loader
from gradsculpt.data.load import SOURCES, Source, load_data

__all__ = ["SOURCES", "Augment", "Batch", "ImageSet", "Skipped", "Source", "Splits"]
__all__ += ["load_data", "loader", "pixel_statistics", "to_float", "to_input"]
