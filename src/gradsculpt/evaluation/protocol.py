"""How the maps of a classifier are read, clean and disturbed: the same for scores and for pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.models import Classifier

GROUP_NAMES = (
    "accuracy",
    "sparsity",
    "robustness-random",
    "robustness-attack",
    "fidelity",
    "ground-truth",
    "sanity",
)


class Reading(NamedTuple):
    """What was read from a batch.

    Args:
        logits: Logits of the clean images [N, K].
        clean: Maps of the clean images [N, C, H, W].
        disturbed: Maps of the same classes after the disturbance [N, C, H, W].
    """

    logits: Tensor
    clean: Tensor
    disturbed: Tensor


@dataclass(frozen=True)
class Protocol:
    """What is scored, how maps are read, and how they are disturbed.

    The plain one takes a few passes an image; `quick` has every group, for 64 images in a minute or two, and `full` has
    the settings of the papers.

    Args:
        groups: Which groups of scores: accuracy, sparsity, robustness-random, robustness-attack, fidelity,
            ground-truth, sanity.
        attribution: The maps that are scored.
        target: The class whose maps are read: the true one (AdvGrad, section 3.1) or the predicted one.
        eps: Half-width of the uniform noise that tests robustness, in 8-bit pixel levels.
        k: Share of the non-zero pixels whose overlap is counted (AdvGrad, B.6).
        rps_levels: Half-widths of the noise of RPS, in 8-bit pixel levels; local alignment has 4, 8 and 16.
        draws: Noisy copies of an image for RPS and sensitivity.
        attack_eps: Half-width of the targeted attack, in 8-bit pixel levels.
        attack_levels: Root-mean-square sizes of the top-k attack, in 8-bit pixel levels: its L2 length is this times
            the root of the number of entries.
        attack_steps: Steps of each attack.
        attack_images: How many images are attacked, the first ones.
        smooth_beta: Sharpness of the Softplus through which networks are attacked whose maps have no slope.
        steps: Shares of pixels at which insertion, deletion and AOPC look at the network.
        sanity_images: For how many images the weights are randomised, the first ones.
        stages: Into how many stages the modules are merged whose weights are randomised one after the other; None
            takes each by itself.
        seed: Seed of the noise and of the bootstrap.

    Raises:
        ArgumentError: If a number is out of range or a name is not known.
    """

    groups: tuple[str, ...] = ("accuracy", "sparsity", "robustness-random", "ground-truth")
    attribution: Attribution = field(default_factory=Gradient)
    target: Literal["true", "predicted"] = "true"
    eps: float = 8.0
    k: float = 0.4
    rps_levels: tuple[float, ...] = ()
    draws: int = 10
    attack_eps: float = 4.0
    attack_levels: tuple[float, ...] = (0.5, 1.0, 2.0)
    attack_steps: int = 20
    attack_images: int = 32
    smooth_beta: float = 20.0
    steps: int = 20
    sanity_images: int = 16
    stages: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.groups:
            checks.one_of("groups", name, GROUP_NAMES)
        checks.one_of("target", self.target, ("true", "predicted"))
        checks.within("eps", self.eps, 0.0, 255.0)
        checks.within("k", self.k, 0.0, 1.0)
        for level in (*self.rps_levels, *self.attack_levels, self.attack_eps):
            checks.within("a size in 8-bit levels", level, 0.0, 255.0)
        checks.at_least("smooth_beta", self.smooth_beta, 1e-3)
        for name in ("draws", "attack_steps", "attack_images", "steps", "sanity_images"):
            checks.at_least(name, getattr(self, name), 1)
        if self.stages is not None:
            checks.at_least("stages", self.stages, 1)
        checks.at_least("seed", self.seed, 0)

    @classmethod
    def quick(cls) -> "Protocol":
        """Return a protocol of all groups with few draws, attacked images and stages."""
        return cls(
            groups=GROUP_NAMES,
            rps_levels=(4.0, 8.0, 16.0),
            draws=3,
            attack_levels=(0.5, 2.0),
            attack_images=8,
            sanity_images=8,
            stages=10,
        )

    @classmethod
    def full(cls) -> "Protocol":
        """Return a protocol of all groups with the settings of the papers."""
        return cls(
            groups=GROUP_NAMES,
            rps_levels=(4.0, 8.0, 16.0),
            attack_levels=(0.25, 0.5, 1.0, 2.0, 4.0),
            attack_steps=100,
            attack_images=500,
            steps=20,
            sanity_images=64,
        )

    def generator(self) -> torch.Generator:
        """Return the source of the noise, at its start."""
        return torch.Generator().manual_seed(self.seed)

    def noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw the uniform noise of some images [N, C, H, W], in [0, 1] pixel units."""
        return torch.rand(shape, generator=generator).mul_(2).sub_(1) * (self.eps / 255)

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the classes whose maps are read, [N]."""
        return labels if self.target == "true" else logits.argmax(dim=1)

    def read(self, classifier: Classifier, images: Tensor, labels: Tensor, noise: Tensor) -> Reading:
        """Read the maps of a batch, clean and after noise within [0, 1].

        Args:
            classifier: Used in the mode it is in.
            images: [N, C, H, W] in [0, 1].
            labels: True classes [N].
            noise: What is added, [N, C, H, W].
        """
        with torch.no_grad():
            logits = classifier(images)
        target = self.targets(logits, labels)
        clean, disturbed = (
            self.attribution(classifier.network, classifier.space.normalize(inputs), target)
            for inputs in (images, (images + noise.to(images)).clamp_(0, 1))
        )
        return Reading(logits, clean.detach(), disturbed.detach())
