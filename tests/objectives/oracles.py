"""Training objectives as the papers write them: slow, plain, and by another route than the library's.

The library differentiates twice backwards, a batch at once. Here the derivative of a criterion by the input gradients
is written down by hand, image by image, and the parameters' part is a forward derivative of their ordinary gradient:
sum_j c_j d(dS/dx_j)/dtheta is the derivative of dS/dtheta along c. A network whose batch normalisation uses the
statistics of the batch is one function of all its images; every other network is taken one image at a time.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jvp, vjp

Gradients = dict[str, Tensor]
"""The gradient of a loss by every parameter."""

SIDE, CHANNELS, CLASSES = 8, 2, 3


class PlainBatchNorm(nn.Module):
    """Batch normalisation with the statistics of the batch, from means and squares."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        variance = (x - mean).pow(2).mean(dim=(0, 2, 3), keepdim=True)
        scale, shift = self.weight.view(1, -1, 1, 1), self.bias.view(1, -1, 1, 1)
        return scale * (x - mean) / (variance + self.eps).sqrt() + shift


@dataclass(frozen=True)
class Plain:
    """A copy of a network as a function of its parameters, and of as many images as it takes at a time."""

    network: nn.Module
    parameters: Gradients
    coupled: bool

    def logits(self, parameters: Gradients, x: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, parameters, (x,))
        return logits

    def logit(self, y: Tensor) -> Callable[[Gradients, Tensor], Tensor]:
        """Return the sum of the true classes' logits, as a function."""
        return lambda parameters, x: sum(z[c] for z, c in zip(self.logits(parameters, x), y, strict=True))

    def loss(self, y: Tensor) -> Callable[[Gradients, Tensor], Tensor]:
        """Return the sum of the cross entropies, as a function."""
        return lambda parameters, x: sum(
            z.exp().sum().log() - z[c] for z, c in zip(self.logits(parameters, x), y, strict=True)
        )

    def units(self, count: int) -> Iterator[slice]:
        """Yield the images that go through the network together."""
        return iter([slice(0, count)]) if self.coupled else (slice(i, i + 1) for i in range(count))

    def zeros(self) -> Gradients:
        return {name: torch.zeros_like(value) for name, value in self.parameters.items()}


