"""Small networks and batches that tests share."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

SIDE = 6


def batch(n: int = 4, channels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random images [n, channels, SIDE, SIDE] in float64 and labels of three classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, channels, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (n,), generator=generator)


def network(channels: int = 3, *, dropout: float = 0.0, norm: bool = True, seed: int = 1) -> nn.Sequential:
    """Return a network in float64, in training mode: convolution, batch norm, softplus, dropout, linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(channels, 4, 3)]
        layers += [nn.BatchNorm2d(4)] if norm else []
        layers += [nn.Softplus(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(4 * (SIDE - 2) ** 2, 3)]
        return nn.Sequential(*layers).double()


def state(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of every parameter and buffer."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_state(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Recorder(nn.Module):
    """Hands every call on to a model and keeps what it was called with."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return self.model(x)


def halved(dtype: torch.dtype, side: int, n: int = 2) -> tuple[nn.Sequential, nn.Sequential, Tensor]:
    """Return a smooth network whose weights a half precision holds, in it and in float32, and images that it holds."""
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers: list[nn.Module] = [nn.Conv2d(3, 8, 5, stride=2), nn.Softplus(3), nn.Conv2d(8, 8, 3, stride=2)]
        layers += [nn.Softplus(3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 5)]
        half = nn.Sequential(*layers).to(dtype).eval()
    return half, copy.deepcopy(half).float(), torch.randn(n, 3, side, side, generator=generator).to(dtype)
