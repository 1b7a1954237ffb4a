"""How far a classifier's probabilities can be believed."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics.base import Score, metric
from gradsculpt.outputs import two_sided


@metric(
    Score(
        "brier",
        low=0.0,
        high=2.0,
        better="lower",
        meaning="How far the probabilities are from the truth: 0 is sure and right, 2 is sure and wrong.",
    )
)
def brier(logits: Tensor, y: Tensor) -> Tensor:
    """Squared distance between the probabilities of all classes and the truth, the Brier score.

    Shape: logits [N, K], a model's outputs before the softmax (or a single one an image, [N] or [N, 1], of class 1
        against class 0), and the true classes y [N] to [N].
    Units: None.

    Returns:
        The sum over classes of (p - t)^2, where t is 1 for the true class and 0 for others, in [0, 2]; lower is better.
        0 is certain and right, 2 certain and wrong.

    Raises: ArgumentError if the logits are no finite [N, K], or a class is out of range.
    Source: Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.

    Example:
        >>> brier(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.5000, 0.5000])
    """
    log_probabilities, truth = _log_probabilities(logits, y)
    probabilities, truth = log_probabilities.exp(), F.one_hot(truth, log_probabilities.shape[1])
    return (probabilities - truth).square().sum(dim=1).clamp(max=2.0).to(logits.dtype)


@metric(
    Score(
        "negative_log_likelihood",
        low=0.0,
        high=float("inf"),
        better="lower",
        unit="nats",
        meaning="How surprised the network is by the true class, where being sure and wrong costs most.",
    )
)
def negative_log_likelihood(logits: Tensor, y: Tensor) -> Tensor:
    """Negative logarithm of the probability of the true class; the arguments are those of `brier`.

    Shape: As of `brier`.
    Units: Nats.

    Returns:
        The cross entropy of each sample, 0 or more; lower is better.

    Raises: As `brier`.
    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.

    Example:
        >>> negative_log_likelihood(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.3863])
    """
    log_probabilities, truth = _log_probabilities(logits, y)
    return log_probabilities.gather(1, truth[:, None])[:, 0].neg().clamp(min=0.0).to(logits.dtype)


def calibration_error(logits: Tensor, y: Tensor, bins: int = 15) -> Tensor:
    """Gap between confidence and accuracy in the bin of each sample; the mean is the expected calibration error.

    Samples are put into bins of equal width by their confidence, the largest probability. Every sample of a bin gets
    the bin's gap, |mean confidence - share predicted correctly|. This needs the whole set at once: unlike a `Metric`,
    the value of a sample depends on the others, and the mean over a batch is not the error of the set. The arguments
    are those of `brier`, and how many `bins` [0, 1] is cut into, each without its lower and with its upper edge.

    Shape: As of `brier`, for a whole set of images.
    Units: A fraction.

    Returns:
        The gaps in [0, 1]; lower is better, 0 is calibrated.

    Raises: ArgumentError if the logits are no finite [N, K], a class is out of range, or bins is not at least 1.
    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.

    Example:
        >>> logits = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.8, 0.2]]).log()
        >>> calibration_error(logits, torch.tensor([0, 1, 1, 1])).mean()  # 80% sure, and right half of the time
        tensor(0.3000)
    """
    checks.whole("bins", bins, 1)
    log_probabilities, truth = _log_probabilities(logits, y)
    log_confidence, predicted = log_probabilities.max(dim=1)
    confidence = log_confidence.exp().clamp(max=1.0)
    return gaps(confidence, (predicted == truth).to(confidence.dtype), bins).to(logits.dtype)


def gaps(confidence: Tensor, correct: Tensor, bins: int = 15) -> Tensor:
    """Return the gap of the bin of each sample, [N], from confidences and whether each is correct (1) or not."""
    edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)
    place = torch.bucketize(confidence, edges[1:-1])  # a value on an edge belongs below it
    count, confident, right = (
        torch.zeros(bins, dtype=confidence.dtype, device=confidence.device).index_add_(0, place, values)
        for values in (torch.ones_like(confidence), confidence, correct)
    )
    gap = (confident - right).abs() / count.clamp(min=1)
    return gap[place].clamp(max=1.0)


def _log_probabilities(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the probabilities, in double precision unless the device has none, and valid classes."""
    checks.not_empty("logits", len(logits))
    logits = logits[:, None] if logits.ndim == 1 else logits
    if logits.ndim != 2 or logits.shape[1] == 0 or not logits.is_floating_point():
        raise ArgumentError(
            f"logits has shape {list(logits.shape)} and dtype {logits.dtype}; pass floating-point scores [N, K], one "
            "row an image and one column a class."
        )
    if not bool(torch.isfinite(logits).all()):
        raise ArgumentError("logits holds NaN or infinite entries, so there are no probabilities; leave them out.")
    wide = two_sided(logits.detach().to(torch.float32 if logits.device.type == "mps" else torch.float64))
    return F.log_softmax(wide, dim=1), checks.labels(y, *wide.shape).to(wide.device)
