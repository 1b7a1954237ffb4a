"""The formulas of the papers as one writes them down with PyTorch's own functions: what our objectives are beside."""

import copy
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.objectives import (
    AdversarialTraining,
    GradientPenalty,
    HessianNorm,
    LocalGradientAlignment,
    Objective,
)
from gradsculpt.perturbations import OneStep

Formula = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Maps a network, images [N, C, H, W] and classes [N] to a scalar loss."""


def plain(objective: Objective) -> Formula | None:
    """Return the formula of an objective, written plainly; None if there is none here, as for sums and schedules."""
    return next((make(objective) for kind, make in _FORMULAS.items() if type(objective) is kind), None)


def with_stock_layers(network: nn.Module, *, third: bool) -> nn.Module:
    """Return a copy of a network with PyTorch's own Softplus, and normalisation that bears a third derivative."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Softplus):
                setattr(parent, name, nn.Softplus(child.beta))
            elif third and isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, PlainBatchNorm(child.num_features))
    return network


class PlainBatchNorm(nn.BatchNorm2d):
    """Batch normalisation out of plain operations: PyTorch's own refuses a third derivative."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised by the statistics of the batch."""
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
        scaled = (x - mean) * (variance + self.eps).rsqrt()
        return scaled * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def _alignment(objective: LocalGradientAlignment) -> Formula | None:
    if objective != LocalGradientAlignment(objective.l2, objective.cosine, objective.eps):
        return None
    l2, cosine, eps = (cast(Tensor, each) for each in (objective.l2, objective.cosine, objective.eps))

    def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        logits = network(x)
        source = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x, create_graph=True)[0].detach()
        other = (x + eps * (2 * torch.rand_like(x) - 1)).detach().requires_grad_()
        near = torch.autograd.grad(network(other).gather(1, y[:, None]).sum(), other, create_graph=True)[0]
        distance = (source - near).flatten(1).norm(dim=1).square().mean()
        likeness = F.cosine_similarity(source.flatten(1), near.flatten(1)).mean()
        total: Tensor = F.cross_entropy(logits, y) + l2 * distance + cosine * (1 - likeness) / 2
        return total

    return loss


def _hessian(objective: HessianNorm) -> Formula:
    def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        logits = network(x)
        gradient = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x, create_graph=True)[0]
        product = torch.autograd.grad((gradient * torch.randn_like(x)).sum(), x, create_graph=True)[0]
        return (
            F.cross_entropy(logits, y) + cast(float, objective.weight) * product.flatten(1).square().sum(dim=1).mean()
        )

    return loss


def _penalty(objective: GradientPenalty) -> Formula:
    def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        losses = F.cross_entropy(network(x), y, reduction="none")
        gradient = torch.autograd.grad(losses.sum(), x, create_graph=True)[0]
        return losses.mean() + objective.penalty.value(gradient).mean()

    return loss


def _adversarial(objective: AdversarialTraining) -> Formula | None:
    penalty = objective.penalty
    if penalty is None or penalty.follows_attention or objective != AdversarialTraining(penalty, OneStep()):
        return None

    def loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(network(x), y, reduction="sum"), x)[0]
        return F.cross_entropy(network((x + penalty.dual(gradient)).detach()), y)

    return loss


_FORMULAS: dict[type, Callable[..., Formula | None]] = {
    AdversarialTraining: _adversarial,
    GradientPenalty: _penalty,
    HessianNorm: _hessian,
    LocalGradientAlignment: _alignment,
}
