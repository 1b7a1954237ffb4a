"""How a map is scored: each metric gives one value, or a dict of values, for each sample of a batch.

`METRICS` lists them all; a metric is called like a function and carries the scores it returns (name, range, direction,
unit), what it needs, and its one-line description.
"""

from torch import Tensor

from gradsculpt.metrics.base import Metric, Score, metric
from gradsculpt.metrics.calibration import brier, calibration_error, negative_log_likelihood
from gradsculpt.metrics.curvature import hessian_norm, linearization_error, upper_bound
from gradsculpt.metrics.eigenvalue import top_eigenvalue
from gradsculpt.metrics.fidelity import (
    aopc_morf,
    deletion,
    deletion_curve,
    insertion,
    insertion_curve,
    morf_curve,
    relative_drop,
)
from gradsculpt.metrics.ground_truth import binary_scores, five_band_scores
from gradsculpt.metrics.masking import Masking, inserted
from gradsculpt.metrics.neighbourhood import Neighbourhood
from gradsculpt.metrics.robustness import local_lipschitz, max_sensitivity, rps, stability
from gradsculpt.metrics.similarity import cosine, pearson, spearman, ssim
from gradsculpt.metrics.sparsity import connectedness, gini, half_weight
from gradsculpt.metrics.topk import gaze_overlap, topk_dice, topk_intersection, topk_mask

METRICS: tuple[Metric[..., Tensor] | Metric[..., dict[str, Tensor]], ...]
METRICS = (gini, half_weight, cosine, pearson, spearman, ssim, topk_intersection, topk_dice)
METRICS += (five_band_scores, binary_scores, gaze_overlap, connectedness, insertion, deletion, aopc_morf)
METRICS += (brier, negative_log_likelihood, stability, rps, local_lipschitz, max_sensitivity)
METRICS += (upper_bound, hessian_norm, top_eigenvalue, linearization_error)

__all__ = ["METRICS", "Masking", "Metric", "Neighbourhood", "Score", "metric"]
__all__ += ["binary_scores", "connectedness", "five_band_scores", "gaze_overlap", "gini", "half_weight"]
__all__ += ["cosine", "pearson", "spearman", "ssim", "stability", "topk_dice", "topk_intersection", "topk_mask"]
__all__ += ["aopc_morf", "deletion", "deletion_curve", "inserted", "insertion", "insertion_curve", "morf_curve"]
__all__ += ["brier", "calibration_error", "negative_log_likelihood", "relative_drop"]
__all__ += ["hessian_norm", "linearization_error", "local_lipschitz", "max_sensitivity", "rps"]
__all__ += ["top_eigenvalue", "upper_bound"]
