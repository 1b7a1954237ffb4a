"""Products of the input Hessian of a class output with vectors."""

from typing import Literal, get_args

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions.gradient import Output, class_output
from gradsculpt.gradients import Model, Recording
from gradsculpt.metrics.neighbourhood import lengths
from gradsculpt.outputs import logits_at

Probe = Literal["rademacher", "gaussian"]


class Curvature:
    """The Hessian H of a class output at a batch, for as many products with vectors as are wanted."""

    def __init__(self, model: Model, x: Tensor, y: Tensor, output: Output) -> None:
        self._pass = Recording(lambda point: class_output(logits_at(model, point), y, output), x, order=2)
        self._gradient = self._pass.gradient(self._pass.output, create_graph=True)
        self.gradient = self._gradient.detach()

    def product(self, vectors: Tensor) -> Tensor:
        """Return H v for each image, without a graph; the vectors are shaped like x."""
        with torch.enable_grad():
            return self._pass.hessian_product(self._gradient, vectors, create_graph=False)

    def product_lengths(self, vectors: Tensor) -> Tensor:
        """Return |H v| for each image, [N]."""
        return lengths(self.product(vectors)[None])[0]

    def probed(self, probes: int, probe: Probe, seed: int) -> Tensor:
        """Return |H v| of every image for every random vector v, [probes, N]."""
        checks.one_of("probe", probe, get_args(Probe))
        checks.at_least("seed", seed, 0)
        generator, like = torch.Generator().manual_seed(seed), self.gradient
        normal = (torch.randn(like.shape[1:], generator=generator) for _ in range(probes))
        vectors = normal if probe == "gaussian" else (torch.where(v < 0, -1.0, 1.0) for v in normal)
        return torch.stack([self.product_lengths(v.to(like).expand_as(like)) for v in vectors])
