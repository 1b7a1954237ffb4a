"""How far two training runs agree in their maps."""

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.heatmap import finite_maps, heatmap
from gradsculpt.metrics.base import Score, metric
from gradsculpt.metrics.similarity import ssim
from gradsculpt.metrics.topk import topk_dice


@metric(
    Score("ssim", low=-1.0, high=1.0, better="higher"),
    Score("topk_dice", low=0.0, high=1.0, better="higher", unit="fraction"),
)
def stability(a: Tensor, b: Tensor, k: float = 0.4) -> dict[str, Tensor]:
    """Likeness of the maps that two runs of one training method give to the same images, as heat maps.

    The published protocol trains twice, from different initialisations and with 1,000 training images swapped for
    test images, and scores 500 test images that the runs have in common.

    Args:
        a: Attribution maps of one run.
        b: Attribution maps of the other, of the same images and shape.
        k: Share of each heat map's non-zero pixels whose overlap is counted, in (0, 1].

    Shape: Two of [N, H, W] or two of [N, C, H, W] to two of [N].
    Units: None, a fraction for topk_dice; the scale of either run's maps does not matter.

    Returns:
        ssim in [-1, 1] and topk_dice in [0, 1], of heat maps that are divided by their own largest value; higher is
        more stable, 1 for equal maps. Two zero maps are equal; a zero map and another have topk_dice 0.

    Raises:
        ArgumentError: If the shapes differ, a map is not finite, or k is outside (0, 1].

    Source: Gong et al., CVPR 2024, sections 5.2 and B.7.

    Example:
        >>> a = torch.eye(16)[None]
        >>> stability(a, -2 * a)
        {'ssim': tensor([1.]), 'topk_dice': tensor([1.])}
    """
    checks.same_shape("a", a, "b", b)
    first, second = (heatmap(finite_maps(name, maps.detach()), clip=100.0) for name, maps in (("a", a), ("b", b)))
    scores = {"ssim": ssim(first, second), "topk_dice": topk_dice(first, second, k, nonzero=True)}
    return {name: values.to(torch.promote_types(a.dtype, b.dtype)) for name, values in scores.items()}