def plain(network: nn.Module) -> Plain:
    """Return a plain copy of a network in float64."""
    copied, coupled = copy.deepcopy(network), False
    for name, module in list(copied.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and module.training:
            parent, _, last = name.rpartition(".")
            setattr(copied.get_submodule(parent), last, PlainBatchNorm(module))
            coupled = True
    assert all(p.dtype == torch.float64 for p in copied.parameters())
    return Plain(copied, {name: p.detach() for name, p in copied.named_parameters()}, coupled)


def cross_entropy(model: Plain, x: Tensor, y: Tensor) -> tuple[float, Gradients]:
    """Return mean_i log sum_k exp(z_k - z_y) and its gradient."""

    def coefficients(z: Tensor, c: int) -> tuple[float, Tensor]:
        p = (z - z.max()).exp() / (z - z.max()).exp().sum()
        return -math.log(p[c]), p - torch.eye(len(z), dtype=z.dtype)[c]

    return _of_logits(model, x, y, coefficients)


def negative_entropy(model: Plain, x: Tensor, y: Tensor, weight: float) -> tuple[float, Gradients]:
    """Return mean_i sum_k p_k log p_k, weighted, and its gradient: d/dz_k = p_k (log p_k - sum_j p_j log p_j)."""

    def coefficients(z: Tensor, c: int) -> tuple[float, Tensor]:
        p = (z - z.max()).exp() / (z - z.max()).exp().sum()
        value = sum(float(q) * math.log(q) for q in p)
        return weight * value, weight * p * (p.log() - value)

    return _of_logits(model, x, y, coefficients)


def alignment(
    model: Plain,
    x: Tensor,
    y: Tensor,
    delta: Callable[[Tensor, int], Tensor],
    *,
    l2: float = 0.0,
    cosine: float = 0.0,
    squared: bool = True,
    detach_source: bool = True,
) -> tuple[float, Gradients]:
    """Return the mean of l2 |g(x) - g(x + delta)|^2 (or its root) + cosine (1 - cos) / 2, and its gradient.

    Joo et al. 2023, definition 4 and equations 4 and 5; delta is made from g(x), which it does not follow, and the
    index of the image.
    """
    value, gradients = 0.0, model.zeros()
    for unit in model.units(len(x)):
        logit = model.logit(y[unit])
        source = grad(logit, argnums=1)(model.parameters, x[unit])
        moved = torch.stack([x[unit][i] + delta(source[i], unit.start + i) for i in range(len(source))])
        other = grad(logit, argnums=1)(model.parameters, moved)
        by_source, by_other = torch.zeros_like(source), torch.zeros_like(source)
        for i in range(len(source)):
            a, b = source[i].flatten(), other[i].flatten()
            gap, lengths = torch.linalg.norm(a - b), torch.linalg.norm(a) * torch.linalg.norm(b)
            similarity = torch.dot(a, b) / lengths
            value += float(l2 * (gap**2 if squared else gap) + cosine * (1 - similarity) / 2) / len(x)
            away = 2 * (b - a) if squared else (b - a) / gap
            for mine, theirs, sign, out in ((b, a, 1, by_other), (a, b, -1, by_source)):
                turn = theirs / lengths - similarity * mine / torch.dot(mine, mine)
                out[i] = (l2 * sign * away - cosine / 2 * turn).view_as(out[i]) / len(x)
        _add(gradients, _mixed(logit, model.parameters, moved, by_other))
        if not detach_source:
            _add(gradients, _mixed(logit, model.parameters, x[unit], by_source))
    return value, gradients


def hessian_norm(model: Plain, x: Tensor, y: Tensor, v: Tensor, weight: float) -> tuple[float, Gradients]:
    """Return the mean of weight |H v|^2, with H written out in full, and its gradient."""
    value, gradients = 0.0, model.zeros()
    for unit in model.units(len(x)):
        logit = model.logit(y[unit])
        full = hessian(logit, argnums=1)(model.parameters, x[unit]).reshape(x[unit].numel(), x[unit].numel())
        product = (full @ v[unit].flatten()).view_as(x[unit])
        value += weight * float(product.flatten().pow(2).sum()) / len(x)

        def along_v(
            parameters: Gradients,
            point: Tensor,
            logit: Callable[[Gradients, Tensor], Tensor] = logit,
            unit: slice = unit,
        ) -> Tensor:
            derivative: Tensor = jvp(lambda t: logit(parameters, t), (point,), (v[unit],))[1]
            return derivative

        _add(gradients, _mixed(along_v, model.parameters, x[unit], 2 * weight * product / len(x)))
    return value, gradients


def gradient_penalty(
    model: Plain, x: Tensor, y: Tensor, penalty: Callable[[Tensor, int], tuple[float, Tensor]]
) -> tuple[float, Gradients]:
    """Return the mean of h* at the gradients of the loss, and its gradient; h* gives its value and subgradient."""
    value, gradients = 0.0, model.zeros()
    for unit in model.units(len(x)):
        loss = model.loss(y[unit])
        g = grad(loss, argnums=1)(model.parameters, x[unit])
        found = [penalty(g[i], unit.start + i) for i in range(len(g))]
        value += sum(h for h, _ in found) / len(x)
        _add(gradients, _mixed(loss, model.parameters, x[unit], torch.stack([c for _, c in found]) / len(x)))
    return value, gradients


def added(*parts: tuple[float, Gradients]) -> tuple[float, Gradients]:
    """Return the sum of losses and of their gradients."""
    total = {name: torch.zeros_like(value) for name, value in parts[0][1].items()}
    for _, gradients in parts:
        _add(total, gradients)
    return sum(value for value, _ in parts), total


def _of_logits(
    model: Plain, x: Tensor, y: Tensor, coefficients: Callable[[Tensor, int], tuple[float, Tensor]]
) -> tuple[float, Gradients]:
    value, gradients = 0.0, model.zeros()
    for unit in model.units(len(x)):
        logits, pull = vjp(lambda p, unit=unit: model.logits(p, x[unit]), model.parameters)[:2]
        found = [coefficients(z, int(c)) for z, c in zip(logits, y[unit], strict=True)]
        value += sum(v for v, _ in found) / len(x)
        _add(gradients, pull(torch.stack([c for _, c in found]) / len(x))[0])
    return value, gradients


def _mixed(function: Callable[[Gradients, Tensor], Tensor], parameters: Gradients, x: Tensor, c: Tensor) -> Gradients:
    """Return sum_j c_j d^2 function / dx_j dtheta."""
    derivative: Gradients = jvp(lambda t: grad(function)(parameters, t), (x,), (c,))[1]
    return derivative


def _add(total: Gradients, more: Gradients) -> None:
    for name, value in more.items():
        total[name] = total[name] + value


def network(*, pool: str = "max", norm: str | None = None, activation: type[nn.Module] = nn.Softplus) -> nn.Sequential:
    """Return two convolutions, pooling and a linear layer in float64; batch normalisation, if any, is in use.

    Args:
        pool: max or average.
        norm: None, or the mode, train or eval, of the batch normalisation.
        activation: After each convolution.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        first, second = nn.BatchNorm2d(3), nn.BatchNorm2d(4)
        for layer in (first, second):
            assert layer.running_var is not None
            assert layer.running_mean is not None
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (layer.bias, layer.running_mean):
                nn.init.uniform_(tensor, -0.5, 0.5)
        down = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pool]
        layers: list[nn.Module] = [nn.Conv2d(CHANNELS, 3, 3, padding=1), first, activation(), down(2)]
        layers += [nn.Conv2d(3, 4, 3), second, activation(), nn.Flatten(), nn.Linear(16, CLASSES)]
        kept = [layer for layer in layers if norm or not isinstance(layer, nn.BatchNorm2d)]
        return nn.Sequential(*kept).double().train(norm == "train")


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "max pool": lambda: network(),
    "average pool": lambda: network(pool="average"),
    "norm in eval mode": lambda: network(norm="eval"),
    "norm in training mode": lambda: network(norm="train"),
}


def images(count: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images [count, CHANNELS, SIDE, SIDE] in float64 and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, CHANNELS, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return x, torch.randint(CLASSES, (count,), generator=generator)


def uniform(like: Tensor, seed: int) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype).uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))


def normal(like: Tensor, seed: int) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype).normal_(generator=torch.Generator().manual_seed(seed))


def agrees(term: Tensor, network: nn.Module, oracle: tuple[float, Gradients], tolerance: float = 1e-6) -> None:
    """Fail unless a term and its own gradient by the parameters are the oracle's, relative to its largest entry."""
    value, gradients = oracle
    assert abs(term.item() - value) <= tolerance * abs(value), (term.item(), value)
    named = dict(network.named_parameters())
    found = torch.autograd.grad(term, list(named.values()), retain_graph=True, materialize_grads=True)
    largest = max(float(g.abs().max()) for g in gradients.values())
    for name, mine in zip(named, found, strict=True):
        off = float((mine - gradients[name]).abs().max())
        assert off <= tolerance * largest, f"the gradient by {name} is {off / largest:.2g} off"
