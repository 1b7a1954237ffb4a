"""What every source of images becomes: 8-bit arrays of one size, with labels, names and attention."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradsculpt.errors import DataError
from gradsculpt.progress import Progress

Bytes = npt.NDArray[np.uint8]


def unheard(done: int, total: int | None) -> None:
    """Take note of progress where nobody listens."""


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size, usually backed by a memory map.

    Args:
        images: uint8 [N, H, W, 3]. Rows of channels last, so that a batch becomes a channels_last tensor for free.
        labels: int64 [N], indices into `classes`.
        names: One name an image, to report it by; unique within a set.
        attention: Maps that accompany the images, [N, H, W], or [N, H, W, C] where they have channels; None for none.
            uint8 says where a human would look, 0 (nowhere) to 255; maps of other types are taken as they are.
    """

    images: Bytes
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    attention: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: npt.NDArray[np.int64]) -> "ImageSet":
        """Return the images at `indices`, in that order, as a view that copies no pixels until a batch is read."""
        return replace(
            self,
            images=_Rows(self.images, indices),  # type: ignore[arg-type]
            labels=self.labels[indices],
            names=tuple(self.names[i] for i in indices),
            attention=None if self.attention is None else _Rows(self.attention, indices),  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Request:
    """What is asked of a source of images: the side of the images in pixels; the rest is as of `load_data`."""

    size: int
    data_dir: Path = Path()
    cache_dir: Path = Path()
    val_fraction: float = 0.1
    seed: int = 0
    strict: bool = False
    progress: Progress = unheard


@dataclass(frozen=True)
class Skipped:
    """A file that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Splits:
    """A data set's images to train on, to choose the epoch by (cut from those), and held out for the test.

    Args:
        skipped: Files that were left out.
        notes: What else a user should know about the data, a sentence each.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("train", "val", "test"):
            if len(getattr(self, part)) == 0:
                raise DataError(
                    f"the {part} part has no images, so there is nothing to work on; add images or change "
                    "--val-fraction."
                )


class _Rows:
    """Rows of an array picked by index, read only when indexed: a memory map stays on disk."""

    def __init__(self, array: Any, rows: npt.NDArray[np.int64]) -> None:
        if isinstance(array, _Rows):
            array, rows = array._array, array._rows[rows]
        self._array: Any = array
        self._rows = rows
        self.shape, self.dtype = (len(rows), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | slice | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        picked: npt.NDArray[Any] = self._array[self._rows[key]]
        return picked
