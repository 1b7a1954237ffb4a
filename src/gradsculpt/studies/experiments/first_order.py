"""How far the loss is from what its gradient foretells, beside the bound that its curvature sets."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt import checks
from gradsculpt.evaluation import Curve
from gradsculpt.evaluation.results import entry
from gradsculpt.gradients import Recording
from gradsculpt.isolation import seeded
from gradsculpt.metrics import Score
from gradsculpt.numerics import dot, spread, unit
from gradsculpt.studies.experiments.base import Experiment, Given, Takes

_SLACK = 1e-9
_CLASSES = 10


@dataclass(frozen=True)
class FirstOrder(Experiment):
    """Compares the error of the first-order expansion of a loss with lambda eps^2 / 2, over eps.

    Of a quadratic, whose lambda is known, along the direction of its largest curvature, where the bound is attained;
    and of the cross entropy of a small network without corners, with random weights, along its gradient, at images of
    noise, where lambda is the largest magnitude of an eigenvalue of the Hessian that power iteration finds at places
    between the image and the perturbed one.

    Keeps `network_share` and `quadratic_share`, the largest error in units of the bound, a value an image;
    `network_holds` and `quadratic_holds`, the share of images at which the bound holds at every eps; and the curves of
    errors and bounds over eps.

    Args:
        eps: L2 lengths of the perturbation, in units of the input.
        images, image_size: Number and side of the images.
        softplus: Beta of the activation.
        stations, iterations: Places at which the curvature is measured, and steps of the power iteration at each.

    Raises: ArgumentError if a number is out of range.
    Source: Gong et al., CVPR 2024 (AdvGrad), Observation 1 and A.1.
    Deviation: the smoothness constant of a network is that of the places looked at, not of all of the input space.
    """

    eps: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    images: int = 16
    image_size: int = 16
    softplus: float = 3.0
    stations: int = 5
    iterations: int = 15
    takes: ClassVar[Takes] = "nothing"

    def __post_init__(self) -> None:
        checks.each_at_least(self, images=1, image_size=16, stations=2, iterations=1)
        checks.positive("softplus", self.softplus)
        checks.not_empty("eps", len(self.eps))
        for each in self.eps:
            checks.positive("eps", each)
        object.__setattr__(self, "eps", tuple(sorted(self.eps)))

    def run(self, given: Given) -> None:
        """Measure both losses."""
        drawn = torch.Generator().manual_seed(given.seed)
        found = {"quadratic": self._quadratic(drawn), "network": self._network(drawn, given)}
        columns: dict[Score, dict[str, float]] = {}
        curves: dict[str, Curve] = {}
        for name, (errors, bounds) in found.items():
            share = (errors / bounds).amax(dim=0)
            meaning = f"The largest error of the first-order expansion of a {name}, in units of its bound."
            columns[Score(f"{name}_share", 0.0, math.inf, None, meaning=meaning)] = _by_image(share)
            for what, values in (("error", errors), ("bound", bounds)):
                curves[f"{what} ({name})"] = self._curve(name, values, given.seed)
            holds = (share <= 1 + _SLACK).double()
            kept = Score(
                f"{name}_holds", 0.0, 1.0, "higher", "fraction", "Share of the images at which the bound holds."
            )
            columns[kept] = _by_image(holds)
        given.keep(columns, curves)

    def _quadratic(self, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return errors and bounds, [E, N] each, of g^T d + d^T H d / 2 along the top eigenvector of H."""
        matrix = torch.randn(self.images, 32, 32, generator=drawn, dtype=torch.float64)
        values, vectors = torch.linalg.eigh(matrix + matrix.mT)
        top = values.abs().argmax(dim=1)
        curvature = values.gather(1, top[:, None])[:, 0].abs()
        along = vectors.gather(2, top[:, None, None].expand(-1, 32, 1))
        slope = torch.randn(self.images, 32, generator=drawn, dtype=torch.float64)
        errors = []
        for eps in self.eps:
            delta = eps * along
            loss = (slope[:, None] @ delta + delta.mT @ (matrix + matrix.mT) @ delta / 2).flatten()
            errors.append((loss - (slope[:, None] @ delta).flatten()).abs())
        return torch.stack(errors), torch.stack([curvature * eps**2 / 2 for eps in self.eps])

    def _network(self, drawn: torch.Generator, given: Given) -> tuple[Tensor, Tensor]:
        """Return errors and bounds, [E, N] each, of a network's cross entropy along its gradient."""
        side = self.image_size
        with seeded(given.seed):
            network = smooth_network(side, self.softplus).double()
        x = torch.randn(self.images, 3, side, side, generator=drawn, dtype=torch.float64)
        y = torch.arange(self.images) % _CLASSES

        def losses(at: Tensor) -> Tensor:
            return F.cross_entropy(network(at), y, reduction="none")

        start = Recording(losses, x)
        gradient, loss = start.gradient(start.output), start.output.detach()
        uphill = unit(gradient)
        errors, bounds = [], []
        largest = torch.zeros(self.images, dtype=torch.float64)
        reached = 0.0
        with given.reporter.work("measuring curvature", len(self.eps), unit="lengths") as progress:
            for done, eps in enumerate(self.eps):
                for place in torch.linspace(reached, eps, self.stations).tolist():
                    here = Recording(losses, x + place * uphill)
                    largest = torch.maximum(largest, spectral_norm(here, self.iterations, drawn))
                reached = eps
                with torch.no_grad():
                    errors.append((losses(x + eps * uphill) - loss - eps * dot(gradient, uphill)).abs())
                bounds.append(largest * eps**2 / 2)
                progress(done + 1, len(self.eps))
        return torch.stack(errors), torch.stack(bounds)

    def _curve(self, title: str, values: Tensor, seed: int) -> Curve:
        score = Score("error", 0.0, math.inf, None)
        entries = [entry("experiment", score, each, seed) for each in values]
        mean, low, high = (tuple(getattr(each, end) for each in entries) for end in ("mean", "low", "high"))
        return Curve(title, "length of the perturbation", "loss, in nats", self.eps, mean, low, high)


def smooth_network(side: int, beta: float) -> nn.Sequential:
    """Return a network without corners: largest values of neighbourhoods, as most take, would have some."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2), nn.Softplus(beta), nn.Conv2d(16, 32, 3, stride=2), nn.Softplus(beta)),
        *(nn.Flatten(), nn.Linear(32 * (((side - 1) // 2 - 1) // 2) ** 2, _CLASSES)),
    )


def spectral_norm(recording: Recording, iterations: int, drawn: torch.Generator) -> Tensor:
    """Return the largest |H v| that so many steps of power iteration come to, with |v| = 1, for each image, [N].

    It is at most the spectral norm of the Hessian of the recorded output, and comes near it.
    """
    gradient = recording.gradient(recording.output, create_graph=True)
    v = unit(torch.randn(gradient.shape, generator=drawn, dtype=gradient.dtype))
    largest = torch.zeros(len(v), dtype=v.dtype)
    for _ in range(iterations):
        product = recording.hessian_product(gradient, v, create_graph=False)
        largest = torch.maximum(largest, product.flatten(1).norm(dim=1))
        v = torch.where(spread(largest, v) > 0, unit(product), v)
    return largest


def _by_image(values: Tensor) -> dict[str, float]:
    return {f"image {i}": value for i, value in enumerate(values.tolist())}
