"""Two-layer networks in the plane: what a smooth activation and each criterion do to gradients near the boundary."""

import math
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from gradsculpt import checks
from gradsculpt.attributions import Gradient
from gradsculpt.isolation import seeded
from gradsculpt.metrics import Score
from gradsculpt.numerics import dot, length
from gradsculpt.objectives import CrossEntropy, LocalGradientAlignment, MaxEntropy, Objective
from gradsculpt.outputs import predicted
from gradsculpt.studies.experiments.base import Experiment, Given, Takes

_EDGE = 0.75
"""How far beyond the points the level curves are drawn."""

_SHOWN, _ARROW = 4, 0.03
"""So many pairs are drawn, their gradients so many times as long."""

_SCORES = (
    Score(
        "l2_distance", 0.0, math.inf, "lower", meaning="How far apart the gradients of two points near each other are."
    ),
    Score(
        "cosine_distance",
        0.0,
        1.0,
        "lower",
        meaning="How far the gradients of two points near each other turn: 0 is not at all, 1 is to the opposite.",
    ),
    Score("gradient_norm", 0.0, math.inf, None, meaning="How steep the output of the network is."),
)


@dataclass(frozen=True)
class Toy(Experiment):
    """A two-layer network is trained on two interleaved half circles, and gradients of neighbours are compared.

    Pairs of points lie around the boundary: in the middle between a point and the nearest one of the other class, and
    `eps` from there in a random direction. They are the same for networks of any settings, so that these can be
    compared pair by pair. The gradient is that of the one logit, as in the figure.

    Keeps a value a pair of the l2 distance, the cosine distance (1 - cos) / 2 and the norm of the gradients, and the
    accuracy, a value a point; and for a figure the arrays `x` [G] and `y` [G] of a grid with the logits `values`
    [1, G, G] there (rows are y), the `points` [P, 2] with their `classes` [P], and `arrows` [1, K, 4] of the first
    pairs: where each gradient is, and an arrow along it. A caption tells the mean l2 distance and cosine of all pairs.

    Args:
        softplus: Beta of the activation; None for a ReLU.
        max_entropy: Weight of the entropy of the predictions, in nats.
        l2, cosine: Weights of the alignment of local gradients.
        eps: Distance of neighbours, and half-width of the noise of the alignment, in units of the plane, where a half
            circle has radius 1.
        noise: Standard deviation of the points around the half circles.
        hidden, steps, lr: Width of the network, and steps of Adam on all points at once.
        points, pairs, grid: Numbers of points to train on, of pairs, and of grid lines.

    Raises: ArgumentError if a number is out of range.
    Source: Joo et al., AAAI 2023 (local gradient alignment), Figure 1. The data, the widths and the weights are not
        given there.
    """

    softplus: float | None = 1.0
    max_entropy: float = 0.0
    l2: float = 0.0
    cosine: float = 0.0
    eps: float = 0.3
    noise: float = 0.25
    hidden: int = 64
    steps: int = 1000
    lr: float = 0.01
    points: int = 200
    pairs: int = 64
    grid: int = 81
    takes: ClassVar[Takes] = "nothing"

    def __post_init__(self) -> None:
        checks.each_at_least(self, max_entropy=0, l2=0, cosine=0, noise=0)
        checks.each_at_least(self, hidden=1, steps=1, points=4, pairs=1, grid=2)
        for name, value in (("softplus", self.softplus), ("eps", self.eps), ("lr", self.lr)):
            checks.positive(name, 1.0 if value is None else value)

    @property
    def objective(self) -> Objective:
        """What the network minimises; terms without a weight are left out."""
        terms: list[Objective] = [CrossEntropy()]
        if self.max_entropy:
            terms.append(MaxEntropy(self.max_entropy))
        if self.l2 or self.cosine:
            terms.append(LocalGradientAlignment(l2=self.l2, cosine=self.cosine, eps=self.eps))
        return reduce(add, terms)

    def run(self, given: Given) -> None:
        """Draw the points, train, and compare the gradients of neighbours."""
        drawn = torch.Generator().manual_seed(given.seed)
        points, labels = half_circles(self.points, self.noise, drawn)
        pairs = neighbours(points, labels, self.pairs, self.eps, drawn)
        with seeded(given.seed):
            network = self._network()
        self._train(network, points, labels, drawn, given)
        gradients = Gradient()(network, _images(pairs.flatten(0, 1)), torch.zeros(2 * len(pairs), dtype=torch.long))
        first, second = gradients.view(len(pairs), 2, 2).unbind(1)
        cosine = (1 - cosine_of(first, second)) / 2
        values = (length(first - second), cosine, (length(first) + length(second)) / 2)
        names = [f"pair {i}" for i in range(len(pairs))]
        columns = {
            score: dict(zip(names, each.tolist(), strict=True)) for score, each in zip(_SCORES, values, strict=True)
        }
        with torch.no_grad():
            right = (predicted(network(_images(points))) == labels).double()
        accuracy = Score("accuracy", 0.0, 1.0, "higher", "fraction", "Share of the points that are told apart.")
        columns[accuracy] = {f"point {i}": value for i, value in enumerate(right.tolist())}
        shown = torch.cat([pairs, _ARROW * torch.stack([first, second], dim=1)], dim=2)[:_SHOWN]
        arrays = self._grid(network, points) | {"points": points, "classes": labels}
        arrays["arrows"] = shown.flatten(0, 1)[None]
        caption = f"l2 {values[0].mean():.2f}, cosine {1 - 2 * cosine.mean():.3f}"
        kept = {name: each.numpy() for name, each in arrays.items()}
        given.keep(columns, arrays=kept, panels=[str(self.objective)], captions=[caption])

    def _network(self) -> nn.Sequential:
        activation = nn.ReLU() if self.softplus is None else nn.Softplus(self.softplus)
        return nn.Sequential(nn.Flatten(), nn.Linear(2, self.hidden), activation, nn.Linear(self.hidden, 1))

    def _train(self, network: nn.Module, points: Tensor, labels: Tensor, drawn: Generator, given: Given) -> None:
        objective, x = self.objective, _images(points)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr)
        with given.reporter.work("training in the plane", self.steps, unit="steps") as progress:
            for step in range(self.steps):
                optimizer.zero_grad(set_to_none=True)
                objective(network, x, labels, generator=drawn).loss.backward()
                optimizer.step()
                progress(step + 1, self.steps)

    def _grid(self, network: nn.Module, points: Tensor) -> dict[str, Tensor]:
        low, high = points.amin(dim=0) - _EDGE, points.amax(dim=0) + _EDGE
        x, y = (torch.linspace(float(low[i]), float(high[i]), self.grid) for i in range(2))
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        with torch.no_grad():
            logit = network(_images(places.flatten(0, 1)))
        return {"x": x, "y": y, "values": logit.view(1, self.grid, self.grid)}


