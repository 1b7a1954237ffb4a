"""Where images come from: synthetic cells, folders, digits, torchvision's sets; the cache; batches of them.

The names below are imported when they are first used: a process that decodes images needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradsculpt.data.augment import Augment, pixel_statistics, to_float, to_input
    from gradsculpt.data.base import ImageSet, Skipped, Splits
    from gradsculpt.data.batches import Batch, loader
    from gradsculpt.data.load import SOURCES, Source, load_data
    from gradsculpt.data.outline import Outline, outline_of, outlined

_HOMES = {
    "augment": ("Augment", "pixel_statistics", "to_float", "to_input"),
    "base": ("ImageSet", "Skipped", "Splits"),
    "batches": ("Batch", "loader"),
    "load": ("SOURCES", "Source", "load_data"),
    "outline": ("Outline", "outline_of", "outlined"),
}

__all__ = ["SOURCES", "Augment", "Batch", "ImageSet", "Skipped", "Source", "Splits"]
__all__ += ["Outline", "load_data", "loader", "outline_of", "outlined", "pixel_statistics", "to_float", "to_input"]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"gradsculpt.data.{home}"), name)
    raise AttributeError(f"module 'gradsculpt.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
