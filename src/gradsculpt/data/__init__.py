"""Where images come from: synthetic cells, folders, digits, torchvision's sets; the cache; batches of them."""

from gradsculpt.data.augment import Augment, pixel_statistics, to_float, to_input
from gradsculpt.data.base import ImageSet, Skipped, Splits
from gradsculpt.data.batches import Batch, loader
from gradsculpt.data.load import SOURCES, Source, load_data
from gradsculpt.data.outline import Outline, outline_of, outlined

__all__ = ["SOURCES", "Augment", "Batch", "ImageSet", "Skipped", "Source", "Splits"]
__all__ += ["Outline", "load_data", "loader", "outline_of", "outlined", "pixel_statistics", "to_float", "to_input"]
