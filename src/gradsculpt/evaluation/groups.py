"""The groups of a scorecard: what each measures of a batch of images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gradsculpt.attacks import TopKAttack
from gradsculpt.attributions import heatmap
from gradsculpt.evaluation.randomization import randomization
from gradsculpt.evaluation.subject import Subject
from gradsculpt.metrics import (
    Score,
    aopc_morf,
    binary_scores,
    brier,
    connectedness,
    cosine,
    deletion_curve,
    five_band_scores,
    gaze_overlap,
    gini,
    insertion_curve,
    local_lipschitz,
    negative_log_likelihood,
    rps,
    ssim,
    topk_dice,
    topk_intersection,
)


class Point(NamedTuple):
    """The place of a column on a curve: the curve's name, and the setting that the column was measured at."""

    curve: str
    x: float | str


@dataclass(frozen=True, eq=False)
class Column:
    """One value an image, and what it is.

    Args:
        score: Name, range, direction and unit.
        values: [M], for the first M images of the batch.
        point: Its place on a curve; a column without one is a line of the table.
    """

    score: Score
    values: Tensor
    point: Point | None = None


_NOISE = "half-width of the noise (8-bit levels)"
_CHANGE = "root-mean-square change (8-bit levels)"
_PROBABILITY = "probability of the class (%)"
CURVES: Mapping[str, tuple[str, str, str]] = {
    "insertion": ("insertion", "pixels shown, most important first (%)", _PROBABILITY),
    "deletion": ("deletion", "pixels hidden, most important first (%)", _PROBABILITY),
    "noise_cosine": ("maps under uniform noise (RPS)", _NOISE, "cosine with the clean map"),
    "topk_attack": ("maps under the top-k attack", _CHANGE, "top-k overlap with the clean map (%)"),
    "topk_attack_ssim": ("maps under the top-k attack", _CHANGE, "SSIM with the clean map"),
    "cascade_ssim": ("weights drawn anew, from the output down to", "layer", "SSIM with the trained map"),
}
"""Title and labels of the axes of each curve."""

_LEVELS = (0.0, 0.4, 0.9)
_EVIDENCE = 0.7
ALL = "_all"
"""Ends the name of a score over all images, where its namesake leaves some out."""


def accuracy(subject: Subject) -> Iterator[Column]:
    """Yield whether the prediction is right, and how far its probability can be believed."""
    confidence, predicted = subject.logits.softmax(dim=1).max(dim=1)
    yield Column(_fraction("accuracy"), (predicted == subject.labels).float())
    yield Column(brier.scores[0], brier(subject.logits, subject.labels))
    yield Column(negative_log_likelihood.scores[0], negative_log_likelihood(subject.logits, subject.labels))
    yield Column(replace(_fraction("confidence"), better=None), confidence)


def sparsity(subject: Subject) -> Iterator[Column]:
    """Yield how concentrated the map is, and whether its top hangs together."""
    yield Column(gini.scores[0], gini(subject.heat))
    yield from _dict(connectedness.scores, connectedness(subject.heat))


def robustness_random(subject: Subject) -> Iterator[Column]:
    """Yield how alike the maps of clean and noisy images are."""
    protocol, network = subject.protocol, subject.classifier.network
    after = heatmap(subject.reading.disturbed, clip=100.0)
    yield from _alike("", subject.heat, after, protocol.k)
    if not protocol.rps_levels:
        return
    given = (network, protocol.attribution, subject.x, subject.target)
    options = {"draws": protocol.draws, "bounds": subject.bounds, "seed": protocol.seed}
    for level in protocol.rps_levels:
        found = rps(*given, subject.pixels(level), **options)  # type: ignore[arg-type]
        for score in rps.scores:
            yield Column(replace(score, name=f"rps_{score.name}_{level:g}"), found[score.name])
        yield Column(rps.scores[0], found["cosine"], Point("noise_cosine", level))
    yield Column(local_lipschitz.scores[0], local_lipschitz(*given, subject.pixels(protocol.eps), **options))  # type: ignore[arg-type]


def robustness_attack(subject: Subject) -> Iterator[Column]:
    """Yield how alike the maps of clean and attacked images are."""
    count, protocol = subject.under_attack, subject.protocol
    if not count:
        return
    clean = subject.heat[:count]
    yield from _alike("attacked_", clean, heatmap(subject.maps(subject.attacked), clip=100.0), protocol.k)
    for level in protocol.attack_levels:
        size = subject.pixels(level) * subject.x[0].numel() ** 0.5
        after = heatmap(subject.maps(subject.attack(TopKAttack, size)), clip=100.0)
        overlap = topk_intersection(clean, after, protocol.k, nonzero=True)
        yield Column(replace(topk_intersection.scores[0], name=f"topk_attack_{level:g}"), overlap)
        yield Column(topk_intersection.scores[0], 100 * overlap, Point("topk_attack", level))
        yield Column(ssim.scores[0], ssim(clean, after), Point("topk_attack_ssim", level))


