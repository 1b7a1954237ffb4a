"""What is scored of images as they are: predictions, how concentrated maps are, and whether they find the truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from gradsculpt import metrics
from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.groups.base import Column, ScoreGroup
from gradsculpt.metrics import Score
from gradsculpt.metrics.calibration import gaps
from gradsculpt.numerics import per_sample

_ACCURACY = Score("accuracy", 0.0, 1.0, "higher", "fraction", "How often the first answer of the network is right.")
_CONFIDENCE = Score("confidence", 0.0, 1.0, None, "fraction", "How sure the network says it is of its first answer.")
_CALIBRATION = Score(
    "calibration_error",
    0.0,
    1.0,
    "lower",
    "fraction",
    "How far apart it is how sure the network is and how often it is right.",
)
_LEVELS = (0.0, 0.4, 0.9)
_EVIDENCE = 0.7
_ALL = "_all"
"""Ends the name of a score over all images, where its namesake leaves some out."""


@dataclass(frozen=True)
class Accuracy(ScoreGroup):
    """Whether the prediction is right, and how far its probability can be believed.

    Source: Guo et al., ICML 2017 (On calibration of modern neural networks), for the calibration error.
    """

    label: ClassVar[str] = "accuracy and calibration"
    question: ClassVar[str] = "Is the network right, and does it know when it is not?"

    @property
    def needs_labels(self) -> bool:
        """Yes."""
        return True

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield accuracy, Brier score, negative log likelihood and confidence."""
        confidence, predicted = batch.logits.softmax(dim=1).max(dim=1)
        yield Column(_ACCURACY, (predicted == batch.labels).float())
        for metric in (metrics.brier, metrics.negative_log_likelihood):
            yield Column(metric.scores[0], metric(batch.logits, batch.labels))
        yield Column(_CONFIDENCE, confidence)

    def summarised(self, columns: Sequence[Column]) -> Iterator[Column]:
        """Add the calibration error, which is of all images together."""
        yield from columns
        values = {column.score: column.values for column in columns}
        yield Column(_CALIBRATION, gaps(values[_CONFIDENCE], values[_ACCURACY]))


@dataclass(frozen=True)
class Sparsity(ScoreGroup):
    """How concentrated the map is, and whether its top hangs together.

    Source: Gong et al., CVPR 2024, Table 3 (Gini index) and section 4.3 (connected maps).
    """

    label: ClassVar[str] = "sparsity"
    question: ClassVar[str] = "Do the maps point at few places that hang together?"

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield the Gini index, the share of pixels with half of the weight, and the components of the heat maps."""
        for metric in (metrics.gini, metrics.half_weight):
            yield Column(metric.scores[0], metric(batch.heat))
        components = metrics.connectedness(batch.heat)
        yield from (Column(score, components[score.name]) for score in metrics.connectedness.scores)


@dataclass(frozen=True)
class GroundTruth(ScoreGroup):
    """How well the map finds the regions that decide the class, or that people look at, where they are known.

    Images without any evidence (blank cells, images that nobody looked at) are left out, as precision and recall mean
    nothing there; scores that end in `_all` are over all images.

    Source: Gong et al., CVPR 2024, section 5.1 and Table 2 (cells), section 5.3 and Table 4 (gaze).
    """

    note: ClassVar[str] = "Ground-truth scores leave out images without evidence."
    label: ClassVar[str] = "agreement with the truth"
    question: ClassVar[str] = "Do the maps find what decides the class?"
    needs_ground_truth: ClassVar[bool] = True

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield overlaps with the truth and, where it is in the levels of the cells, mass and scores by regions."""
        if batch.ground_truth is None:
            return
        columns, evidence = _measured(batch, batch.ground_truth)
        for column in columns:
            yield replace(column, values=torch.where(evidence, column.values, torch.nan))
        for column in columns:
            yield replace(column, score=column.score.within(f"{column.score.name}{_ALL}", "over all images"))

    def summarised(self, columns: Sequence[Column]) -> Iterator[Column]:
        """Leave out what was said already: where there is evidence everywhere or nowhere, scores over all images."""
        counts = {column.score.name: int(column.values.isfinite().sum()) for column in columns}
        for column in columns:
            name = column.score.name
            if not name.endswith(_ALL):
                yield column
            elif 0 < counts[name.removesuffix(_ALL)] < counts[name]:
                yield replace(column, heading="images without evidence included")


def _measured(batch: EvaluationBatch, truth: Tensor) -> tuple[list[Column], Tensor]:
    """Return the columns over all images, and whether there is something to find in each, [N]."""
    heat, columns = batch.heat, []
    for k in (0.05, 0.1):
        meaning = f"How many of the map's strongest {100 * k:g}% of the pixels lie where it matters most."
        score = replace(metrics.gaze_overlap.scores[0], name=f"overlap_top_{100 * k:g}", meaning=meaning)
        columns.append(Column(score, metrics.gaze_overlap(heat, truth, k)))
    if not bool(torch.isclose(truth[..., None], truth.new_tensor(_LEVELS), atol=4e-3).any(dim=-1).all()):
        return columns, (truth > 0).flatten(1).any(dim=1)  # gaze: any of its levels is something to find
    evidence = truth[:, 0] > _EVIDENCE
    total = per_sample(heat).clamp(min=torch.finfo(heat.dtype).tiny)
    mass = Score(
        "mass_on_evidence",
        0.0,
        1.0,
        "higher",
        "fraction",
        "How much of the map's strength lies on the regions that decide the class.",
    )
    columns.append(Column(mass, per_sample(heat * evidence) / total))
    for family, metric, maps, told in (
        ("binary", metrics.binary_scores, heat, "where only what decides counts"),
        ("five_band", metrics.five_band_scores, batch.maps, "in five grades from against to for the class"),
    ):
        values = metric(maps, truth)
        columns += [Column(s.within(f"{family}_{s.name}", told), values[s.name]) for s in metric.scores]
    return columns, evidence.flatten(1).any(dim=1)
