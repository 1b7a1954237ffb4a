"""Whether predictions are right, and how far their probabilities can be believed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.groups.base import Column, ScoreGroup
from gradsculpt.metrics import Score, brier, negative_log_likelihood
from gradsculpt.metrics.calibration import gaps

_ACCURACY = Score("accuracy", 0.0, 1.0, "higher", "fraction")
_CONFIDENCE = Score("confidence", 0.0, 1.0, None, "fraction")
_CALIBRATION = Score("calibration_error", 0.0, 1.0, "lower", "fraction")


@dataclass(frozen=True)
class Accuracy(ScoreGroup):
    """Whether the prediction is right, and how far its probability can be believed.

    Source: Guo et al., ICML 2017 (On calibration of modern neural networks), for the calibration error.
    """

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield accuracy, Brier score, negative log likelihood and confidence."""
        confidence, predicted = batch.logits.softmax(dim=1).max(dim=1)
        yield Column(_ACCURACY, (predicted == batch.labels).float())
        yield Column(brier.scores[0], brier(batch.logits, batch.labels))
        yield Column(negative_log_likelihood.scores[0], negative_log_likelihood(batch.logits, batch.labels))
        yield Column(_CONFIDENCE, confidence)

    def summarised(self, columns: Sequence[Column]) -> Iterator[Column]:
        """Add the calibration error, which is of all images together."""
        yield from columns
        values = {column.score: column.values for column in columns}
        yield Column(_CALIBRATION, gaps(values[_CONFIDENCE], values[_ACCURACY]))