def half_circles(count: int, noise: float, drawn: Generator) -> tuple[Tensor, Tensor]:
    """Return points [count, 2] of two interleaved half circles of radius 1, and which one each is of, [count]."""
    labels = torch.arange(count) % 2
    angle = math.pi * torch.rand(count, generator=drawn)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = torch.where(labels[:, None] == 0, upper, lower)
    return points + noise * torch.randn(count, 2, generator=drawn), labels


def neighbours(points: Tensor, labels: Tensor, count: int, eps: float, drawn: Generator) -> Tensor:
    """Return pairs of points [count, 2, 2], eps apart, the first of each midway between two points of other classes."""
    of = points[torch.randint(len(points), (count,), generator=drawn)]
    classes = [points[labels == label] for label in (0, 1)]
    nearest = [each[torch.cdist(of, each).argmin(dim=1)] for each in classes]  # one of them is the point itself
    middle = (nearest[0] + nearest[1]) / 2
    angle = 2 * math.pi * torch.rand(count, generator=drawn)
    return torch.stack([middle, middle + eps * torch.stack([angle.cos(), angle.sin()], dim=1)], dim=1)


def cosine_of(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of each pair of gradients, [N]; 1 where both are 0, and 0 where one is."""
    sizes = length(a) * length(b)
    both = ((length(a) == 0) & (length(b) == 0)).to(a)
    return torch.where(sizes == 0, both, dot(a, b) / torch.where(sizes == 0, 1.0, sizes)).clamp(-1, 1)


def _images(points: Tensor) -> Tensor:
    return points[:, :, None, None]
