"""Batches of an image set as tensors, in an order that a resumed training repeats."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from gradsculpt import checks
from gradsculpt.data.base import ImageSet
from gradsculpt.errors import ArgumentError
from gradsculpt.wording import counted

Item = TypeVar("Item")


class Batch(NamedTuple):
    """Images with what goes with them.

    Args:
        images: uint8 [N, 3, H, W] in channels_last format.
        labels: int64 [N].
        attention: Maps in the type of the set, [N, 1 or C, H, W], or None if the set has none.
    """

    images: Tensor
    labels: Tensor
    attention: Tensor | None


class PlacedBatch(NamedTuple):
    """A `Batch` that knows where its images stand in the set, by an array in the host's memory, so as to name them."""

    images: Tensor
    labels: Tensor
    attention: Tensor | None
    places: npt.NDArray[np.int64]


class ImageSetDataset(Dataset[Batch | PlacedBatch]):
    """An image set for a `DataLoader`, which reads a batch at once rather than image by image.

    Args:
        image_set: What is read.
        placed: Whether batches know where their images stand.
    """

    def __init__(self, image_set: ImageSet, *, placed: bool = False) -> None:
        self.image_set, self._placed = image_set, placed

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> Batch | PlacedBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch | PlacedBatch:
        """Return the images at `indices`, in that order."""
        chosen, maps = np.asarray(indices, dtype=np.int64), self.image_set.attention
        images, labels = _gather(self.image_set.images, chosen), torch.from_numpy(self.image_set.labels[chosen])
        attention = None if maps is None else _gather(maps, chosen)
        return PlacedBatch(images, labels, attention, chosen) if self._placed else Batch(images, labels, attention)


class Share(NamedTuple):
    """Which images of each batch a process has: every `of`-th, from that of its rank on."""

    rank: int = 0
    of: int = 1


WHOLE = Share()


class Shuffle(Sampler[int]):
    """A random order of `count` indices that depends on the seed and the epoch and on nothing else.

    Of processes that share it, each has every n-th index: what is left after the first `kept` is nobody's.

    Example:
        >>> list(Shuffle(6, seed=0)), list(Shuffle(6, seed=0, share=Share(1, of=2)))
        ([3, 2, 5, 4, 0, 1], [2, 4, 1])
    """

    def __init__(self, count: int, seed: int, *, share: Share = WHOLE, kept: int | None = None) -> None:
        self.count, self.seed, self.epoch = count, seed, 0
        self.places = slice(share.rank, kept, share.of)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of `epoch`; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.count)[self.places])

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the indices in the order of an epoch."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)[self.places]

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch).tolist())


