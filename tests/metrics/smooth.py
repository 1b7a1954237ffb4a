"""Small models whose derivatives are known or cheap, for the metrics that read them."""

import torch
from torch import Tensor, nn

from gradsculpt.gradients import Model


def perceptron(shape: tuple[int, int, int], *, activation: nn.Module | None = None, seed: int = 0) -> nn.Sequential:
    """Return a network of one hidden layer for images [C, H, W], with three classes, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        size = shape[0] * shape[1] * shape[2]
        layers = [nn.Flatten(), nn.Linear(size, 6), activation or nn.Softplus(), nn.Linear(6, 3)]
        return nn.Sequential(*layers).double()


def images(n: int, shape: tuple[int, int, int], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images [n, C, H, W] in float64 and classes below three."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def quadratic(matrix: Tensor, slope: Tensor) -> Model:
    """Return a model whose one class has the output x' A x / 2 + b' x, with the Hessian A and the gradient A x + b."""

    def model(x: Tensor) -> Tensor:
        rows = x.flatten(1)
        return ((rows @ matrix) * rows).sum(dim=1, keepdim=True) / 2 + (rows @ slope)[:, None]

    return model


def quadratic_loss(matrix: Tensor, slope: Tensor) -> Model:
    """Return a model of two classes whose cross entropy for class 0 is q = x' A x / 2 + b' x, where positive."""
    plain = quadratic(matrix, slope)

    def model(x: Tensor) -> Tensor:
        q = plain(x)[:, 0]
        return torch.stack([-q, torch.log(-torch.expm1(-q))], dim=1)  # logarithms of p = exp(-q) and of 1 - p

    return model


def symmetric(size: int, *, seed: int = 0) -> Tensor:
    """Return a symmetric matrix in float64 with eigenvalues of both signs."""
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (root + root.T) / 2
