"""Input-gradient alignment: the gradient of the true class should look like the image, that of no other class."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.gradients import Recording
from gradsculpt.isolation import undisturbed
from gradsculpt.numerics import cosine, spread
from gradsculpt.objectives.base import DataTerm, Part
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.schedules import Setting, Weight, check_weights, resolved
from gradsculpt.objectives.second_order import SecondOrder
from gradsculpt.outputs import two_sided
from gradsculpt.penalties import Size
from gradsculpt.perturbations import State


@dataclass(frozen=True)
class InputGradientAlignment(SecondOrder):
    """L(x') + weight T(x'), at an x' near x where T, the triplet loss of image and gradients, is large.

    T(x') = log(1 + exp(cos(x', g_i) - cos(x', g_y))), with g_y the gradient at x' of the true class's logit and g_i
    that of the most likely wrong class: the image is the anchor of a soft-margin triplet. x' is sought within eps of x,
    in every entry, by ascent along the sign of T's gradient from a random point; the cosine of a zero map is 0. The
    ascent differentiates twice, so a ReLU network gives it less to follow than a smooth one.

    With its cross entropy at x', this is a data term and a regulariser in one. Where `cross_entropy` is "clean" it is
    a regulariser, and adds to any data term, adversarial training's too. Scaled by 0, and between its steps where
    `every` is above 1, it is the plain cross entropy, and costs no more.

    Args:
        weight: Weight of the triplet loss, which lies between 0.13 and 2.13.
        eps: Greatest change of an entry of the image, in model units or as `Pixels`.
        steps: Steps of the inner ascent; with 0, x' is the random point.
        step_size: Length of a step, as a share of eps.
        cross_entropy: Where the cross entropy is taken: perturbed (at x') or clean (wherever the data term has it).
        every, share: As of `SecondOrder`; the share is that of the triplet loss.

    Raises: ArgumentError if a number is out of range or the place of the cross entropy unknown.
    Source: Singh et al., ECCV 2020 (attributional robustness training, ART); weight 0.5 and 3 steps, with eps 8 and
        steps of 5 pixel levels for CIFAR-10, 2 and 1.5 for CUB-200, are those of its released code. Joo et al., AAAI
        2023 (local gradient alignment), Table 1 ("IGA").
    Deviation: of the points of the ascent, each image keeps the one with the greatest loss, and not simply the last.
        The triplet loss that trains the network is that of the perturbed image alone: for each of the clean and the
        perturbed image, the released code takes the worse of the gradients at the two. It also keeps pixels within
        [0, 1], and its ascent counts only the 1,000 entries with the largest gradients. It takes the cross entropy on a
        ReLU network and the gradients on its twin with Softplus(50), where one network does both here (pass one with
        Softplus), and pairs the normalised image with the gradient by its pixels, where both are in the network's space
        here.

    Example:
        >>> model, objective = torch.nn.Flatten(), InputGradientAlignment(weight=0.5, eps=0.1)
        >>> list(objective(model, torch.rand(1, 2, 1, 1), torch.tensor([0])).terms)
        ['perturbed_cross_entropy', 'input_gradient_alignment']
    """

    weight: Weight
    eps: Size | Setting
    steps: int = 3
    step_size: float = 0.625
    cross_entropy: Literal["perturbed", "clean"] = "perturbed"
    names: ClassVar[tuple[str, ...]] = ("input_gradient_alignment",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self, "weight", "eps")
        checks.each_at_least(self, steps=0)
        checks.positive("step_size", self.step_size)

    def parts(self) -> tuple[Part, ...]:
        """Return the regulariser, and before it the data term at the perturbed images if that is where it belongs."""
        return (*(((1.0, _PerturbedCrossEntropy(self)),) if self._at_perturbed else ()), (1.0, self))

    @property
    def differentiates_clean(self) -> bool:
        """Whether the triplet loss shares the training pass; a share of the batch has a pass of its own."""
        return self._at_perturbed and self.share == 1

    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted triplet loss, at the images of the data term or at some that are sought for it alone."""
        training = passes.training if self._at_perturbed else None
        if training is None:
            training = passes.record(self.perturbed(passes), order=2)
        elif self.share < 1:
            training = passes.record(training.point[: len(passes.x)], order=2)
        return {self.names[0]: resolved(self.weight) * _triplet(training, passes.y).mean()}

    def perturbed(self, passes: Passes) -> Tensor:
        """Return the images within eps of x that the ascent found, [N, C, H, W]."""
        x = passes.x.detach()
        eps = checks.broadcast("eps", cast(Size, resolved(self.eps)), x)
        with undisturbed(passes.model):
            delta = best = eps * passes.uniform()
        greatest = x.new_full((len(x),), -torch.inf)
        for step in range(self.steps + 1 if self.steps else 0):
            with undisturbed(passes.model):  # each pass by itself, so that all draw the mask of the training pass
                point = passes.record(x + delta, order=2)
                losses = _triplet(point, passes.y, create_graph=step < self.steps)
                values = losses.detach()
                best = torch.where(spread(values > greatest, delta), delta, best)
                greatest = torch.maximum(values, greatest)
                if step < self.steps:  # of the last point, only the loss was wanted
                    ahead = self.step_size * eps * point.gradient(losses).sign()
                    delta = torch.minimum(torch.maximum(delta + ahead, -eps), eps)
        return x + best

    @property
    def _at_perturbed(self) -> bool:
        return self.cross_entropy == "perturbed"


def _triplet(point: Recording, y: Tensor, *, create_graph: bool = True) -> Tensor:
    """Return the triplet loss of each image, [N]; the images of the pass are the anchors."""
    logits = two_sided(point.output)
    runner_up = logits.detach().scatter(1, y[:, None], -torch.inf).argmax(dim=1)
    true, wrong = (
        point.gradient(logits.gather(1, classes[:, None]), create_graph=create_graph) for classes in (y, runner_up)
    )
    return F.softplus(cosine(point.point, wrong) - cosine(point.point, true))


@dataclass(frozen=True)
class _PerturbedCrossEntropy(DataTerm):
    """The cross entropy at the perturbed images, or, once it was scaled by 0, at the clean ones."""

    alignment: InputGradientAlignment
    clean: bool = False
    name: ClassVar[str] = "perturbed_cross_entropy"

    def logits(self, passes: Passes, state: State) -> tuple[Tensor, State]:
        """Return the logits; the pass is kept for the triplet loss."""
        if self.clean:
            return passes.clean.output, state
        passes.training = passes.record(self.alignment.perturbed(passes), order=2)
        return passes.training.output, state

    def scaled(self, factor: float) -> "_PerturbedCrossEntropy":
        """Return the same, or for 0 the cross entropy at the clean images."""
        return replace(self, clean=self.clean or not factor)
