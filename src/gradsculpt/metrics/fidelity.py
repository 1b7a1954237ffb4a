"""Whether the pixels that a map calls important are important to the model: they are put in, or taken out."""

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.gradients import Model
from gradsculpt.metrics.base import Score, metric
from gradsculpt.metrics.masking import (
    Baseline,
    Masking,
    Trial,
    baseline_images,
    check_images,
    fitting_values,
    ranking,
    shares,
)


@metric(Score("insertion", low=0.0, high=1.0, better="higher"))
def insertion(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 20, masking: Masking = Masking()
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
        masking: The baseline, what is read from the model, and how.

    Shape: x [N, C, H, W], y [N] and maps [N, H, W] or [N, C, H, W], of any number of channels, to [N].
    Units: A probability; that of the logit where the masking reads it.

    Returns:
        The mean over the steps + 1 shares, in [0, 1] unless the logit is read; higher is more faithful.

    Raises:
        ArgumentError: If shapes do not fit, x or a map is not finite, a class is out of range, or steps is below 1.
        ModelError: If the model returns NaN, or no logits.

    Source: Petsiuk et al., BMVC 2018; Joo et al., AAAI 2023, "Insertion and Adv-Insertion game".
    Deviation: The authors' code for the second leaves the share 1 out, and drops pixels that tie with the threshold.

    Example:
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0], torch.zeros(len(x))], dim=1)  # looks at one pixel
        >>> x, y = torch.full((2, 1, 1, 2), 9.0), torch.tensor([0, 0])
        >>> insertion(model, x, y, maps=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), steps=2)
        tensor([0.8333, 0.6666])
    """
    return insertion_curve(model, x, y, maps, steps, masking).mean(dim=1)


@metric(Score("deletion", low=0.0, high=1.0, better="lower"))
def deletion(model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 20, masking: Masking = Masking()) -> Tensor:
    """Mean probability of the class while an image is taken apart, most important pixels first.

    The opposite of `insertion`, whose arguments it has: at each of the shares 0, 1 / steps, ..., 1 that share of the
    pixels, those of largest magnitude in the map, is replaced by the baseline.

    Shape: As of `insertion`, to [N].
    Units: A probability; that of the logit where the masking reads it.

    Returns:
        The mean over the steps + 1 shares, in [0, 1] unless the logit is read; lower is more faithful.

    Raises:
        ArgumentError: As `insertion` does.
        ModelError: If the model returns NaN, or no logits.

    Source: Petsiuk et al., BMVC 2018.

    Example:
        >>> model = lambda x: torch.stack([x[:, 0, 0, 0], torch.zeros(len(x))], dim=1)  # looks at one pixel
        >>> x, y = torch.full((2, 1, 1, 2), 9.0), torch.tensor([0, 0])
        >>> deletion(model, x, y, maps=torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), steps=2)
        tensor([0.6666, 0.8333])
    """
    return deletion_curve(model, x, y, maps, steps, masking).mean(dim=1)


def insertion_curve(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 20, masking: Masking = Masking()
) -> Tensor:
    """Return the curve whose mean is `insertion`: one value for each share 0, 1 / steps, ..., 1, [N, steps + 1]."""
    checks.whole("steps", steps, 1)
    images = Trial(model, x, y, maps, masking)
    return images.inserted(shares(images.total, steps))


def deletion_curve(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 20, masking: Masking = Masking()
) -> Tensor:
    """Return the curve whose mean is `deletion`: one value for each share 0, 1 / steps, ..., 1, [N, steps + 1]."""
    checks.whole("steps", steps, 1)
    images = Trial(model, x, y, maps, masking)
    return images.deleted(shares(images.total, steps))


def inserted(x: Tensor, maps: Tensor, gamma: float, baseline: Baseline = "zero") -> Tensor:
    """Return images that show the share gamma of their most important pixels, and the baseline elsewhere.

    Args:
        x: Images [N, C, H, W].
        maps: Attribution maps, [N, H, W] or [N, C, H, W].
        gamma: Share of the pixels in [0, 1]; their number is rounded to the nearest, halves up.
        baseline: "zero", "blur", "mean" or images, as of `Masking`.

    Raises:
        ArgumentError: If shapes do not fit, x or a map is not finite, gamma is no share, or the baseline is unknown.

    Source: Joo et al., AAAI 2023, Fig. 2(b).

    Example:
        >>> inserted(torch.ones(1, 1, 1, 4), torch.tensor([[[1.0, -3.0, 2.0, 0.0]]]), gamma=0.5)
        tensor([[[[0., 1., 1., 0.]]]])
    """
    check_images(x)
    checks.within("gamma", gamma, 0.0, 1.0)
    ranks = ranking(fitting_values(x, maps))
    count = int(gamma * x.shape[2] * x.shape[3] + 0.5)
    return torch.where((ranks < count)[:, None], x.detach(), baseline_images(x, Masking(baseline).baseline))
