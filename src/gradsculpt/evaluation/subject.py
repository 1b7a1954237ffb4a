"""A batch under judgement: its images, its maps, and what several scores share of them."""

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from gradsculpt.attacks import Manipulation, TargetedManipulation
from gradsculpt.attributions import heatmap
from gradsculpt.errors import ModelError
from gradsculpt.evaluation.protocol import Protocol, Reading
from gradsculpt.models import Classifier


@dataclass
class Subject:
    """A batch of images with a classifier and a protocol; what is costly is computed once, when it is first wanted.

    Args:
        classifier: In the mode it is in.
        protocol: How maps are read and disturbed.
        images: [N, C, H, W] in [0, 1].
        labels: True classes [N].
        truth: Truth or attention maps [N, 1, H, W] in [0, 1], if known.
        noise: Noise of the disturbed images, [N, C, H, W] in [0, 1].
        start: Number of images in the batches before.
    """

    classifier: Classifier
    protocol: Protocol
    images: Tensor
    labels: Tensor
    truth: Tensor | None
    noise: Tensor
    start: int

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def x(self) -> Tensor:
        """The images as the network takes them."""
        return self.classifier.space.normalize(self.images)

    @property
    def logits(self) -> Tensor:
        """The logits of the clean images [N, K]."""
        return self.reading.logits

    @cached_property
    def target(self) -> Tensor:
        """The classes whose maps are read, [N]."""
        return self.protocol.targets(self.logits, self.labels)

    @cached_property
    def reading(self) -> Reading:
        """The maps of the clean images and of those with noise."""
        return self.protocol.read(self.classifier, self.images, self.labels, self.noise)

    @cached_property
    def heat(self) -> Tensor:
        """The clean maps as heat maps [N, H, W]."""
        return heatmap(self.reading.clean, clip=100.0)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The network's input for black and for white, [1, C, 1, 1] each."""
        low, high = self.classifier.space.bounds
        return low.to(self.x), high.to(self.x)

    def pixels(self, level: float) -> Tensor:
        """Turn a length in 8-bit levels into the network's units, [1, C, 1, 1]."""
        return self.classifier.space.pixels(level / 255).to(self.x)

    @cached_property
    def attacked(self) -> Tensor:
        """The first images after the targeted attack, as the network takes them, [M, C, H, W]."""
        return self.attack(TargetedManipulation, self.pixels(self.protocol.attack_eps))

    def attack(self, kind: type[Manipulation], eps: float | Tensor) -> Tensor:
        """Return the first images after an attack; where maps have no slope, through a smooth twin of the network."""
        plain = kind(eps, steps=self.protocol.attack_steps, bounds=self.bounds)  # type: ignore[call-arg]
        given = (self.classifier.network, self.protocol.attribution, self.x[: self.under_attack], self.attack_target)
        try:
            return plain(*given)
        except ModelError:
            return replace(plain, smooth_beta=self.protocol.smooth_beta)(*given)

    @property
    def under_attack(self) -> int:
        """How many of the images are attacked."""
        return self.first(self.protocol.attack_images)

    @property
    def attack_target(self) -> Tensor:
        """The classes of the images that are attacked."""
        return self.target[: self.under_attack]

    def first(self, count: int) -> int:
        """Return how many images of the batch are among the first `count` of all."""
        return max(0, min(len(self), count - self.start))

    def maps(self, x: Tensor) -> Tensor:
        """Return the maps of some of the first images, changed or not, given as the network takes them."""
        return self.protocol.attribution(self.classifier.network, x, self.target[: len(x)]).detach()
