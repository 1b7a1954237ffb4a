"""Whether the pixels that a map calls important are important to the model: they are put in, or taken out."""

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model
from gradsculpt.metrics.base import Score, metric
from gradsculpt.metrics.masking import (
    BATCH_SIZE,
    Baseline,
    ClassOutput,
    Trial,
    baseline_images,
    check_images,
    fitting_values,
    ranking,
    shares,
)


@metric(Score("insertion", low=0.0, high=1.0, better="higher"))
def insertion(
    model: Model,
    x: Tensor,
    y: Tensor,
    maps: Tensor,
    steps: int = 20,
    *,
    baseline: Baseline = "zero",
    output: ClassOutput = "probability",
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Mean probability of the class while an image is put together, most important pixels first.

    At each of the shares 0, 1 / steps, ..., 1 the image shows that share of its pixels, those of largest magnitude in
    the map, and the baseline elsewhere. A pixel is all its channels; its importance is the sum of their magnitudes.
    Adv-Insertion is this metric with the maps of attacked images and with x clean.

    Args:
        model: Any callable from [N, C, H, W] to logits [N, K]; used in the mode it is in, normally eval.
        x: Images, as the model takes them.
        y: The class of each image whose probability is followed: the true one.
        maps: Attribution maps, one an image.
        steps: How many steps lie between the empty and the whole image.
        baseline: "zero", "blur", "mean" or images; see `baseline_images`.
        output: "probability", "logit", or "accuracy": 1 where the class is the predicted one.
        batch_size: How many images go through the model at once.

    Shape:
        x [N, C, H, W], y [N] and maps [N, H, W] or [N, C, H, W], of any number of channels, to [N].

    Units:
        A probability; that of the logit with `output="logit"`.

    Returns:
        The mean over the steps + 1 shares, in [0, 1] unless the logit is read; higher is more faithful. Among equal
        magnitudes the pixel that comes first in memory order goes first, so a constant map is scanned line by line.

    Raises:
        ArgumentError: If shapes do not fit, x or a map is not finite, a class is out of range or an option unknown.
        ModelError: If the model returns NaN, or no logits.

    Source:
        Petsiuk et al., BMVC 2018; Joo et al., AAAI 2023, "Insertion and Adv-Insertion game".

    Deviation:
        The authors' code for the second leaves the share 1 out, and drops pixels that tie with the threshold.

    Example:
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0], torch.zeros(len(x))], dim=1)  # looks at one pixel
        >>> x, y = torch.full((2, 1, 1, 2), 9.0), torch.tensor([0, 0])
        >>> insertion(model, x, y, maps=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), steps=2)
        tensor([0.8333, 0.6666])
    """
    curve = insertion_curve(model, x, y, maps, steps, baseline=baseline, output=output, batch_size=batch_size)
    return curve.mean(dim=1)


@metric(Score("deletion", low=0.0, high=1.0, better="lower"))
def deletion(
    model: Model,
    x: Tensor,
    y: Tensor,
    maps: Tensor,
    steps: int = 20,
    *,
    baseline: Baseline = "zero",
    output: ClassOutput = "probability",
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Mean probability of the class while an image is taken apart, most important pixels first.

    The opposite of `insertion`: at each of the shares 0, 1 / steps, ..., 1 that share of the pixels, those of largest
    magnitude in the map, is replaced by the baseline.

    Args:
        model: Any callable from [N, C, H, W] to logits [N, K]; used in the mode it is in, normally eval.
        x: Images, as the model takes them.
        y: The class of each image whose probability is followed: the true one.
        maps: Attribution maps, one an image.
        steps: How many steps lie between the whole and the empty image.
        baseline: "zero", "blur", "mean" or images; see `baseline_images`.
        output: "probability", "logit", or "accuracy": 1 where the class is the predicted one.
        batch_size: How many images go through the model at once.

    Shape:
        x [N, C, H, W], y [N] and maps [N, H, W] or [N, C, H, W], of any number of channels, to [N].

    Units:
        A probability; that of the logit with `output="logit"`.

    Returns:
        The mean over the steps + 1 shares, in [0, 1] unless the logit is read; lower is more faithful. Ties as in
        `insertion`.

    Raises:
        ArgumentError: If shapes do not fit, x or a map is not finite, a class is out of range or an option unknown.
        ModelError: If the model returns NaN, or no logits.

    Source:
        Petsiuk et al., BMVC 2018.

    Example:
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0], torch.zeros(len(x))], dim=1)  # looks at one pixel
        >>> x, y = torch.full((2, 1, 1, 2), 9.0), torch.tensor([0, 0])
        >>> deletion(model, x, y, maps=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), steps=2)
        tensor([0.6666, 0.8333])
    """
    curve = deletion_curve(model, x, y, maps, steps, baseline=baseline, output=output, batch_size=batch_size)
    return curve.mean(dim=1)


