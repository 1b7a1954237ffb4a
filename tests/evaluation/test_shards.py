"""Evaluations in parts: together they give the scorecard of one, to the last bit, wherever they were interrupted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Scorecard, Shard, evaluate
from gradsculpt.evaluation.per_image_values import VALUES
from gradsculpt.models import Classifier
from tests.evaluation.cases import PROTOCOL, SPACE, batches, levels, network

SIZES = (2, 2, 2, 2, 1)


class Counting(Classifier):
    """Counts the images that are measured."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        type(self).seen += len(images)
        answer: Tensor = super().forward(images)
        return answer


class StopError(Exception):
    """An evaluation is interrupted."""


def scored(folder: Path, sizes: tuple[int, ...] = SIZES, **options: Any) -> Scorecard:
    classifier = Counting(network(), SPACE, ("a", "b", "c"), 8).eval()
    return evaluate(classifier, batches(sizes, levels(sum(sizes))), PROTOCOL, folder=folder, **options)


def test_shards_together_are_the_whole(tmp_path: Path) -> None:
    whole = scored(tmp_path / "whole")

    def stop(done: int, total: int | None) -> None:
        if done > 2:
            raise StopError

    for number in (2, 0, 1):
        if number == 0:  # which goes on afterwards
            with pytest.raises(StopError):
                scored(tmp_path / "parts", shard=Shard(number, 3), progress=stop)
        scored(tmp_path / "parts", shard=Shard(number, 3))
    Counting.seen = 0
    card = scored(tmp_path / "parts")
    assert Counting.seen == 0
    assert card.settings == whole.settings
    assert card.entries == whole.entries
    assert card.curves == whole.curves
    assert (tmp_path / "parts" / VALUES).read_bytes() == (tmp_path / "whole" / VALUES).read_bytes()
    assert [path.name for path in (tmp_path / "parts").iterdir()] == [VALUES]


def test_what_no_shard_has_measured_is_measured(tmp_path: Path) -> None:
    whole = scored(tmp_path / "whole")
    scored(tmp_path / "parts", shard=Shard(1, 2))
    scored(tmp_path / "parts", shard=Shard(0, 5))
    Counting.seen = 0
    assert scored(tmp_path / "parts").entries == whole.entries
    assert Counting.seen == sum(SIZES) - 2 - 2 - 2  # batches 1 and 3 of the one, and 0 of the other


@pytest.mark.parametrize("other", [{"limit": 8}, {"name": "another", "settings": {"more": 1}}])
def test_shards_of_other_evaluations_are_not_taken(tmp_path: Path, other: dict[str, Any]) -> None:
    whole = scored(tmp_path / "whole")
    scored(tmp_path / "parts", shard=Shard(0, 1), **other)
    Counting.seen = 0
    assert scored(tmp_path / "parts").entries == whole.entries
    assert Counting.seen == sum(SIZES)


def test_shards_of_other_batches_are_not_taken(tmp_path: Path) -> None:
    scored(tmp_path / "parts", shard=Shard(0, 2))
    Counting.seen = 0
    scored(tmp_path / "parts", (3, 3, 3))
    assert Counting.seen == 9


def test_a_shard_that_is_damaged_is_measured_again(tmp_path: Path) -> None:
    whole = scored(tmp_path / "whole")
    scored(tmp_path / "parts", shard=Shard(0, 2))
    (path,) = (tmp_path / "parts").glob("*.csv")
    path.write_bytes(path.read_bytes()[:-40])
    assert scored(tmp_path / "parts").entries == whole.entries


def test_a_shard_without_a_folder_is_refused() -> None:
    classifier = Classifier(network(), SPACE, ("a", "b", "c"), 8).eval()
    with pytest.raises(ArgumentError, match="has no folder"):
        evaluate(classifier, batches(), PROTOCOL, shard=Shard(0, 2))


def test_every_batch_belongs_to_one_shard() -> None:
    for of in (1, 2, 5):
        shards = [Shard(number, of) for number in range(of)]
        assert all(sum(shard.has(batch) for shard in shards) == 1 for batch in range(11))
        assert torch.tensor([len(shard.part) for shard in shards]).gt(0).all()
