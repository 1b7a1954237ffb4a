"""A batch under judgement: its images, its maps, and what several groups of scores share of them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.attacks import Manipulation
from gradsculpt.attributions import Attribution, heatmap
from gradsculpt.isolation import undisturbed
from gradsculpt.models import Classifier
from gradsculpt.outputs import two_sided


@dataclass(frozen=True)
class MapAttack:
    """An attack on the maps of the first so many of all images.

    Args:
        size: How far an image may be moved, in 8-bit levels: every entry, or in L2 the root mean square over entries.

    Raises: ArgumentError if a number is out of range.
    """

    kind: type[Manipulation]
    size: float
    steps: int
    images: int
    smooth_beta: float | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        checks.each_at_least(self, size=0, steps=1, images=1)
        if self.smooth_beta is not None and not isinstance(self.smooth_beta, str):
            checks.at_least("smooth_beta", self.smooth_beta, 1e-3)


@dataclass(eq=False)
class EvaluationBatch:
    """A batch of images with a classifier and a way to read its maps; each thing is computed when it is first wanted.

    Args:
        classifier: In the mode it is in; `attribution`, `target_kind` and `seed` are as of `Protocol`.
        attack: The attack on maps that the groups of the protocol share, if one of them makes one.
        images: [N, C, H, W] in [0, 1]; `labels` [N] are true classes.
        ground_truth: Truth or attention maps [N, 1, H, W] in [0, 1], if known.
        noise: Noise of half-width 1, [N, C, H, W], for the images that are disturbed.
        start: Number of images in the batches before.
        places: Where the images stood in their batch, if some were left out.
    """

    classifier: Classifier
    attribution: Attribution
    target_kind: Literal["true", "predicted"]
    attack: MapAttack | None
    seed: int
    images: Tensor
    labels: Tensor
    ground_truth: Tensor | None
    noise: Tensor
    start: int
    places: tuple[int, ...] | None = None
    _kept: dict[float | MapAttack, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def network(self) -> nn.Module:
        """What maps are of: takes images as `x` holds them."""
        return self.classifier.network

    @cached_property
    def x(self) -> Tensor:
        """The images as the network takes them."""
        return self.classifier.space.normalize(self.images)

    @cached_property
    def logits(self) -> Tensor:
        """The logits of the clean images [N, K], of two classes at least."""
        with undisturbed(self.classifier), torch.no_grad():
            return two_sided(self.classifier(self.images))

    @property
    def target(self) -> Tensor:
        """The classes whose maps are read, [N]."""
        return self.labels if self.target_kind == "true" else self.logits.argmax(dim=1)

    @cached_property
    def maps(self) -> Tensor:
        """The maps of the clean images, [N, C, H, W]."""
        return self.maps_of(self.x)

    @property
    def has_maps(self) -> bool:
        """Whether anything has asked for the maps."""
        return "maps" in vars(self)

    @cached_property
    def heat(self) -> Tensor:
        """The clean maps as heat maps, one value a pixel, [N, H, W] in [0, 1]."""
        return heatmap(self.maps, clip=100.0)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The network's input for black and for white, [1, C, 1, 1] each."""
        low, high = self.classifier.space.bounds
        return low.to(self.x), high.to(self.x)

    def pixels(self, level: float) -> Tensor:
        """Turn a length in 8-bit levels into the network's units, [1, C, 1, 1]."""
        return self.classifier.space.pixels(level / 255).to(self.x)

    def first(self, count: int) -> int:
        """Return how many images of the batch are among the first `count` of all."""
        if self.places is not None:
            return sum(place < count - self.start for place in self.places[: len(self)])
        return max(0, min(len(self), count - self.start))

    def maps_of(self, x: Tensor) -> Tensor:
        """Return the maps of some of the first images, changed or not, given as the network takes them."""
        return self.attribution(self.network, x, self.target[: len(x)]).detach()

    def noisy(self, eps: float) -> Tensor:
        """Return the images after uniform noise of so many 8-bit levels, within [0, 1]."""
        return (self.images + (self.noise * (eps / 255)).to(self.images)).clamp_(0, 1)

    def noisy_maps(self, eps: float) -> Tensor:
        """Return the maps of the noisy images, [N, C, H, W]."""
        if eps not in self._kept:
            self._kept[eps] = self.maps_of(self.classifier.space.normalize(self.noisy(eps)))
        return self._kept[eps]

    def attacked_maps(self, attack: MapAttack) -> Tensor:
        """Return the maps of the first images after an attack, [M, C, H, W]; of the shared one they are kept."""
        if attack in self._kept:
            return self._kept[attack]
        maps = self.maps_of(self.attacked(attack))
        if attack == self.attack:  # kept for nobody, the others would fill the memory
            self._kept[attack] = maps
        return maps

    def attacked(self, attack: MapAttack) -> Tensor:
        """Return the first images after an attack, as the network takes them, [M, C, H, W]."""
        count = self.first(attack.images)
        length = self.x[0].numel() ** 0.5 if attack.kind.norm == "l2" else 1.0
        settings: dict[str, Any] = {"steps": attack.steps, "smooth_beta": attack.smooth_beta, "bounds": self.bounds}
        manipulation = attack.kind(self.pixels(attack.size) * length, **settings)
        return manipulation(self.network, self.attribution, self.x[:count], self.target[:count])