def insertion_curve(
    model: Model,
    x: Tensor,
    y: Tensor,
    maps: Tensor,
    steps: int = 20,
    *,
    baseline: Baseline = "zero",
    output: ClassOutput = "probability",
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Return the curve whose mean is `insertion`: one value for each share 0, 1 / steps, ..., 1, [N, steps + 1]."""
    trial, ranks, counts = _prepared(model, x, y, maps, steps, output, batch_size)
    return trial.curve(ranks, counts, inside=trial.x, outside=baseline_images(x, baseline)).to(x.dtype)


def deletion_curve(
    model: Model,
    x: Tensor,
    y: Tensor,
    maps: Tensor,
    steps: int = 20,
    *,
    baseline: Baseline = "zero",
    output: ClassOutput = "probability",
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Return the curve whose mean is `deletion`: one value for each share 0, 1 / steps, ..., 1, [N, steps + 1]."""
    trial, ranks, counts = _prepared(model, x, y, maps, steps, output, batch_size)
    # Counted from the least important pixel, what deletion leaves is what is put in.
    total = counts[-1]
    kept = [total - count for count in counts]
    return trial.curve(total - 1 - ranks, kept, inside=trial.x, outside=baseline_images(x, baseline)).to(x.dtype)


def inserted(x: Tensor, maps: Tensor, gamma: float, baseline: Baseline = "zero") -> Tensor:
    """Return images that show the share gamma of their most important pixels, and the baseline elsewhere.

    Args:
        x: Images [N, C, H, W].
        maps: Attribution maps, [N, H, W] or [N, C, H, W].
        gamma: Share of the pixels in [0, 1]; their number is rounded to the nearest, halves up.
        baseline: "zero", "blur", "mean" or images; see `baseline_images`.

    Raises:
        ArgumentError: If shapes do not fit, x or a map is not finite, or gamma is no share.

    Source: Joo et al., AAAI 2023, Fig. 2(b).

    Example:
        >>> inserted(torch.ones(1, 1, 1, 4), torch.tensor([[[1.0, -3.0, 2.0, 0.0]]]), gamma=0.5)
        tensor([[[[0., 1., 1., 0.]]]])
    """
    check_images(x)
    checks.within("gamma", gamma, 0.0, 1.0)
    ranks = ranking(fitting_values(x, maps))
    count = int(gamma * x.shape[2] * x.shape[3] + 0.5)
    return torch.where((ranks < count)[:, None], x.detach(), baseline_images(x, baseline))


def _prepared(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int, output: ClassOutput, batch_size: int
) -> tuple[Trial, Tensor, list[int]]:
    check_steps(steps)
    trial = Trial(model, x.detach(), y, output, batch_size)
    return trial, ranking(fitting_values(x, maps)), shares(x.shape[2] * x.shape[3], steps)


def check_steps(steps: int) -> None:
    """Raise `ArgumentError` unless steps is a positive whole number."""
    if not isinstance(steps, int) or steps < 1:
        raise ArgumentError(f"steps={steps!r} is out of range; pass a whole number of at least 1.")
