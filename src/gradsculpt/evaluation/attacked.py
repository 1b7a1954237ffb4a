"""What an attack makes of images: how a network and its maps see them before, after, and rounded to 8 bits."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradsculpt.attacks import Attack, Manipulation
from gradsculpt.attributions import Attribution, heatmap
from gradsculpt.errors import ModelError
from gradsculpt.metrics import cosine, ssim, topk_intersection
from gradsculpt.models import Classifier

_LEVELS = 255
_SMOOTH_BETA = 20.0


@dataclass(frozen=True)
class View:
    """Images as a network and its maps see them.

    Args:
        images: [N, C, S, S] in [0, 1].
        probabilities: Of every class, [N, K].
        maps: Maps of the classes under attack, [N, C, S, S].
        scores: What the attack is judged by, [N], lower is better for it; NaN if it is judged by nothing.
    """

    images: Tensor
    probabilities: Tensor
    maps: Tensor
    scores: Tensor

    def change(self, before: "View", k: float = 0.4) -> dict[str, Tensor]:
        """Return by name, [N] each, how far images and maps have moved.

        `linf` and `rms` are the largest and the root mean square change of an image, in 8-bit levels. `ssim`, `cosine`
        and `topk`, over the share `k` of the non-zero pixels, compare heat maps; `goal` is the score.
        """
        heat, moved = heatmap(before.maps, clip=100.0), heatmap(self.maps, clip=100.0)
        levels = (self.images - before.images).flatten(1) * _LEVELS
        return {
            "ssim": ssim(heat, moved),
            "cosine": cosine(heat, moved),
            "topk": topk_intersection(heat, moved, k, nonzero=True),
            "goal": self.scores,
            "linf": levels.abs().amax(dim=1),
            "rms": levels.square().mean(dim=1).sqrt(),
        }


@dataclass(frozen=True)
class AttackedImages:
    """What an attack makes of images.

    Args:
        before: The clean images.
        after: The attacked ones.
        rounded: These in 8 bits a channel, as a picture file holds them.
        smooth_beta: The sharpness of the Softplus whose slopes the attack followed; None if the network's own.
    """

    before: View
    after: View
    rounded: View
    smooth_beta: float | None


def attacked_images(
    classifier: Classifier, attribution: Attribution, attack: Attack, images01: Tensor, target: Tensor
) -> AttackedImages:
    """Attack images and look at what comes of it.

    Args:
        classifier: In the mode it is in.
        attribution: What reads the maps.
        attack: With its size in the units that the network takes.
        images01: [N, C, S, S] in [0, 1].
        target: The classes whose maps are attacked, [N].

    Raises:
        ModelError: If the maps cannot be attacked.
    """
    space, x = classifier.space, classifier.space.normalize(images01)
    changed, smooth_beta = _changed(attack, classifier, attribution, x, target)
    # An image that stayed as it was stays so to the last bit.
    after = torch.where(changed == x, images01, space.denormalize(changed).clamp(0, 1))
    criterion = attack.plan(*x.shape[-2:])[0] if isinstance(attack, Manipulation) else None
    reference, views = None, []
    for images in (images01, after, (after * _LEVELS).round() / _LEVELS):
        maps = attribution(classifier.network, space.normalize(images), target).detach()
        with torch.no_grad():
            probabilities = classifier(images).softmax(dim=1)
        scores = torch.full_like(target, torch.nan, dtype=images.dtype)
        if criterion is not None:
            reference = criterion.reference(maps) if reference is None else reference
            scores = criterion.score(maps, reference)
        views.append(View(images, probabilities, maps, scores))
    return AttackedImages(views[0], views[1], views[2], smooth_beta)


def _changed(
    attack: Attack, classifier: Classifier, attribution: Attribution, x: Tensor, target: Tensor
) -> tuple[Tensor, float | None]:
    """Return the images after the attack, and the sharpness of the Softplus that it followed."""
    # MERGE: becomes attack.run(...).x and .smooth_beta of a Manipulation, which cli/attack.py gives smooth_beta="auto".
    given = (classifier.network, attribution, x, target)
    if not isinstance(attack, Manipulation) or attack.smooth_beta is not None:
        return attack(*given), getattr(attack, "smooth_beta", None)
    try:
        return attack(*given), None
    except ModelError:
        return replace(attack, smooth_beta=_SMOOTH_BETA)(*given), _SMOOTH_BETA
