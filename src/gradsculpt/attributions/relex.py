"""RelEx: the mask with which noisy copies of an image keep their class, and without which they lose it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import Gradient, class_output
from gradsculpt.attributions.sampling import Passes, arithmetic, clean_classes, noise, noise_level, passes, source
from gradsculpt.gradients import Model, input_gradient
from gradsculpt.isolation import undisturbed
from gradsculpt.numerics import unit, wide
from gradsculpt.outputs import logits_at, two_sided

_FIRST = 0.01  # the entries of the first mask are drawn below this


@dataclass(frozen=True)
class RelEx(Attribution):
    """The mask m in [0, 1] that keeps little of an image, keeps its class in what it shows, and loses it in the rest.

    Over noisy copies z of the image x, with p the probability of the class, projected gradient descent with momentum
    lowers the mean of

        -log p(m z) - background log(1 - p((1 - m) z)) + sparsity |m|_1.

    What the mask hides is 0, in the units that the model takes: with normalised input, the mean of the dataset. The
    noise is fresh in every step and the same for every image but for its scale, so in evaluation mode a mask depends
    neither on the other images of the batch nor on `batch_size`; a second call repeats it.

    Args:
        sparsity: Weight of |m|_1 (lambda_1).
        background: Weight of the image without what the mask keeps (lambda_2); 0 saves half of the passes.
        sigma: Standard deviation of the noise, as of `Smoothed`; with 0, a single copy is read.
        samples, steps: Noisy copies in each step, and the number of steps.
        step_size, momentum: Of the descent, along gradients that have the L2 norm 1.
        seed, batch_size: As of `Smoothed`.

    Raises: ArgumentError if a setting or target is out of range, or x is no floating-point batch.
    Source: Lim et al., CVPR 2021 (Building reliable explanations of unreliable neural networks), with the settings of
        its code, which are those of MoreauGrad (ICCV 2023) too.
    Deviation: The code takes 50 copies a step (`samples=50`) for six times the time: on the digits, the masks of 8 have
        a mean cosine of .97 with those of 400 copies, and the masks of 50 one of .98. It measures the noise by the
        range of the batch. On [0, 1], |m|_1 is the sum, with derivative 1 at 0 too, where the code has 0. With
        `create_graph`, the steps themselves are differentiated, which holds the graphs of all.

    Example:
        >>> model = lambda x: x.flatten(1) @ torch.tensor([[0.0, 9.0], [0.0, 0.0], [0.0, 9.0], [0.0, -9.0]])
        >>> RelEx()(model, torch.ones(1, 1, 1, 4), torch.tensor([1])).round()
        tensor([[[[1., 0., 1., 0.]]]])
    """

    sparsity: float = 1e-4
    background: float = 1.0
    sigma: float = 0.1
    samples: int = 8
    steps: int = 50
    step_size: float = 0.1
    momentum: float = 0.99
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        checks.each_at_least(self, sparsity=0, background=0, sigma=0, samples=1, steps=1, seed=0, batch_size=1)
        checks.positive("step_size", self.step_size)
        checks.within("momentum", self.momentum, 0.0, 1.0)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the masks, shape [N, C, H, W], in [0, 1]: 1 is kept, 0 is hidden."""
        with arithmetic(create_graph):
            images = source(x, create_graph)
            target = clean_classes(model, images, target)
            generator = torch.Generator().manual_seed(self.seed)
            start = _FIRST * torch.rand(x.shape[1:], generator=generator, dtype=torch.float32)
            mask = start.to(wide(images)).expand_as(images)
            speed = torch.zeros_like(mask)
            base, size = Gradient("log_probability"), self.batch_size
            with undisturbed(model), passes(base, model, images, create_graph, batch_size=size) as several:
                for _ in range(self.steps):
                    uphill = self._gradient(several, images, target, mask, generator)
                    speed = self.momentum * speed + unit(uphill)
                    mask = (mask - self.step_size * speed).clamp(0.0, 1.0)
            return mask.to(x.dtype)

    def _gradient(self, several: Passes, x: Tensor, target: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Return the gradient of the objective by the mask, over fresh noise, [N, C, H, W]."""
        samples = self.samples if self.sigma > 0 else 1
        level, total = noise_level(x, self.sigma), torch.zeros_like(mask)
        for drawn in noise(x, several.groups(samples, len(x)), generator):
            copies = wide(x) + level * drawn
            total = total - self._pull(several, _kept, copies, mask, target, x.dtype)
            if self.background > 0:
                total = total + self.background * self._pull(several, _lost, copies, 1 - mask, target, x.dtype)
        return total / samples + self.sparsity

    def _pull(
        self,
        several: Passes,
        output: Callable[[Tensor, Tensor], Tensor],
        copies: Tensor,
        shown: Tensor,
        target: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        """Return the gradient of the sum of an output of the copies [S, N, C, H, W] by what is shown of each image."""
        create_graph = torch.is_grad_enabled()

        def gradients(points: Tensor, classes: Tensor) -> Tensor:
            return input_gradient(
                lambda inputs: output(logits_at(several.model, inputs), classes), points, create_graph=create_graph
            )[1]

        points = (copies * shown).to(dtype)
        gradient = several.by_pieces(gradients, points.flatten(0, 1), target.repeat(len(points)))
        return (wide(gradient).view(copies.shape) * copies).sum(dim=0)


def _kept(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logarithm of the probability of each class, [N]."""
    return class_output(wide(logits), classes, "log_probability")


def _lost(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logarithm of the probability of all other classes together, [N]; finite where that rounds to 0."""
    sides = two_sided(wide(logits))
    classes = checks.labels(classes, *sides.shape).to(sides.device)
    others = sides.scatter(1, classes[:, None], -torch.inf)
    return others.logsumexp(dim=1) - sides.logsumexp(dim=1)
