"""How a map is scored: each metric gives one value, or a dict of values, for each sample of a batch.

`METRICS` lists them all; a metric is called like a function and carries the scores it returns (name, range, direction,
unit), what it needs, and its one-line description.
"""

from torch import Tensor

from gradsculpt.metrics.base import Metric, Score, metric
from gradsculpt.metrics.similarity import cosine, pearson, ssim
from gradsculpt.metrics.sparsity import gini
from gradsculpt.metrics.topk import topk_dice, topk_intersection, topk_mask
from gradsculpt.metrics.truth import binary_scores, five_band_scores

METRICS: tuple[Metric[..., Tensor] | Metric[..., dict[str, Tensor]], ...] = (
    gini,
    cosine,
    pearson,
    ssim,
    topk_intersection,
    topk_dice,
    five_band_scores,
    binary_scores,
)

__all__ = [
    "METRICS",
    "Metric",
    "Score",
    "binary_scores",
    "cosine",
    "five_band_scores",
    "gini",
    "metric",
    "pearson",
    "ssim",
    "topk_dice",
    "topk_intersection",
    "topk_mask",
]
