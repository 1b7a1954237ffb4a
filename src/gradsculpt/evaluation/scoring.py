"""Scoring a classifier and its maps on images."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import heatmap
from gradsculpt.data import Batch, to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.protocol import Protocol
from gradsculpt.evaluation.scorecard import Entry, Scorecard, entry
from gradsculpt.metrics import Score, binary_scores, cosine, five_band_scores, gini, ssim, topk_dice, topk_intersection
from gradsculpt.models import Classifier

Progress = Callable[[int, int | None], None]

_ACCURACY = Score("accuracy", 0.0, 1.0, "higher", "fraction")
_MASS = Score("mass_on_evidence", 0.0, 1.0, "higher", "fraction")


def evaluate(
    classifier: Classifier,
    data: Iterable[Batch],
    protocol: Protocol | None = None,
    *,
    name: str = "classifier",
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Scorecard:
    """Score a classifier: accuracy, sparsity and robustness of its maps, and agreement with the truth if known.

    Args:
        classifier: Takes [0, 1] images; used in the mode it is in, normally eval.
        data: Batches of 8-bit images with labels and, where known, truth maps as attention.
        protocol: How maps are read and disturbed; the default if None.
        name: Name of the scorecard.
        settings: More to note in the scorecard.
        limit: Use at most this many images; None for all.
        progress: Called as `progress(done, total)` after each batch; total is `limit`.

    Returns:
        Means over the images with 95% bootstrap intervals. Ground-truth scores leave out images without any evidence
        (the blank cells), for which precision and recall mean nothing; rows that end in `_all` are over all images.

    Raises:
        ArgumentError: If there are no images, or labels do not fit the classifier.
    """
    protocol = protocol or Protocol()
    if limit is not None:
        checks.at_least("limit", limit, 1)
    generator = protocol.generator()
    rows: dict[str, list[Tensor]] = {}
    done = 0
    for batch in data:
        rest = slice(None if limit is None else limit - done)
        part = Batch(batch.images[rest], batch.labels[rest], None if batch.attention is None else batch.attention[rest])
        for row, values in _score_batch(classifier, part, protocol, generator).items():
            rows.setdefault(row, []).append(values.cpu())
        done += len(part.labels)
        if progress is not None:
            progress(done, limit)
        if done == limit:
            break
    if not done:
        raise ArgumentError("there are no images to score; pass data with at least one batch.")
    noted = {"images": done, **vars(protocol), "attribution": repr(protocol.attribution)}
    return Scorecard(name, noted | dict(settings or {}), _summaries(rows, protocol.seed))


_ROWS: dict[str, tuple[str, Score]] = {
    "accuracy": ("accuracy", _ACCURACY),
    "gini": ("sparsity", gini.scores[0]),
    "topk_intersection": ("robustness", topk_intersection.scores[0]),
    "topk_dice": ("robustness", topk_dice.scores[0]),
    "ssim": ("robustness", ssim.scores[0]),
    "cosine": ("robustness", cosine.scores[0]),
}
"""Rows of a scorecard that every set of images has: group, and what is measured."""

_TRUTH_ROWS: dict[str, Score] = {
    "mass_on_evidence": _MASS,
    **{f"binary_{score.name}": score for score in binary_scores.scores},
    **{f"five_band_{score.name}": score for score in five_band_scores.scores},
}
"""Rows of a set whose true regions are known."""


def _summaries(rows: Mapping[str, list[Tensor]], seed: int) -> dict[str, Entry]:
    """Summarise each row; those of the truth once without the images that hold no evidence, and once with them."""
    values = {name: torch.cat(parts) for name, parts in rows.items()}
    entries = {name: entry(group, score, values[name], seed) for name, (group, score) in _ROWS.items()}
    evidence = values.get("has_evidence", torch.zeros(0, dtype=torch.bool))
    if bool(evidence.any()):
        known = {
            name: entry("ground truth", score, values[name][evidence], seed) for name, score in _TRUTH_ROWS.items()
        }
        entries |= known
        if not bool(evidence.all()):
            group = "ground truth, images without evidence included"
            entries |= {f"{name}_all": entry(group, each.score, values[name], seed) for name, each in known.items()}
    return entries


def _score_batch(
    classifier: Classifier, batch: Batch, protocol: Protocol, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return one value an image for each row."""
    device = classifier.device
    images, labels = to_float(batch.images.to(device)), batch.labels.to(device)
    reading = protocol.read(classifier, images, labels, generator)
    before, after = heatmap(reading.clean, clip=100.0), heatmap(reading.disturbed, clip=100.0)
    values = {
        "accuracy": (reading.predicted == labels).float(),
        "gini": gini(before),
        "topk_intersection": topk_intersection(before, after, protocol.k, nonzero=True),
        "topk_dice": topk_dice(before, after, protocol.k, nonzero=True),
        "ssim": ssim(before, after),
        "cosine": cosine(before, after),
    }
    if batch.attention is not None:
        values |= _truth_scores(reading.clean, before, to_float(batch.attention.to(device)))
    return values


def _truth_scores(raw: Tensor, heat: Tensor, truth: Tensor) -> dict[str, Tensor]:
    evidence = truth[:, 0] > 0.7
    total = heat.flatten(1).sum(dim=1)
    mass = (heat * evidence).flatten(1).sum(dim=1) / total.clamp(min=torch.finfo(heat.dtype).tiny)
    families = {"binary": binary_scores(heat, truth), "five_band": five_band_scores(raw, truth)}
    named = {f"{family}_{name}": values for family, scores in families.items() for name, values in scores.items()}
    return {"mass_on_evidence": mass} | named | {"has_evidence": evidence.flatten(1).any(dim=1)}
