"""What is scored, and how the maps of a classifier are read: the same for scores and for pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.batch import EvaluationBatch
from gradsculpt.evaluation.groups import SCORE_GROUPS
from gradsculpt.evaluation.groups.base import ScoreGroup
from gradsculpt.evaluation.groups.clean import Accuracy, GroundTruth, Sparsity
from gradsculpt.evaluation.groups.faithfulness import Fidelity, Sanity
from gradsculpt.evaluation.groups.robustness import RobustnessAttack, RobustnessRandom
from gradsculpt.models import Classifier

_RPS_LEVELS = (4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Protocol:
    """What is scored, and how maps are read.

    The plain one takes a few passes an image; `quick` has every group, for 64 images in a minute or two, and `full` has
    as many draws, steps and images as the papers, and levels of its own where theirs belong to one network.

    Args:
        groups: The groups of scores, each with its settings; `SCORE_GROUPS` lists what there is, and `ScoreGroup` says
            how to write one. A table has the shipped ones in their order, then the others in theirs.
        attribution: The maps that are scored.
        target: The class whose maps are read: the true one (AdvGrad, section 3.1) or the predicted one.
        seed: Seed of the noise, of what the groups draw, and of the bootstrap.

    Raises:
        ArgumentError: If something is no group, two groups have one name, or a choice is not known.

    Shape: images [N, C, H, W] and classes [N]; maps as the attribution gives them.
    """

    groups: tuple[ScoreGroup, ...] = (Accuracy(), Sparsity(), RobustnessRandom(), GroundTruth())
    attribution: Attribution = field(default_factory=Gradient)
    target: Literal["true", "predicted"] = "true"
    seed: int = 0

    def __post_init__(self) -> None:
        checks.of_type("groups", self.groups, Sequence)
        names: list[str] = []
        for group in self.groups:
            if not isinstance(group, ScoreGroup):
                raise ArgumentError(
                    f"{checks.told(group)} is no ScoreGroup; pass groups such as Sparsity(), or MetricGroup(metric)."
                )
            if group.name in names:
                raise ArgumentError(f"two groups are called {group.name}, and one would hide the other; leave one out.")
            names.append(group.name)
        checks.each_at_least(self, seed=0)

    @classmethod
    def quick(cls) -> "Protocol":
        """Return a protocol of all groups with few draws, attacked images and stages."""
        noise = RobustnessRandom(rps_levels=_RPS_LEVELS, draws=3)
        attack, sanity = RobustnessAttack(levels=(0.5, 2.0), images=8), Sanity(images=8, stages=10)
        return cls((Accuracy(), Sparsity(), noise, attack, Fidelity(), GroundTruth(), sanity))

    @classmethod
    def full(cls) -> "Protocol":
        """Return a protocol of all groups with the counts of the papers, and what of their levels suits any network.

        As in the papers: RPS at 4, 8 and 16 levels with 10 draws, insertion in 20 steps and 100 steps of the targeted
        attack (Joo et al., AAAI 2023); 500 attacked images, and top-k at 40% of the non-zero entries (Gong et al., CVPR
        2024, B.6).

        Deviation: the targeted attack is within 4 levels, theirs of LeNet; they attack ResNet-18 within 2, for which
        RobustnessAttack(eps=2.0) is to be put in its place. The sizes of the top-k attack are root mean squares in
        8-bit levels, the same for images of any size; those published are L2 lengths for one size of images (Zhang and
        Farnia, ICCV 2023: .3 to 10 for CIFAR-10, 1 to 20 for ImageNet, in 10 steps), or are not given (B.6). Noise of 8
        levels, sanity of 64 images in all stages, deletion and AOPC are this protocol's own.
        """
        noise = RobustnessRandom(rps_levels=_RPS_LEVELS)
        attack = RobustnessAttack(levels=(0.25, 0.5, 1.0, 2.0, 4.0), steps=100, images=500)
        return cls((Accuracy(), Sparsity(), noise, attack, Fidelity(), GroundTruth(), Sanity(images=64)))

    def in_order(self) -> list[ScoreGroup]:
        """Return the groups in the order of the table."""
        places: dict[type, int] = {kind: place for place, kind in enumerate(SCORE_GROUPS)}
        last = len(places) - 1  # with the groups of one metric, which come in the order that they were given
        return sorted(self.groups, key=lambda group: places.get(type(group), last))

    def settings(self) -> dict[str, Any]:
        """Return what a scorecard notes of the protocol: names, numbers, and the sentences of the groups."""
        groups = self.in_order()
        return {
            "groups": {group.name: dict(vars(group)) for group in groups},
            "attribution": repr(self.attribution),
            "target": self.target,
            "seed": self.seed,
            "told": {group.name: [group.label or group.name, group.question] for group in groups},
            "notes": [group.note.format(**vars(group)) for group in groups if group.note],
        }

    def generator(self) -> torch.Generator:
        """Return the source of the noise of all batches, at its start."""
        return torch.Generator().manual_seed(self.seed)

    def batch(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        ground_truth: Tensor | None,
        generator: torch.Generator,
        start: int = 0,
    ) -> EvaluationBatch:
        """Return a batch on the device of the classifier, with the noise that comes next from a generator."""
        device, noise = classifier.device, torch.rand(images.shape, generator=generator).mul_(2).sub_(1)
        truth = None if ground_truth is None else ground_truth.to(device)
        moved = (images.to(device), labels.to(device), truth, noise.to(device))
        attack = next((group.attack for group in self.groups if group.attack is not None), None)
        return EvaluationBatch(classifier, self.attribution, self.target, attack, self.seed, *moved, start)
