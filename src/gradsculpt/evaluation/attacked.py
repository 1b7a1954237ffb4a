"""What an attack makes of images: how a network and its maps see them before, after, and rounded to 8 bits."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt.attacks import Attack, Manipulation
from gradsculpt.attributions import Attribution, heatmap
from gradsculpt.metrics import cosine, ssim, topk_intersection
from gradsculpt.models import Classifier
from gradsculpt.progress import Progress

_LEVELS = 255


@dataclass(frozen=True)
class View:
    """Images as a network and its maps see them.

    `images` are in [0, 1], `probabilities` of every class [N, K], `maps` of the classes under attack, and `scores` [N]
    what the attack is judged by: lower is better for it, NaN if it is judged by nothing.
    """

    images: Tensor
    probabilities: Tensor
    maps: Tensor
    scores: Tensor


def attacked_images(
    classifier: Classifier,
    attribution: Attribution,
    attack: Attack,
    images01: Tensor,
    target: Tensor,
    *,
    progress: Progress | None = None,
) -> tuple[dict[str, View], float | None]:
    """Attack images and look at what comes of it.

    The attack has its size in the units that the network takes; images are [N, C, S, S] in [0, 1], and the target
    holds the classes whose maps are attacked, [N]. `progress` is told of the steps of a `Manipulation`, as by its
    `run`.

    Returns:
        What is seen "before" the attack, "after" it, and with its images "rounded" to 8 bits a channel, as a picture
        file holds them; and the sharpness of the Softplus whose slopes it followed, None if the network's own.

    Raises:
        ModelError: If the maps cannot be attacked.
    """
    space, x = classifier.space, classifier.space.normalize(images01)
    criterion, smooth_beta = None, None
    if isinstance(attack, Manipulation):
        criterion = attack.plan(*x.shape[-2:])[0]
        attacked = attack.run(classifier.network, attribution, x, target, progress=progress)
        changed, smooth_beta = attacked.x, attacked.smooth_beta
    else:
        changed = attack(classifier.network, attribution, x, target)
    # An image that stayed as it was stays so to the last bit.
    after = torch.where(changed == x, images01, space.denormalize(changed).clamp(0, 1))
    reference, views = None, {}
    moments = {"before": images01, "after": after, "rounded": (after * _LEVELS).round() / _LEVELS}
    for moment, images in moments.items():
        maps = attribution(classifier.network, space.normalize(images), target).detach()
        probabilities = classifier.probabilities(images)
        scores = torch.full_like(target, torch.nan, dtype=images.dtype)
        if criterion is not None:
            reference = criterion.reference(maps) if reference is None else reference
            scores = criterion.score(maps, reference)
        views[moment] = View(images, probabilities, maps, scores)
    return views, smooth_beta


def figures(views: Mapping[str, View], k: float = 0.4) -> list[dict[str, float]]:
    """Return how far each image and its map were moved: a dictionary an image.

    `goal_before` and `goal` are the scores. `ssim`, `cosine` and `topk`, over the share `k` of the non-zero pixels,
    compare heat maps; `linf` and `rms` are the largest and the root mean square change of an image, in 8-bit levels.
    The same with `rounded_` are of the images in 8 bits.
    """
    before = views["before"]
    columns, heat = {"goal_before": before.scores}, heatmap(before.maps, clip=100.0)
    for prefix, view in (("", views["after"]), ("rounded_", views["rounded"])):
        moved, change = heatmap(view.maps, clip=100.0), (view.images - before.images).flatten(1) * _LEVELS
        columns |= {
            f"{prefix}ssim": ssim(heat, moved),
            f"{prefix}cosine": cosine(heat, moved),
            f"{prefix}topk": topk_intersection(heat, moved, k, nonzero=True),
            f"{prefix}goal": view.scores,
            f"{prefix}linf": change.abs().amax(dim=1),
            f"{prefix}rms": change.square().mean(dim=1).sqrt(),
        }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
