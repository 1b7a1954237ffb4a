"""Whether the pixels and regions that a map calls important are so to the model: they are put in, or taken out."""

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model
from gradsculpt.metrics.base import Score, metric
from gradsculpt.metrics.masking import Masking, Trial, shares

_PATCH, _SIDE = 9, 224  # regions of Samek et al., and the side of the images that have such regions here


@metric(
    Score(
        "insertion",
        low=0.0,
        high=1.0,
        better="higher",
        meaning="How sure the network is of the class while pixels are shown, the map's strongest first.",
    )
)
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

    Raises: ArgumentError if shapes do not fit, x or a map is not finite, a class is out of range, or steps is below 1;
        ModelError if the model returns NaN, or no logits.
    Source: Petsiuk et al., BMVC 2018; Joo et al., AAAI 2023, "Insertion and Adv-Insertion game".
    Deviation: The authors' code for the second leaves the share 1 out, and drops pixels that tie with the threshold.

    Example:
        >>> x, y = torch.tensor([[[[9.0, 0.0]]]]), torch.tensor([0])  # the first pixel is the logit of class 0
        >>> insertion(lambda x: x.flatten(1), x, y, maps=torch.tensor([[[1.0, 0.0]]]), steps=2)
        tensor([0.8333])
    """
    return insertion_curve(model, x, y, maps, steps, masking).mean(dim=1)


@metric(
    Score(
        "deletion",
        low=0.0,
        high=1.0,
        better="lower",
        meaning="How sure the network still is of the class while pixels are hidden, the map's strongest first.",
    )
)
def deletion(model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 20, masking: Masking = Masking()) -> Tensor:
    """Mean probability of the class while an image is taken apart, most important pixels first.

    The opposite of `insertion`, whose arguments it has: that share of the pixels is replaced by the baseline.

    Shape: As of `insertion`, to [N].
    Units: A probability; that of the logit where the masking reads it.

    Returns:
        The mean over the steps + 1 shares, in [0, 1] unless the logit is read; lower is more faithful.

    Raises: As `insertion`.
    Source: Petsiuk et al., BMVC 2018.

    Example:
        >>> x, y = torch.tensor([[[[9.0, 0.0]]]]), torch.tensor([0])  # the first pixel is the logit of class 0
        >>> deletion(lambda x: x.flatten(1), x, y, maps=torch.tensor([[[1.0, 0.0]]]), steps=2)
        tensor([0.6666])
    """
    return deletion_curve(model, x, y, maps, steps, masking).mean(dim=1)


def insertion_curve(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 20, masking: Masking = Masking()
) -> Tensor:
    """Return the curve whose mean is `insertion`: one value for each share 0, 1 / steps, ..., 1, [N, steps + 1].

    Arguments, units and errors: As of `insertion`; ArgumentError if they do not fit.
    """
    trial = Trial(model, x, y, maps, masking)
    return trial.curve(shares(trial.total, steps), hide=False)


def deletion_curve(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 20, masking: Masking = Masking()
) -> Tensor:
    """Return the curve whose mean is `deletion`: one value for each share 0, 1 / steps, ..., 1, [N, steps + 1].

    Arguments, units and errors: As of `deletion`; ArgumentError if they do not fit.
    """
    trial = Trial(model, x, y, maps, masking)
    return trial.curve(shares(trial.total, steps), hide=True)


@metric(
    Score(
        "aopc_morf",
        low=-1.0,
        high=1.0,
        better="higher",
        meaning="How much of the probability of the class is lost while the map's strongest regions are hidden.",
    )
)
def aopc_morf(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 100, masking: Masking = Masking()
) -> Tensor:
    """Area over the perturbation curve, most relevant regions first: the mean loss of the class output.

    The image is cut into squares, each as relevant as the sum of magnitudes within it; step k replaces the k most
    relevant ones by the baseline. The score is the mean over k = 0, ..., L of f(x) - f(x_k), where f is the output of
    the class and L the number of steps, or of regions if there are fewer.

    Arguments are those of `insertion`; `steps` is the number of regions that are perturbed, 20, 50 and 100 in Table 5
    of Gong et al. Where the masking has no `patch` of its own, regions have 9 pixels a side in images whose shorter
    side has 224, and as much in proportion in others, at least 1.

    Shape: As of `insertion`, to [N].
    Units: A difference of probabilities; of logits where the masking reads them.

    Returns:
        The area in [-1, 1] unless the logit is read; higher is more faithful.

    Raises: As `insertion`.
    Source: Samek et al., "Evaluating the visualization of what a deep neural network has learned", IEEE TNNLS 2017;
        Gong et al., CVPR 2024, section C.2.4 and Table 5.
    Deviation: Samek et al. replace regions by uniform noise; here by a baseline, so that a score can be had again. Gong
        et al. do not say which output, regions or replacement they use. At the edges of an image no region is left out.

    Example:
        >>> x, y = torch.tensor([[[[9.0, 0.0]]]]), torch.tensor([0])  # the first pixel is the logit of class 0
        >>> aopc_morf(lambda x: x.flatten(1), x, y, maps=torch.tensor([[[1.0, 0.0]]]), steps=2)
        tensor([0.3333])
    """
    curve = morf_curve(model, x, y, maps, steps, masking)
    return torch.mean(curve[:, :1] - curve, dim=1)


def morf_curve(
    model: Model, x: Tensor, y: Tensor, maps: Tensor, steps: int = 100, masking: Masking = Masking()
) -> Tensor:
    """Return the outputs f(x_k) that `aopc_morf` is made of, for k = 0, ..., L perturbed regions, [N, L + 1].

    The AOPC of fewer steps can be read off the beginning of the curve: (curve[:, :1] - curve[:, : k + 1]).mean(dim=1).

    Arguments, units and errors: As of `aopc_morf`; ArgumentError if they do not fit.
    """
    checks.whole("steps", steps, 1)
    trial = Trial(model, x, y, maps, masking, patch=max(1, round(_PATCH * min(x.shape[-2:]) / _SIDE)))
    return trial.curve(range(min(steps, trial.total) + 1), hide=True)


def relative_drop(base: Tensor, other: Tensor) -> Tensor:
    """Return by what share the mean AOPC of some maps falls short of that of the maps they were made from.

    Both are what `aopc_morf` gives for the same images and network: `base` of the plain gradient if `other` is of the
    sparsified gradient, of SmoothGrad if it is of Sparsified-SmoothGrad or Sparse MoreauGrad.

    Shape: [N] and [N] to a scalar.
    Units: A fraction of the base method's mean; Table 5 prints it in per cent.

    Returns:
        1 - mean(other) / mean(base): 0 for no loss of fidelity, 1 for all, negative for a gain; lower is better.

    Raises: ArgumentError if the shapes differ, there are no images, or the mean of `base` is not positive, for which a
        relative drop means nothing.
    Source: Gong et al., CVPR 2024, section C.2.4 and Table 5; Fig. 1 shows 1 minus this.
    Deviation: They do not say whether a mean of ratios or a ratio of means is taken. It is the latter here: the area of
        a single image may be zero or negative.

    Example:
        >>> relative_drop(base=torch.tensor([0.5, 0.3]), other=torch.tensor([0.4, 0.2]))
        tensor(0.2500)
    """
    if base.ndim != 1 or base.shape != other.shape or len(base) == 0:
        raise ArgumentError(
            f"base has shape {list(base.shape)} and other {list(other.shape)}, which are not one value an image each; "
            "pass what aopc_morf returned for the same images, at least one."
        )
    whole = base.mean()
    if not bool(whole > 0):
        raise ArgumentError(
            f"the mean AOPC of the base method is {float(whole):g}, of which nothing can be lost; report the areas "
            "themselves for this network."
        )
    return 1 - other.mean() / whole
