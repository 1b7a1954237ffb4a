"""What is timed: a case is a step of one method on one network; and the published formulas, written plainly."""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.objectives import LocalGradientAlignment, Objective
from gradsculpt.penalties import ElasticNet

EPS = 4 / 255 / 0.25
Formula = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Case(NamedTuple):
    """One line of the table: a step, and what it is measured against."""

    name: str
    network: str
    batch: int
    side: int
    objective: Objective
    passes: float
    published: str = "-"
    softplus: float | None = None
    plain: Formula | None = None
    bf16: bool = False

    def called(self, words: Sequence[str] | None) -> bool:
        """Tell whether one of the words is in its name or that of its network; without words it is meant, too."""
        title = f"{self.name} {self.network}/{self.batch}"
        return words is None or any(word in title for word in words)


def plain_alignment(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss of local gradient alignment as printed, with the squared distance that its weights assume."""
    x = x.clone().requires_grad_()
    logits = network(x)
    source = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x, create_graph=True)[0].detach()
    loss = F.cross_entropy(logits, y)
    other = (x + EPS * (2 * torch.rand_like(x) - 1)).detach().requires_grad_()
    near = torch.autograd.grad(network(other).gather(1, y[:, None]).sum(), other, create_graph=True)[0]
    distance = (source - near).flatten(1).norm(dim=1).square().mean()
    cosine = F.cosine_similarity(source.flatten(1), near.flatten(1)).mean()
    return loss + 0.01 * distance + (1 - cosine) / 2


def plain_hessian(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return cross entropy plus the estimated squared norm of the Hessian."""
    x = x.clone().requires_grad_()
    logits = network(x)
    gradient = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x, create_graph=True)[0]
    product = torch.autograd.grad((gradient * torch.randn_like(x)).sum(), x, create_graph=True)[0]
    return F.cross_entropy(logits, y) + 1e-3 * product.flatten(1).square().sum(dim=1).mean()


def plain_penalty(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return cross entropy plus the L1 norm of its gradient."""
    x = x.clone().requires_grad_()
    losses = F.cross_entropy(network(x), y, reduction="none")
    gradient = torch.autograd.grad(losses.sum(), x, create_graph=True)[0]
    return losses.mean() + 0.01 * gradient.abs().flatten(1).sum(dim=1).mean()


ELASTIC = ElasticNet(0.01, 0.05)
ALIGNMENT = LocalGradientAlignment(l2=0.01, cosine=1.0, eps=EPS)


class PlainBatchNorm(nn.BatchNorm2d):
    """Batch normalisation out of plain operations: PyTorch's own refuses a third derivative."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised by the statistics of the batch."""
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
        scaled = (x - mean) * (variance + self.eps).rsqrt()
        return scaled * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


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
