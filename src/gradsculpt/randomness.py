"""Random numbers for processes that share a batch: together they draw what one process alone would draw."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor


class SharedGenerator(Generator):
    """The randomness of one of several processes, each of which has every `of`-th image of a batch.

    By itself it is a generator like any other, with numbers of its own in every process. What is made by `drawn` comes
    from `common`, which is in the same state in all of them.

    Attributes:
        common: The generator of what all draw alike.
        rank, of: The first image of the process, and the number of processes.
        own, images: The images of the batch here, and in all processes together; 0 where both are not known.

    Example:
        >>> parts = [SharedGenerator("cpu"), SharedGenerator("cpu")]
        >>> for rank, part in enumerate(parts):
        ...     part.share(seed=1, own_seed=rank, rank=rank, of=2)
        >>> whole = drawn(torch.rand, [4], Generator().manual_seed(1), at=0)
        >>> mine = [drawn(torch.rand, [2], part, at=0) for part in parts]
        >>> torch.equal(torch.stack(mine, dim=1).flatten(), whole)
        True
    """

    common: Generator
    rank: int
    of: int
    own: int
    images: int

    def share(self, *, seed: int, own_seed: int, rank: int, of: int, own: int = 0, images: int = 0) -> None:
        """Begin anew, with the seeds of what all draw alike and of what is drawn here alone."""
        self.common, self.rank, self.of, self.own, self.images = Generator(self.device), rank, of, own, images
        self.common.manual_seed(seed)
        self.manual_seed(own_seed)


def drawn(draw: Callable[..., Tensor], shape: Sequence[int], generator: Generator | None, *, at: int = 0) -> Tensor:
    """Return random numbers of a shape; of processes that share a batch, each has those of its images.

    Args:
        draw: Called as `draw(shape, generator=generator)`.
        shape: The shape that is wanted.
        generator: Their source; of a `SharedGenerator`, all numbers are drawn, and those of other images dropped.
        at: The dimension of the images.
    """
    if not isinstance(generator, SharedGenerator):
        return draw(shape, generator=generator)
    whole = list(shape)
    # A share of a batch, as its first images, is as large in each process.
    whole[at] = generator.images if shape[at] == generator.own else shape[at] * generator.of
    numbers = draw(whole, generator=generator.common)
    return numbers[(slice(None),) * at + (slice(generator.rank, None, generator.of),)]


def normal_like(x: Tensor, generator: Generator | None) -> Tensor:
    """Return standard normal numbers shaped like a batch [N, ...], in its layout and precision."""
    return _like(x, lambda numbers, source: numbers.normal_(generator=source), generator)


def uniform_like(x: Tensor, generator: Generator | None) -> Tensor:
    """Return numbers between -1 and 1 shaped like a batch [N, ...], in its layout and precision."""
    return _like(x, lambda numbers, source: numbers.uniform_(-1, 1, generator=source), generator)


def _like(x: Tensor, fill: Callable[[Tensor, Generator | None], Tensor], generator: Generator | None) -> Tensor:
    def draw(shape: Sequence[int], generator: Generator | None) -> Tensor:
        return fill(torch.empty(shape, dtype=x.dtype, device=x.device), generator)

    # Layouts change nothing in what is drawn.
    numbers = drawn(draw, x.shape, generator)
    return (
        numbers
        if x.is_contiguous() and numbers.is_contiguous()
        else torch.empty_like(x, requires_grad=False).copy_(numbers)
    )
