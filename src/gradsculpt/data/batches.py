"""Batches of an image set as tensors, in an order that a resumed training repeats."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gradsculpt import checks
from gradsculpt.data.base import Bytes, ImageSet


class Batch(NamedTuple):
    """Images with what is known about them.

    Args:
        images: uint8 [N, 3, H, W] in channels_last format.
        labels: int64 [N].
        attention: uint8 [N, 1, H, W], or None if the set has none.
    """

    images: Tensor
    labels: Tensor
    attention: Tensor | None


class ImageSetDataset(Dataset[Batch]):
    """An image set for a `DataLoader`, which reads a batch at once rather than image by image."""

    def __init__(self, image_set: ImageSet) -> None:
        self.image_set = image_set

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the images at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        attention = self.image_set.attention
        return Batch(
            images=_gather(self.image_set.images, chosen).permute(0, 3, 1, 2),
            labels=torch.from_numpy(self.image_set.labels[chosen]),
            attention=None if attention is None else _gather(attention, chosen).unsqueeze(1),
        )


class Shuffle(Sampler[int]):
    """A random order of `count` indices that depends on the seed and the epoch and on nothing else.

    Example:
        >>> shuffle = Shuffle(5, seed=0)
        >>> first = list(shuffle)
        >>> shuffle.set_epoch(1)
        >>> list(shuffle) != first, sorted(shuffle) == sorted(first)
        (True, True)
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of `epoch`; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        return iter(order.tolist())


def loader(
    image_set: ImageSet, batch_size: int, *, shuffle: bool, seed: int = 0, drop_last: bool = False
) -> DataLoader[Any]:
    """Return a loader of `Batch`es.

    Args:
        image_set: What to load.
        batch_size: Images in a batch.
        shuffle: Take the images in the order of `Shuffle`; otherwise as they are in the set.
        seed: Seed of that order.
        drop_last: Leave out a last batch that is not full.

    Raises:
        ArgumentError: If `batch_size` is not positive.
    """
    checks.at_least("batch_size", batch_size, 1)
    return DataLoader(
        ImageSetDataset(image_set),
        batch_size=batch_size,
        sampler=Shuffle(len(image_set), seed) if shuffle else None,
        collate_fn=_as_is,
        drop_last=drop_last,
    )


def _as_is(batch: Any) -> Any:
    # The data set has already made a batch of what the loader takes for a list of samples.
    return batch


def _gather(array: Bytes, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
    # One indexed read of the memory map; row by row in the order of the disk was no faster.
    return torch.from_numpy(np.ascontiguousarray(array[chosen]))
