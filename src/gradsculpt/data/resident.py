"""Batches of a set that stays on a device as 8-bit pixels, where they are gathered and changed without a wait."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradsculpt.data.augment import Augment, seed_of, sent
from gradsculpt.data.base import ImageSet
from gradsculpt.data.batches import PlacedBatch, Shuffle, check_order
from gradsculpt.data.moving import gathered
from gradsculpt.errors import ArgumentError

_SHARE = 0.2  # of a device's free memory, that a set may take
_CHUNK = 1 << 25  # bytes that are sent at once
_BLOCK = 64  # batches whose random numbers are sent at once


class Changed(NamedTuple):
    """A `Batch` of images that have been augmented."""

    images: Tensor
    labels: Tensor
    attention: Tensor | None
    places: npt.NDArray[np.int64] | None = None


class ResidentLoader:
    """Yields the batches of `loader` on a device that holds all images, in the same order; nothing waits for it.

    Args:
        image_set: What is copied to the device, once.
        device: Where the batches are.
        batch_size, shuffle, seed, drop_last, replays: As of `loader`, whose `ArgumentError`s are raised.
        augment: How images are changed, into `Changed` batches; the draws for the n-th batch since the start are those
            of `seed_of(seed, n)` on the CPU, and replays of a batch are changed alike. None for not at all.
    """

    batch_sampler = None  # Lightning asks for it whatever has a sampler

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        device: torch.device,
        *,
        shuffle: bool,
        seed: int = 0,
        drop_last: bool = False,
        replays: int = 1,
        augment: Augment | None = None,
    ) -> None:
        check_order(batch_size, replays, shuffle=shuffle)
        if augment is not None and not shuffle:
            raise ArgumentError("images in the order of the set are not augmented. Pass shuffle=True, or no augment.")
        self.batch_size, self.device, self.seed, self.replays, self.augment = batch_size, device, seed, replays, augment
        self.sampler = Shuffle(len(image_set), seed) if shuffle else None
        self.names = image_set.names
        self._count = (math.floor if drop_last else math.ceil)(len(image_set) / batch_size)
        self._images, self._labels = _copied(image_set.images, device), _copied(image_set.labels, device)
        maps = image_set.attention
        self._attention = None if maps is None else _copied(maps, device).view(*maps.shape[:3], -1)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PlacedBatch | Changed]:
        # A generator, as a loader is asked for its batches before it is told the epoch, when a training is resumed.
        if self.sampler is None:
            for start in range(0, len(self) * self.batch_size, self.batch_size):
                here = np.arange(start, min(start + self.batch_size, len(self.names)), dtype=np.int64)
                yield self._batch(slice(start, start + self.batch_size), here)
            return
        epoch, steps = self.sampler.epoch, len(self)
        order = self.sampler.order(epoch // self.replays)
        # How many distinct batches came before each, since the start of the training and of the pass over the data.
        visits = [(epoch * steps + step) // self.replays for step in range(steps)]
        before = epoch // self.replays * steps
        for start in range(0, steps, _BLOCK):
            block = visits[start : start + _BLOCK]
            places = [(visit - before) * self.batch_size for visit in block]
            yield from self._block([order[place : place + self.batch_size] for place in places], block)

    def _block(self, parts: Sequence[npt.NDArray[np.int64]], visits: Sequence[int]) -> Iterator[PlacedBatch | Changed]:
        """Yield batches of given images, whose numbers go to the device together."""
        chosen = sent(torch.from_numpy(np.concatenate(parts)), self.device)
        ends = np.cumsum([len(part) for part in parts]).tolist()
        slices = [slice(end - len(part), end) for part, end in zip(parts, ends, strict=True)]
        if self.augment is None:
            yield from (self._batch(chosen[each], part) for each, part in zip(slices, parts, strict=True))
            return
        generators = [torch.Generator().manual_seed(seed_of(self.seed, visit)) for visit in visits]
        if not self.augment.only_moves:
            for each, part, generator in zip(slices, parts, generators, strict=True):
                batch = self._batch(chosen[each], part)
                images, attention = self.augment(batch.images, batch.attention, generator)
                yield Changed(images, batch.labels, attention, part)
            return
        drawn = [self.augment.draw(len(part), each) for part, each in zip(parts, generators, strict=True)]
        height, width = self._images.shape[1:3]
        rows, columns = self.augment.sources(sent(torch.cat(drawn, dim=1), self.device), height, width)
        rows, labels = (chosen[:, None] * height + rows) * width, self._labels.index_select(0, chosen)
        for each, part in zip(slices, parts, strict=True):
            # Each pixel is moved once, from its place in the set to that in the batch.
            pixels = rows[each, :, None] + columns[each, None, :]
            images, attention = self._gathered(pixels, self.augment.padding)
            yield Changed(images, labels[each], attention, part)

    def _batch(self, chosen: Tensor | slice, places: npt.NDArray[np.int64]) -> PlacedBatch:
        """Return images as they are, with their places on the host; of a slice, without a copy."""

        def picked(array: Tensor) -> Tensor:
            return array[chosen] if isinstance(chosen, slice) else array.index_select(0, chosen)

        maps = self._attention
        attention = None if maps is None else picked(maps).permute(0, 3, 1, 2)
        return PlacedBatch(picked(self._images).permute(0, 3, 1, 2), picked(self._labels), attention, places)

    def _gathered(self, pixels: Tensor, padding: str) -> tuple[Tensor, Tensor | None]:
        """Return images and maps put together from the pixels [N, H, W] of the whole set, counted through."""
        images, maps = self._images.flatten(0, 2), self._attention
        attention = None if maps is None else gathered(maps.flatten(0, 2), pixels, padding)
        return gathered(images, pixels, padding), attention


def size_on_device(image_set: ImageSet) -> int:
    """Return the bytes that a set takes where it stays."""
    arrays: list[Any] = [image_set.images, image_set.labels]
    arrays += [] if image_set.attention is None else [image_set.attention]
    return sum(math.prod(each.shape) * each.dtype.itemsize for each in arrays)


def fits(image_set: ImageSet, device: torch.device) -> bool:
    """Whether a set takes a small enough share of the free memory of a CUDA device to stay there."""
    return device.type == "cuda" and size_on_device(image_set) <= _SHARE * torch.cuda.mem_get_info(device)[0]


def _copied(array: Any, device: torch.device) -> Tensor:
    """Return an array on a device; of a memory map, a part at a time is in the host's memory."""
    at_once = max(1, _CHUNK // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    kind = torch.from_numpy(np.empty(0, array.dtype)).dtype
    copied = torch.empty(array.shape, dtype=kind, device=device)
    for start in range(0, len(array), at_once):
        copied[start : start + at_once] = torch.from_numpy(np.array(array[start : start + at_once]))
    return copied