class Replay:
    """Batches of which each comes several times in a row, in epochs that are as long as ever.

    Epochs visit a part of the data each: `replays` of them are one pass, in one order, over all batches, and the batch
    of a step follows from the number of steps since the start. Where the replays do not divide the steps of an epoch,
    a batch that ends one epoch goes on in the next.

    Args:
        batches: The batches of a pass; their sampler has `epoch` and `set_epoch`.
        replays: How many times in a row each comes.

    Source: Shafahi et al., NeurIPS 2019 ("Adversarial training for free!"), algorithm 1.

    Example:
        >>> [list(batch) for batch in Replay(BatchSampler(Shuffle(6, seed=0), 2, drop_last=False), replays=2)]
        [[3, 2], [3, 2], [5, 4]]
    """

    def __init__(self, batches: BatchSampler, replays: int) -> None:
        self.batches, self.replays = batches, replays

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, as a loader is asked for its batches before it is told the epoch, when a training is resumed.
        sampler: Any = self.batches.sampler
        if self.replays == 1:
            yield from self.batches
            return
        epoch = sampler.epoch
        sampler.set_epoch(epoch // self.replays)
        order = list(self.batches)
        sampler.set_epoch(epoch)
        first = epoch % self.replays * len(order)
        yield from (order[(first + step) // self.replays] for step in range(len(order)))


class BatchLoader(DataLoader[Any]):
    """A loader of `Replay`'s batches, with an ordinary sampler, which Lightning tells the epoch.

    For a GPU, given as `ahead`, a thread reads the batches to come into memory that is copied there without a wait.
    """

    def __init__(self, *args: Any, replays: int = 1, ahead: torch.device | None = None, **options: Any) -> None:
        self.replays, self.ahead = replays, ahead
        super().__init__(*args, **options)

    @property
    def names(self) -> Sequence[str]:
        """The names of the images of the set."""
        return self.dataset.image_set.names if isinstance(self.dataset, ImageSetDataset) else ()

    @property
    def _index_sampler(self) -> Any:
        return Replay(self.batch_sampler, self.replays)  # type: ignore[arg-type]

    def __iter__(self) -> Any:
        batches = super().__iter__()
        return batches if self.ahead is None else read_ahead(batches, partial(torch.cuda.set_device, self.ahead))


def read_ahead(items: Iterator[Item], prepare: Callable[[], None], count: int = 2) -> Iterator[Item]:
    """Yield what an iterator does; a thread, which calls `prepare` first, asks it for so many in advance.

    Example:
        >>> list(read_ahead(iter("abc"), prepare=lambda: None))
        ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1, initializer=prepare) as pool:
        coming = deque(pool.submit(next, items, None) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(pool.submit(next, items, None))
                yield item
        finally:
            for each in coming:
                each.cancel()


def loader(
    image_set: ImageSet,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    drop_last: bool = False,
    replays: int = 1,
    ahead: torch.device | None = None,
    share: Share = WHOLE,
    placed: bool = False,
) -> DataLoader[Any]:
    """Return a loader of `Batch`es, in the order of the set or else, with `shuffle`, in that of `Shuffle` by the seed.

    If they are to be `placed`, they are `PlacedBatch`es.
    With `drop_last` a last batch that is not full is left out; with `replays`, each comes as often as `Replay` says;
    with a CUDA device `ahead`, batches are read in advance into memory from which they are sent there without a wait.
    Of processes that have a `share` each, the n-th batches are together the n-th batch of one that has all, of so many
    times `batch_size` images; with `shuffle` they have equally many, so that a last batch of fewer images than there
    are processes is left out. Raises `ArgumentError` if `batch_size` or `replays` is not positive, there are replays
    without `shuffle`, or fewer images than processes.
    """
    check_order(batch_size, replays, shuffle=shuffle)
    count, whole = len(image_set), batch_size * share.of
    if count < share.of:
        raise ArgumentError(
            f"{counted(count, 'images')} cannot be shared by {share.of} processes, as some would have none; pass fewer "
            "--devices or more images."
        )
    rest = count % whole
    kept = count - rest if drop_last or rest < share.of else count
    order = Shuffle(count, seed, share=share, kept=kept if share.of > 1 else None) if shuffle else None
    return BatchLoader(
        ImageSetDataset(image_set, placed=placed),
        batch_size=batch_size,
        sampler=range(count)[share.rank :: share.of] if order is None and share.of > 1 else order,
        # The data set has already made a batch of what the loader takes for a list of samples.
        collate_fn=PlacedBatch._make if placed else Batch._make,
        drop_last=drop_last,
        replays=replays,
        ahead=ahead,
        pin_memory=ahead is not None,
    )


def check_order(batch_size: int, replays: int, *, shuffle: bool) -> None:
    """Raise `ArgumentError` unless batches can be had in an order."""
    checks.at_least("batch_size", batch_size, 1)
    checks.at_least("replays", replays, 1)
    if replays > 1 and not shuffle:
        raise ArgumentError(
            f"replays={replays} without shuffle would leave out most of the images of each epoch. Pass shuffle=True."
        )


def _gather(array: np.ndarray[Any, np.dtype[Any]], chosen: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
    """Read images [H, W, C] or maps [H, W] as a tensor [N, C or 1, H, W]."""
    # One indexed read of the memory map; row by row in the order of the disk was no faster.
    rows = torch.from_numpy(np.ascontiguousarray(array[chosen]))
    return rows.unsqueeze(1) if rows.ndim == 3 else rows.permute(0, 3, 1, 2)
