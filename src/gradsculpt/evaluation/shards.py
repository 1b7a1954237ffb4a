"""Parts of an evaluation that are done apart: which batches are whose, and how their values come together."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gradsculpt.evaluation.per_image_values import PerImageValues, parts_in

_SHARD = re.compile("[0-9]+-of-[0-9]+")


class Shard(NamedTuple):
    """Every `of`-th batch, from that of a number on, which counts from 0.

    Example:
        >>> shard = Shard(1, of=4)
        >>> [batch for batch in range(10) if shard.has(batch)], shard.part
        ([1, 5, 9], '1-of-4')
    """

    number: int
    of: int

    @property
    def part(self) -> str:
        """What the files of the shard are told apart by."""
        return f"{self.number}-of-{self.of}"

    def has(self, batch: int) -> bool:
        """Tell whether a batch belongs to it, by its number from 0."""
        return batch % self.of == self.number


class Shards:
    """What shards have left in a folder, of an evaluation with a key; each batch is taken once, in its turn."""

    def __init__(self, folder: Path | None, key: str) -> None:
        parts = [] if folder is None else [part for part in parts_in(folder) if _SHARD.fullmatch(part)]
        shards = [Shard(*map(int, part.split("-of-"))) for part in parts]
        self._all = {shard: PerImageValues(folder, key, shard.part, reading=True) for shard in shards}
        self._at = dict.fromkeys(self._all, 0)

    def hand_over(self, batch: int, values: PerImageValues, digests: Sequence[str]) -> None:
        """Add the rows of a batch to the values, if a shard has them; its images have these digests."""
        for shard, measured in self._all.items():
            if shard.has(batch):
                start = self._at[shard]
                self._at[shard] += len(digests)
                if values.adopt(measured, start, digests):
                    digests = ()

    def remove(self) -> None:
        """Remove the files of all shards."""
        for values in self._all.values():
            values.remove()
