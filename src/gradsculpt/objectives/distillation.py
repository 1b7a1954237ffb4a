"""Explanation distillation: a teacher's explanation says along which directions a prediction may change."""

from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.devices import placed
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model
from gradsculpt.inputs import in_precision_of
from gradsculpt.isolation import undisturbed
from gradsculpt.numerics import divided, dot, spread, unit_peak, wide
from gradsculpt.objectives.base import Objective, Regulariser, Requirements, TeacherSpecification
from gradsculpt.objectives.entropy import CrossEntropy
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Setting, Weight, check_weights, resolved
from gradsculpt.outputs import logits_at, two_sided
from gradsculpt.penalties import Size
from gradsculpt.randomness import drawn


@dataclass(frozen=True)
class ExplanationDistillation(Regulariser):
    """weight KL(softmax(teacher(x + a) / temperature), softmax(f(x + a + b))), with b across the teacher's explanation.

    An ordinary network, the teacher, is trained first; its explanations, SmoothGrad maps, are computed for every
    training image; then the network that is wanted is trained to predict what the teacher does, and to keep its
    prediction when an image moves at right angles to the explanation (b), while it may change along it (a). Nothing is
    differentiated twice: a step costs little more than two steps of cross entropy and a forward pass of the teacher.

    a is the map, scaled to a peak of eps, times one of `positions`, drawn for each image; b is uniform noise within
    eps, less its part along the map. A map of zeros has no direction: then a is 0, and b the noise as it is.

    `gradsculpt train` drives the three stages. In a training loop of one's own, `with_teacher(network)` gives the
    objective its teacher, and the maps are passed as `attention`, [N, C, H, W].

    Args:
        weight: Weight of the divergence, in nats.
        eps: Size of both moves, in model units or as `Pixels`.
        temperature: What the logits of the teacher, not of the network, are divided by.
        positions: Where along the map images are moved to, in units of its peak.
        teacher, teacher_epochs, samples, sigma: As of `TeacherSpecification`.

    Raises: ArgumentError if a number is out of range; in use, if the teacher or the maps are missing.
    Source: Tang et al., Frontiers in Big Data 2022 ("Defense against explanation manipulation", ATEX); its released
        code has eps 0.32, temperature 4, positions -1 and 0, 10 samples and sigma 0.08 of the range from black to
        white. Joo et al., AAAI 2023 (local gradient alignment), Table 1 ("ATEX"), have it in three stages.
    Deviation: the released code starts from the teacher's weights, trains on the divergence alone, divided by the
        number of classes, with 8 copies of each image, and recomputes the maps from the network in training. Here the
        network starts afresh and the cross entropy of the labels is kept, as the three stages suggest, with one copy
        a step. At right angles means to the whole map, not to each of its channels. The noisy copies of SmoothGrad
        are taken as they are; the released code clips them at 0.

    Example:
        >>> objective = ExplanationDistillation(weight=1.0, eps=0.1).with_teacher(torch.nn.Flatten())
        >>> x = torch.ones(1, 2, 1, 1)
        >>> list(objective(torch.nn.Flatten(), x, torch.tensor([0]), attention=x).terms)
        ['cross_entropy', 'explanation_distillation']
    """

    weight: Weight
    eps: Size | Setting
    temperature: float = 4.0
    positions: tuple[float, ...] = (-1.0, 0.0)
    teacher: Objective = field(default_factory=CrossEntropy)
    teacher_epochs: int | None = None
    samples: int = 10
    sigma: float = 0.08
    names: ClassVar[tuple[str, ...]] = ("explanation_distillation",)
    reads_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_weights(self, "weight", "eps")
        checks.each_at_least(self, teacher_epochs=1, samples=1, sigma=0)
        checks.positive("temperature", self.temperature)
        if not self.positions:
            raise ArgumentError("positions is empty, so images could be moved nowhere; (0.0,) leaves them in place.")

    @property
    def requirements(self) -> Requirements:
        """The teacher; it may itself follow human attention, and these maps are not that."""
        teacher = TeacherSpecification(self.teacher, self.teacher_epochs, self.samples, self.sigma)
        return replace(super().requirements, teacher=teacher)

    @property
    def differentiates_clean(self) -> bool:
        """No: the divergence has a pass of its own."""
        return False

    def with_teacher(self, teacher: Model) -> "ExplanationDistillation":
        """Return the objective with its trained teacher, whose mode and precision are used as they are."""
        return _WithTeacher(**{**vars(self), "network": teacher})

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        """Refuse: there is no teacher."""
        raise ArgumentError(
            "ExplanationDistillation learns from a teacher, and has none. Pass a trained network to "
            "objective.with_teacher(network), or let `gradsculpt train` train it first."
        )


@dataclass(frozen=True)
class _WithTeacher(ExplanationDistillation):
    network: Model = field(kw_only=True, repr=False)

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted divergence."""
        maps = self._maps(passes)
        size = checks.broadcast("eps", cast(Size, resolved(self.eps)), maps)
        positions = placed(_in_order(self.positions), maps)
        place = partial(torch.randint, len(positions), device=maps.device)
        places = drawn(place, (len(maps), 1, 1, 1), passes.generator)
        along = passes.x.detach() + positions[places] * size * maps
        across = _without(size * passes.uniform(), maps)
        with undisturbed(self.network), torch.no_grad():
            answer = logits_at(self.network, in_precision_of(self.network, along))
        predicted = wide(two_sided(passes.logits(along + across))).log_softmax(dim=1)
        target = (wide(two_sided(answer)) / self.temperature).softmax(dim=1).to(predicted)
        checks.same_shape("the logits of the teacher", target, "the network's", predicted)
        return {self.names[0]: resolved(self.weight) * F.kl_div(predicted, target, reduction="batchmean")}

    def _maps(self, passes: Passes) -> Tensor:
        """Return the explanations with a peak of 1 each; one of zeros stays so."""
        if passes.attention is None:
            raise ArgumentError(
                "ExplanationDistillation needs the teacher's explanations of the images, and none came with them. "
                "Pass SmoothGrad maps of the batch, [N, C, H, W], as attention."
            )
        checks.same_shape("attention", passes.attention, "x", passes.x)
        return unit_peak(passes.attention.detach().to(passes.x))


@cache
def _in_order(positions: tuple[float, ...]) -> Tensor:
    return torch.tensor(positions)  # once, as it is brought to the device of the images once


def _without(noise: Tensor, maps: Tensor) -> Tensor:
    return (noise - spread(divided(dot(maps, noise), dot(maps, maps)), maps) * maps).to(noise.dtype)
