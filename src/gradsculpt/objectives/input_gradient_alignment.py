"""Input-gradient alignment: the gradient of the true class should look like the image, that of no other class."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gradsculpt import checks
from gradsculpt.gradients import Recording
from gradsculpt.isolation import undisturbed
from gradsculpt.objectives.base import DataTerm, Part
from gradsculpt.objectives.moment import Setting, Weight, check_weight, resolved
from gradsculpt.objectives.passes import Passes
from gradsculpt.objectives.second_order import SecondOrder, cosine
from gradsculpt.penalties import Size


@dataclass(frozen=True)
class InputGradientAlignment(SecondOrder):
    """L(x') + weight T(x'), at an x' near x where T, the triplet loss of image and gradients, is large.

    T(x') = log(1 + exp(cos(x', g_i) - cos(x', g_y))), with g_y the gradient at x' of the true class's logit and g_i
    that of the most likely wrong class: the image is the anchor of a soft-margin triplet. x' is sought within eps of x,
    in every entry, by ascent along the sign of T's gradient from a random point; the cosine of a zero map is 0. The
    ascent differentiates twice, so a ReLU network, whose gradients are constant in pieces, gives it less to follow than
    a smooth one.

    With its cross entropy at x', this is a data term and a regulariser in one. Where `cross_entropy` is "clean" it is
    a regulariser, and adds to any data term, adversarial training's too. Scaled by 0, and between its steps where
    `every` is above 1, it is the plain cross entropy, and costs no more.

    Args:
        weight: Weight of the triplet loss, which lies between 0.13 and 2.13.
        eps: Greatest change of an entry of the image, in model units or as `Pixels`.
        steps: Steps of the inner ascent; with 0, x' is the random point.
        step_size: Length of a step, as a share of eps.
        cross_entropy: Where the cross entropy is taken: perturbed (at x') or clean (wherever the data term has it).
        every: Compute it at every so many steps only, with so many times the weight.
        share: Compute the triplet loss on this share of each batch only.

    Raises:
        ArgumentError: If a number is out of range or the place of the cross entropy unknown.

    Source: Singh et al., ECCV 2020 (attributional robustness training, ART); weight 0.5 and 3 steps, with eps 8 and
        steps of 5 pixel levels for CIFAR-10, 2 and 1.5 for CUB-200, are those of its released code. Joo et al., AAAI
        2023 (local gradient alignment), Table 1 ("IGA").
    Deviation: of the points of the ascent, each image keeps the one with the greatest loss, and not simply the last.
        The triplet loss that trains the network is that of the perturbed image alone: for each of the clean and the
        perturbed image, the released code takes the worse of the gradients at the two. It also keeps pixels within
        [0, 1], and its ascent counts only the 1,000 entries with the largest gradients.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2), torch.nn.Softplus())
        >>> objective = InputGradientAlignment(weight=0.5, eps=0.1)
        >>> losses = objective(model, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]))
        >>> list(losses.terms)
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
        check_weight("weight", self.weight)
        if not isinstance(self.eps, Setting):
            checks.at_least("eps", self.eps, 0.0)
        checks.at_least("steps", self.steps, 0)
        checks.positive("step_size", self.step_size)
        checks.one_of("cross_entropy", self.cross_entropy, ("perturbed", "clean"))

    def parts(self) -> tuple[Part, ...]:
        """Return the regulariser, and before it the data term at the perturbed images if that is where it belongs."""
        if self.cross_entropy == "clean":
            return super().parts()
        data = _PerturbedCrossEntropy(self)
        return ((1.0, data), (1.0, _TripletOfDataTerm(self, data, share=self.share)))

    @property
    def differentiates_clean(self) -> bool:
        """No: the triplet loss has a pass of its own, where it does not share that of the data term."""
        return False

    def dear_terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted triplet loss at images that are sought for it alone."""
        return self.weighted(_Point(passes, self.perturbed(passes)), passes.y)

    def weighted(self, point: "_Point", y: Tensor) -> dict[str, Tensor]:
        """Return the weighted triplet loss of a pass."""
        return {self.names[0]: resolved(self.weight) * point.triplet(y).mean()}

    def perturbed(self, passes: Passes) -> Tensor:
        """Return the images within eps of x that the ascent found, [N, C, H, W]."""
        x, size = passes.x.detach(), resolved(self.eps)
        eps = torch.as_tensor(size, dtype=x.dtype, device=x.device)
        with undisturbed(passes.model):
            delta = best = eps * passes.uniform()
        greatest = x.new_full((len(x),), -torch.inf)
        for step in range(self.steps + 1 if self.steps else 0):
            with undisturbed(passes.model):  # each pass by itself, so that all draw the mask of the training pass
                point = _Point(passes, x + delta)
                losses = point.triplet(passes.y, create_graph=step < self.steps)
                values = losses.detach()
                best = torch.where((values > greatest).view(-1, 1, 1, 1), delta, best)
                greatest = torch.maximum(values, greatest)
                if step < self.steps:  # of the last point, only the loss was wanted
                    ahead = self.step_size * eps * point.gradient(losses).sign()
                    delta = torch.minimum(torch.maximum(delta + ahead, -eps), eps)
        return x + best


class _Point:
    """A recorded pass whose images stay at hand: they are the anchors of the triplet."""

    def __init__(self, passes: Passes, images: Tensor) -> None:
        seen: list[Tensor] = []

        def forward(inputs: Tensor) -> Tensor:
            seen.append(inputs)
            return passes.model(inputs)

        with torch.inference_mode(False), torch.enable_grad():
            self._recording = Recording(forward, images, order=2)
        self.logits, self._anchors = self._recording.output, seen[0]

    def triplet(self, y: Tensor, *, create_graph: bool = True) -> Tensor:
        """Return the triplet loss of each image, [N]."""
        runner_up = self.logits.detach().scatter(1, y[:, None], -torch.inf).argmax(dim=1)
        with torch.inference_mode(False), torch.enable_grad():
            true, wrong = (
                self._recording.gradient(self.logits.gather(1, classes[:, None]), create_graph=create_graph)
                for classes in (y, runner_up)
            )
            return F.softplus(cosine(self._anchors, wrong) - cosine(self._anchors, true))

    def gradient(self, values: Tensor) -> Tensor:
        """Return the gradient of the sum of values at the images."""
        with torch.inference_mode(False), torch.enable_grad():
            return self._recording.gradient(values)


class _PerturbedCrossEntropy(DataTerm):
    """The cross entropy at the perturbed images; its training pass is kept for the triplet loss."""

    name: ClassVar[str] = "perturbed_cross_entropy"

    def __init__(self, alignment: InputGradientAlignment, *, clean: bool = False) -> None:
        self._alignment, self._clean = alignment, clean

    def logits(self, passes: Passes) -> Tensor:
        """Return the logits at the perturbed images, or at the clean ones if it has been scaled by 0."""
        if self._clean:
            return passes.clean.output
        self._passes, self._images = passes, self._alignment.perturbed(passes)
        self._point = _Point(passes, self._images)
        return self._point.logits

    def point(self, passes: Passes) -> _Point:
        """Return the pass at the perturbed images; a share of the batch has a pass of its own."""
        return self._point if passes is self._passes else _Point(passes, self._images[: len(passes.x)])

    def scaled(self, factor: float) -> "_PerturbedCrossEntropy":
        """Return the same, or for 0 the cross entropy at the clean images."""
        return self if factor else _PerturbedCrossEntropy(self._alignment, clean=True)


@dataclass(frozen=True)
class _TripletOfDataTerm(SecondOrder):
    """The triplet loss at the images that the data term has found."""

    alignment: InputGradientAlignment
    data: _PerturbedCrossEntropy
    names: ClassVar[tuple[str, ...]] = InputGradientAlignment.names

    @property
    def differentiates_clean(self) -> bool:
        """Whether the training pass is shared; only a share of the batch has a pass of its own."""
        return self.share == 1

    def dear_terms(self, passes: Passes) -> dict[str, Tensor]:
        """Return the weighted triplet loss."""
        return self.alignment.weighted(self.data.point(passes), passes.y)
