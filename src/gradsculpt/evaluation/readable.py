"""Images of which a network returns nothing finite: they are left out of every score, counted and named."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError, GradsculptError
from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.scorecard import ODD
from gradsculpt.metrics import Score
from gradsculpt.wording import counted

Key = TypeVar("Key")
Columns = Mapping[Key, Tensor]

ODD_SCORE = Score(
    ODD, 0.0, 1.0, "lower", "fraction", "How many images have logits or a map that is not finite, and no other score."
)


def measured_apart(
    batch: EvaluationBatch, measure: Callable[[EvaluationBatch], Columns[Key]], odd: Key
) -> dict[Key, Tensor]:
    """Return the columns of a batch, without a number for images whose logits or maps are not finite.

    Args:
        batch: The images.
        measure: Returns columns, one value an image; it may refuse maps that are not finite.
        odd: The column that says which images were left out; there is none if all are well.
    """
    off = ~batch.logits.isfinite().all(dim=1)
    if not bool(off.any()):
        try:
            columns = dict(measure(batch))
        except GradsculptError:
            if not bool((off := _without_map(batch)).any()):
                raise
        else:
            if not batch.has_maps or not bool((off := _without_map(batch)).any()):
                return columns
    elif not bool(off.all()):
        off = off.index_put((~off,), _without_map(_of(batch, ~off)))
    kept, columns = ~off, {}
    if bool(kept.any()):
        for key, values in measure(_of(batch, kept)).items():
            columns[key] = torch.full((len(batch),), torch.nan, dtype=torch.float64)
            columns[key][kept.cpu()] = values
    return columns | {odd: off.double().cpu()}


def named(names: Sequence[str], odd: Tensor) -> list[str]:
    """Return the names of the images that were left out.

    Raises: ArgumentError if that is all of them.
    """
    found = [name for name, value in zip(names, odd.tolist(), strict=True) if value == 1]
    if len(found) == len(names):
        raise ArgumentError(
            f"the network's logits or maps are not finite for any of the {counted(len(names), 'images')}, so there is "
            "nothing to score. Check its weights and how it wants images normalised."
        )
    return found


def _without_map(batch: EvaluationBatch) -> Tensor:
    """Return which images have maps that are not finite, [N]."""
    return ~batch.maps.isfinite().flatten(1).all(dim=1).to(batch.labels.device)


def _of(batch: EvaluationBatch, kept: Tensor) -> EvaluationBatch:
    truth = batch.ground_truth
    return replace(
        batch,
        images=batch.images[kept],
        labels=batch.labels[kept],
        ground_truth=None if truth is None else truth[kept],
        noise=batch.noise[kept],
        places=tuple(kept.nonzero().flatten().tolist()),
    )
