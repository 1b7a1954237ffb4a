"""The image times its gradient, and times the mean gradient along the line from a baseline to it."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.base import Attribution
from gradsculpt.attributions.gradient import OUTPUTS, Gradient, Output, class_output
from gradsculpt.attributions.sampling import arithmetic, clean_classes, passes, source
from gradsculpt.errors import ArgumentError
from gradsculpt.gradients import Model
from gradsculpt.isolation import undisturbed
from gradsculpt.numerics import per_sample
from gradsculpt.outputs import logits_at

Rule = Literal["midpoint", "left", "right", "trapezoid", "gauss-legendre"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class InputXGradient(Attribution):
    """The image times its map, entry by entry: for a linear function without a bias, what each entry adds.

    The image is taken as the model takes it, so where a model has normalised input, an entry at the mean of the
    dataset has no attribution. `base` is the map that the image is multiplied by.

    Source: Shrikumar et al. 2016 (Not just a black box).

    Example:
        >>> import torch
        >>> InputXGradient()(lambda x: x.flatten(1).square(), torch.tensor([[[[2.0, 1.0]]]]), torch.tensor([0]))
        tensor([[[[8., 0.]]]])
    """

    base: Attribution = field(default_factory=Gradient)

    def __post_init__(self) -> None:
        checks.declared(self)

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the products, shape [N, C, H, W]."""
        with arithmetic(create_graph):
            x = source(x, create_graph)
            return x * self.base(model, x, target, create_graph=create_graph)


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """The image minus a baseline, times the mean gradient on the line between them.

    The entries of a map add up to the class output at the image minus that at the baseline, up to the error of the
    quadrature, which `completeness` measures.

    Args:
        steps: Number of gradients that are evaluated.
        rule: Where on the line they are evaluated and how they are weighted. Both end points belong to the trapezoid.
        baseline: Where the line starts, in the units that the model takes: a number, or a tensor that broadcasts to
            [N, C, H, W]. With normalised input, 0 is the mean of the dataset; black is `space.normalize` of zeros.
        output: Which output of the class is differentiated, as of `Gradient`.
        batch_size: As of `Smoothed`, with steps in place of copies.

    Raises: ArgumentError if a setting or target is out of range, or the baseline or x does not fit.
    Source: Sundararajan et al., ICML 2017, sections 3 and 5.
    Deviation: The midpoint rule is the default, as its error falls with the square of the steps; the published sum is
        `rule="right"`. The class is the one predicted for the image itself.

    Example:
        >>> import torch
        >>> IntegratedGradients()(lambda x: x.flatten(1).square(), torch.tensor([[[[2.0, 1.0]]]])).round(decimals=4)
        tensor([[[[4., 0.]]]])
    """

    steps: int = 50
    rule: Rule = "midpoint"
    baseline: float | Tensor = 0.0
    output: Output = "logit"
    batch_size: int | None = None
    is_derivative: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.one_of("rule", self.rule, RULES)
        checks.each_at_least(self, steps=2 if self.rule == "trapezoid" else 1, batch_size=1)
        checks.one_of("output", self.output, OUTPUTS)
        if not bool(torch.isfinite(torch.as_tensor(self.baseline)).all()):
            raise ArgumentError(
                "the baseline holds NaN or infinite entries, which no line leads from; pass finite ones."
            )

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        """Return the integrated gradients, shape [N, C, H, W]."""
        base = Gradient(self.output)
        with arithmetic(create_graph):
            x = source(x, create_graph)
            target = clean_classes(model, x, target)
            start = self.start(x)
            way, total = x - start, torch.zeros(())
            positions, weights = (torch.from_numpy(array) for array in quadrature(self.rule, self.steps))
            copies, size = self.steps, self.batch_size
            with passes(base, model, x, create_graph, copies=copies, batch_size=size) as several:
                for group in several.groups(copies, len(x)):
                    places = positions[group.start : group.stop].to(x).view(-1, 1, 1, 1, 1)
                    maps = several.read(base, start + places * way, target, create_graph=create_graph)
                    weighted = weights[group.start : group.stop].to(maps).view(-1, 1, 1, 1, 1) * maps
                    total = total.to(maps) + weighted.sum(dim=0)
            return (way * total).to(x.dtype)

    def completeness(self, model: Model, x: Tensor, target: Tensor | None, maps: Tensor) -> Tensor:
        """Return what the maps add up to minus what they should add up to, [N], in units of the class output.

        The arguments are those of a call, and what it returned.
        Returns: The signed error, which is 0 for an exact integral and goes to 0 with the number of steps.
        """
        checks.same_shape("maps", maps, "x", x)
        with arithmetic(create_graph=False):
            x = source(x, create_graph=False)
            target = clean_classes(model, x, target)
            values = []
            for inputs in (x, self.start(x)):
                with undisturbed(model):
                    values.append(class_output(logits_at(model, inputs), target, self.output))
            return per_sample(maps.detach()) - (values[0] - values[1])

    def start(self, x: Tensor) -> Tensor:
        """Return the baseline of every image, [N, C, H, W]."""
        return checks.broadcast("the baseline", self.baseline, x)


def quadrature(rule: Rule, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions in [0, 1] and the weights, which add up to 1, of a quadrature rule."""
    if rule == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    if rule == "trapezoid":
        weights = np.full(steps, 1 / (steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, steps), weights
    offset = {"left": 0.0, "midpoint": 0.5, "right": 1.0}[rule]
    return (np.arange(steps) + offset) / steps, np.full(steps, 1 / steps)