def fidelity(subject: Subject) -> Iterator[Column]:
    """Yield how the class output follows the pixels in the order of the map."""
    network, x, y, steps = subject.classifier.network, subject.x, subject.target, subject.protocol.steps
    maps = subject.reading.clean
    for name, better, function in (("insertion", "higher", insertion_curve), ("deletion", "lower", deletion_curve)):
        curve = function(network, x, y, maps, steps)
        yield Column(Score(name, 0.0, 1.0, "higher" if better == "higher" else "lower"), curve.mean(dim=1))
        for i, values in enumerate(curve.unbind(dim=1)):
            yield Column(Score(name, 0.0, 1.0, None), 100 * values, Point(name, round(100 * i / steps, 6)))
    yield Column(aopc_morf.scores[0], aopc_morf(network, x, y, maps, steps))
    count = subject.under_attack
    if count and "robustness-attack" in subject.protocol.groups:
        order = subject.maps(subject.attacked)
        curve = insertion_curve(network, x[:count], y[:count], order, steps)
        yield Column(Score("adv_insertion", 0.0, 1.0, "higher"), curve.mean(dim=1))


def ground_truth(subject: Subject) -> Iterator[Column]:
    """Yield how well the map finds the regions that decide the class, or that people look at, where they are known."""
    if subject.truth is None:
        return
    heat, truth = subject.heat, subject.truth
    columns = []
    for k in (0.05, 0.1):
        score = replace(gaze_overlap.scores[0], name=f"overlap_top_{100 * k:g}")
        columns.append(Column(score, gaze_overlap(heat, truth, k)))
    evidence = (truth[:, 0] > _EVIDENCE).flatten(1)
    if bool(torch.isclose(truth[..., None], truth.new_tensor(_LEVELS), atol=4e-3).any(dim=-1).all()):
        total = heat.flatten(1).sum(dim=1).clamp(min=torch.finfo(heat.dtype).tiny)
        columns.append(Column(_fraction("mass_on_evidence"), (heat.flatten(1) * evidence).sum(dim=1) / total))
        raw = subject.reading.clean
        for family, metric, maps in (("binary", binary_scores, heat), ("five_band", five_band_scores, raw)):
            found = metric(maps, truth)
            columns += [Column(replace(s, name=f"{family}_{s.name}"), found[s.name]) for s in metric.scores]
    else:  # gaze: any of its levels is something to find
        evidence = (truth > 0).flatten(1)
    for column in columns:
        # Precision and recall mean nothing where there is nothing to find.
        yield replace(column, values=torch.where(evidence.any(dim=1), column.values, torch.nan))
    for column in columns:
        yield replace(column, score=replace(column.score, name=f"{column.score.name}{ALL}"))


def sanity(subject: Subject) -> Iterator[Column]:
    """Yield how alike the maps stay while the weights are drawn anew from the output down to the input."""
    protocol, count = subject.protocol, subject.first(subject.protocol.sanity_images)
    if not count:
        return
    given = (subject.classifier.network, protocol.attribution, subject.x[:count], subject.target[:count])
    found = randomization(*given, protocol.seed, protocol.stages, k=protocol.k)
    for name in ("ssim", "spearman", "topk_intersection"):
        score = Score(f"randomized_{name}", -1.0 if name != "topk_intersection" else 0.0, 1.0, "lower")
        yield Column(score, found.values[name].mean(dim=0))
    for stage, values in zip(found.stages, found.values["ssim"], strict=True):
        yield Column(ssim.scores[0], values, Point("cascade_ssim", stage or "network"))


GROUPS: Mapping[str, Callable[[Subject], Iterator[Column]]] = {
    "accuracy": accuracy,
    "sparsity": sparsity,
    "robustness-random": robustness_random,
    "robustness-attack": robustness_attack,
    "fidelity": fidelity,
    "ground-truth": ground_truth,
    "sanity": sanity,
}
"""What can be measured, in the order of the table."""


def _fraction(name: str) -> Score:
    return Score(name, 0.0, 1.0, "higher", "fraction")


def _dict(scores: tuple[Score, ...], found: Mapping[str, Tensor]) -> Iterator[Column]:
    for score in scores:
        yield Column(score, found[score.name])


def _alike(prefix: str, before: Tensor, after: Tensor, k: float) -> Iterator[Column]:
    for score, values in (
        (topk_intersection.scores[0], topk_intersection(before, after, k, nonzero=True)),
        (topk_dice.scores[0], topk_dice(before, after, k, nonzero=True)),
        (ssim.scores[0], ssim(before, after)),
        (cosine.scores[0], cosine(before, after)),
    ):
        yield Column(replace(score, name=f"{prefix}{score.name}"), values)
