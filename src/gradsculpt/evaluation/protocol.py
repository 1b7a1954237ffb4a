"""How the maps of a classifier are read, clean and disturbed: the same for scores and for pictures."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.models import Classifier


class Reading(NamedTuple):
    """What was read from a batch.

    Args:
        predicted: Predicted classes of the clean images [N].
        clean: Maps of the clean images [N, C, H, W].
        disturbed: Maps of the same classes after the disturbance [N, C, H, W].
    """

    predicted: Tensor
    clean: Tensor
    disturbed: Tensor


@dataclass(frozen=True)
class Protocol:
    """How maps are read and disturbed.

    Args:
        attribution: The maps that are scored.
        target: The class whose maps are read: the true one (AdvGrad, section 3.1) or the predicted one.
        eps: Half-width of the uniform noise that tests robustness, in 8-bit pixel levels.
        k: Share of the non-zero pixels whose overlap is counted (AdvGrad, B.6).
        seed: Seed of the noise and of the bootstrap.
    """

    attribution: Attribution = field(default_factory=Gradient)
    target: Literal["true", "predicted"] = "true"
    eps: float = 8.0
    k: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        checks.one_of("target", self.target, ("true", "predicted"))
        checks.within("eps", self.eps, 0.0, 255.0)
        checks.within("k", self.k, 0.0, 1.0)
        checks.at_least("seed", self.seed, 0)

    def generator(self) -> torch.Generator:
        """Return the source of the noise, at its start."""
        return torch.Generator().manual_seed(self.seed)

    def read(self, classifier: Classifier, images: Tensor, labels: Tensor, generator: torch.Generator) -> Reading:
        """Read the maps of a batch, clean and after uniform noise within [0, 1].

        Args:
            classifier: Used in the mode it is in.
            images: [N, C, H, W] in [0, 1].
            labels: True classes [N].
            generator: Source of the noise, on the CPU.
        """
        with torch.no_grad():
            predicted = classifier(images).argmax(dim=1)
        target = labels if self.target == "true" else predicted
        noise = torch.rand(images.shape, generator=generator).to(images).mul_(2).sub_(1) * (self.eps / 255)
        clean, disturbed = (
            self.attribution(classifier.network, classifier.space.normalize(inputs), target)
            for inputs in (images, (images + noise).clamp_(0, 1))
        )
        return Reading(predicted, clean, disturbed)
