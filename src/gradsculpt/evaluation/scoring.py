"""Scoring a classifier and its maps on images."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import Attribution, Gradient, heatmap
from gradsculpt.data import Batch, to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.scorecard import Scorecard, entry
from gradsculpt.metrics import Score, binary_scores, cosine, five_band_scores, gini, ssim, topk_dice, topk_intersection
from gradsculpt.models import Classifier

Progress = Callable[[int, int | None], None]
Target = Literal["true", "predicted"]

_ACCURACY = Score("accuracy", 0.0, 1.0, "higher", "fraction")
_MASS = Score("mass_on_evidence", 0.0, 1.0, "higher", "fraction")


@dataclass(frozen=True)
class Protocol:
    """How maps are read and disturbed.

    Args:
        attribution: The maps that are scored.
        target: The class whose maps are read: the true one (AdvGrad, section 3.1) or the predicted one.
        eps: Half-width of the uniform noise that tests robustness, in 8-bit pixel levels.
        k: Share of the non-zero pixels whose overlap is counted (AdvGrad, B.6).
        seed: Seed of the noise and of the bootstrap.
    """

    attribution: Attribution = field(default_factory=Gradient)
    target: Target = "true"
    eps: float = 8.0
    k: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        checks.one_of("target", self.target, ("true", "predicted"))
        checks.within("eps", self.eps, 0.0, 255.0)
        checks.within("k", self.k, 0.0, 1.0)
        checks.at_least("seed", self.seed, 0)


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
        (the blank cells), for which precision and recall mean nothing; `images` of an entry tells how many are left.

    Raises:
        ArgumentError: If there are no images, or labels do not fit the classifier.
    """
    protocol = protocol or Protocol()
    if limit is not None:
        checks.at_least("limit", limit, 1)
    generator = torch.Generator().manual_seed(protocol.seed)
    columns: dict[str, list[Tensor]] = {}
    done = 0
    for batch in data:
        rest = slice(None if limit is None else limit - done)
        part = Batch(batch.images[rest], batch.labels[rest], None if batch.attention is None else batch.attention[rest])
        for column, values in _score_batch(classifier, part, protocol, generator).items():
            columns.setdefault(column, []).append(values)
        done += len(part.labels)
        if progress is not None:
            progress(done, limit)
        if done == limit:
            break
    if not done:
        raise ArgumentError("there are no images to score; pass data with at least one batch.")
    entries = {
        column: entry(*_COLUMNS[column], torch.cat(values)[_kept(column, columns)], protocol.seed)
        for column, values in columns.items()
        if column in _COLUMNS and bool(_kept(column, columns).any())
    }
    noted: dict[str, Any] = {
        "images": done,
        "target": protocol.target,
        "eps": protocol.eps,
        "k": protocol.k,
        "seed": protocol.seed,
    }
    noted["attribution"] = repr(protocol.attribution)
    return Scorecard(name, noted | dict(settings or {}), entries)


# Column of a scorecard: its group and what it measures. Intervals and tables need nothing else.
_COLUMNS: dict[str, tuple[str, Score]] = {
    "accuracy": ("accuracy", _ACCURACY),
    "gini": ("sparsity", gini.scores[0]),
    "topk_intersection": ("robustness", topk_intersection.scores[0]),
    "topk_dice": ("robustness", topk_dice.scores[0]),
    "ssim": ("robustness", ssim.scores[0]),
    "cosine": ("robustness", cosine.scores[0]),
    "mass_on_evidence": ("ground truth", _MASS),
    **{f"binary_{score.name}": ("ground truth", score) for score in binary_scores.scores},
    **{f"five_band_{score.name}": ("ground truth", score) for score in five_band_scores.scores},
}


def _score_batch(
    classifier: Classifier, batch: Batch, protocol: Protocol, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return one value an image for each column."""
    device = next(classifier.parameters()).device
    images, labels = to_float(batch.images.to(device)), batch.labels.to(device)
    with torch.no_grad():
        predicted = classifier(images).argmax(dim=1)
    target = labels if protocol.target == "true" else predicted
    noise = torch.rand(images.shape, generator=generator).to(device).mul_(2).sub_(1)
    disturbed = (images + noise * (protocol.eps / 255)).clamp_(0, 1)
    network, space = classifier.network, classifier.space
    raw, raw_disturbed = (
        protocol.attribution(network, space.normalize(inputs), target) for inputs in (images, disturbed)
    )
    before, after = heatmap(raw, clip=100.0), heatmap(raw_disturbed, clip=100.0)
    values = {
        "accuracy": (predicted == labels).float(),
        "gini": gini(before),
        "topk_intersection": topk_intersection(before, after, protocol.k, nonzero=True),
        "topk_dice": topk_dice(before, after, protocol.k, nonzero=True),
        "ssim": ssim(before, after),
        "cosine": cosine(before, after),
    }
    if batch.attention is not None:
        values |= _truth_scores(raw, before, to_float(batch.attention.to(device)))
    return values


def _truth_scores(raw: Tensor, heat: Tensor, truth: Tensor) -> dict[str, Tensor]:
    evidence = truth[:, 0] > 0.7
    total = heat.flatten(1).sum(dim=1)
    mass = (heat * evidence).flatten(1).sum(dim=1) / total.clamp(min=torch.finfo(heat.dtype).tiny)
    families = {"binary": binary_scores(heat, truth), "five_band": five_band_scores(raw, truth)}
    named = {f"{family}_{name}": values for family, scores in families.items() for name, values in scores.items()}
    return {"mass_on_evidence": mass} | named | {"has_evidence": evidence.flatten(1).any(dim=1)}


def _kept(column: str, columns: Mapping[str, list[Tensor]]) -> Tensor:
    """Tell which images a column's mean is over."""
    everything = torch.ones(sum(map(len, columns[column])), dtype=torch.bool)
    if _COLUMNS[column][0] != "ground truth":
        return everything
    return torch.cat(columns["has_evidence"]).cpu()
