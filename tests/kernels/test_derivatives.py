"""Every layer of an image network: its derivatives up to the third are those of its values, by central differences."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from gradsculpt.attacks import TargetedManipulation
from gradsculpt.attributions import Gradient
from gradsculpt.diagnosis import explained
from gradsculpt.errors import ModelError
from gradsculpt.gradients import Recording, gradient_at, input_gradient
from gradsculpt.kernels import Reading, primitive, twice_differentiable
from gradsculpt.objectives import HessianNorm
from tests.kernels.layers import CASES, Layer, randn

Mode = Callable[[], AbstractContextManager[object]]
MODES: dict[str, Mode] = {
    "primitive": primitive,
    "twice differentiable": lambda: twice_differentiable(Reading()),
}
ORDERS = (1, 2, 3)


def level(layer: Layer, points: list[Tensor], order: int, mode: str) -> Tensor:
    """Return a number that is made of derivatives of a layer up to an order, with a graph."""
    torch.manual_seed(0)  # of dropout
    leaves = [point.requires_grad_() for point in points]
    with MODES[mode]():
        value = layer(*leaves)
    number = ((0.4 * value + 0.3 * value.square()).sin() * torch.linspace(0.3, 1.7, value.numel()).view_as(value)).sum()
    for k in range(order):
        slopes = torch.autograd.grad(number, leaves, create_graph=True, materialize_grads=True)
        number = sum(
            ((slope * randn(*slope.shape, seed=k + 5)).sum() for slope in slopes), torch.zeros((), dtype=torch.float64)
        )
    return number


def directional(layer: Layer, points: tuple[Tensor, ...], order: int, mode: str) -> tuple[float, float]:
    """Return a derivative of that order along a direction, and the central difference of the one below."""
    along = [randn(*point.shape, seed=order + 20) for point in points]

    def at(step: float) -> float:
        return level(layer, [p + step * a for p, a in zip(points, along, strict=True)], order - 1, mode).item()

    leaves = [point.clone() for point in points]
    below = level(layer, leaves, order - 1, mode)
    slopes = torch.autograd.grad(below, leaves, materialize_grads=True) if below.requires_grad else leaves
    derivative = sum(float((s * a).sum()) for s, a in zip(slopes, along, strict=True)) if below.requires_grad else 0.0
    h = 1e-5
    return derivative, (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


@pytest.mark.parametrize("case", CASES)
def test_three_derivatives_are_those_of_the_values(case: str) -> None:
    # Where the modes do not differ, one of them is enough.
    modes = list(MODES)[0 if case.startswith("normalisation") else 1 :]
    for mode, order in product(modes, ORDERS):
        derivative, difference = directional(*CASES[case], order, mode)
        assert derivative == pytest.approx(difference, rel=1e-5, abs=1e-6), f"{mode}, order {order}"


@pytest.mark.parametrize("case", [case for case in CASES if "dropout" not in case])
def test_values_are_pytorchs(case: str) -> None:
    layer, points = CASES[case]
    torch.manual_seed(0)
    expected = layer(*points)
    for mode in MODES.values():
        torch.manual_seed(0)
        with mode():
            torch.testing.assert_close(layer(*points), expected, rtol=1e-12, atol=1e-13)


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def loop(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Attention [N, H, L, E] by one query at a time; of the mask, infinite entries are left out."""
    result = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    rows = []
    for n, h, i in product(*map(range, q.shape[:-1])):
        seen = [j for j in range(k.shape[-2]) if mask is None or mask[i, j] > -torch.inf]
        bias = [0.0 if mask is None else mask[i, j] for j in seen]
        factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
        powers = [(factor * (q[n, h, i] * k[n, h, j]).sum() + b).exp() for j, b in zip(seen, bias, strict=True)]
        rows.append(sum((p * v[n, h, j] for p, j in zip(powers, seen, strict=True)), result[n, h, i]) / sum(powers))
    return torch.stack(rows).view_as(result)


MASK = torch.where(torch.ones(3, 4).tril(1).bool(), randn(3, 4), -torch.inf)
CAUSAL = torch.where(torch.ones(3, 4).tril().bool(), 0.0, -torch.inf).double()
ATTENTION: dict[str, tuple[Attend, Attend]] = {
    "plain": (F.scaled_dot_product_attention, loop),
    "scaled": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.7),
        lambda q, k, v: loop(q, k, v, scale=0.7),
    ),
    "float mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, MASK),
        lambda q, k, v: loop(q, k, v, MASK),
    ),
    "boolean mask": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, CAUSAL == 0),
        lambda q, k, v: loop(q, k, v, CAUSAL),
    ),
    "causal": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: loop(q, k, v, CAUSAL),
    ),
    "two queries a key": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True),
        lambda q, k, v: loop(q, k[:, :1].repeat(1, 2, 1, 1), v[:, :1].repeat(1, 2, 1, 1)),
    ),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_a_loop_over_queries(name: str) -> None:
    points = [randn(1, 2, 3, 2), randn(1, 2, 4, 2), randn(1, 2, 4, 3)]
    for order in range(4):
        found = []
        for function, mode in zip(ATTENTION[name], (MODES["primitive"], nullcontext), strict=True):
            leaves = [point.clone().requires_grad_() for point in points]
            with mode():
                number = function(*leaves).sin().sum()
            for _ in range(order):
                slopes = torch.autograd.grad(number, leaves, create_graph=True)
                number = torch.stack([slope.square().sum() for slope in slopes]).sum()
            found.append([number, *torch.autograd.grad(number, leaves)])
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


def layered(norm: Callable[[], nn.Module]) -> nn.Module:
    """A patch convolution, a normalisation, GELU and a residual linear layer, another one, the mean, and a head."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return x + F.gelu(self.linear(x))

    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2).transpose(1, 2)

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(1)

    torch.manual_seed(0)
    body = (nn.Conv2d(3, 6, 4, 4), Tokens(), norm(), Residual(), norm(), Mean())
    return nn.Sequential(*body, nn.Linear(6, 3)).double()


class Swapped(nn.Module):
    """A normalisation of maps [N, C, L], given tokens [N, L, C]."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return result


NORMS: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.LayerNorm(6),
    "group": lambda: Swapped(nn.GroupNorm(2, 6)),
    "instance": lambda: Swapped(nn.InstanceNorm1d(6, affine=True)),
    "root mean square": lambda: nn.RMSNorm(6),
    "batch": lambda: Swapped(nn.BatchNorm1d(6)),
    "batch, bare": lambda: Swapped(nn.BatchNorm1d(6, affine=False, track_running_stats=False)),
}


@pytest.mark.parametrize("norm", NORMS)
def test_the_hessian_norm_of_a_normalised_network_descends_along_its_gradient(norm: str) -> None:
    network, x, y = layered(NORMS[norm]), randn(3, 3, 8, 8), torch.tensor([0, 1, 2])
    parameters = list(network.parameters())
    along = [randn(*parameter.shape, seed=i) for i, parameter in enumerate(parameters)]

    def loss() -> Tensor:
        torch.manual_seed(1)
        return HessianNorm(1.0)(network, x, y).loss

    def moved(step: float) -> float:
        with torch.no_grad():
            for parameter, direction in zip(parameters, along, strict=True):
                parameter.add_(direction, alpha=step)
        value = loss().item()
        with torch.no_grad():
            for parameter, direction in zip(parameters, along, strict=True):
                parameter.sub_(direction, alpha=step)
        return value

    loss().backward()
    slope = sum(float((p.grad * d).sum()) for p, d in zip(parameters, along, strict=True) if p.grad is not None)
    h = 1e-4
    difference = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    assert slope == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("name", ["layer", "instance", "batch", "batch, bare"])
def test_running_statistics_and_refusals_are_pytorchs(name: str) -> None:
    for mode in MODES.values():
        if name.startswith("batch"):
            with mode(), pytest.raises(ValueError, match="more than 1 value per channel"):
                F.batch_norm(torch.ones(1, 3, 1, 1), None, None, training=True)
        ours, plain = (nn.InstanceNorm2d(4, track_running_stats=True).double() for _ in range(2))
        with mode():
            found = ours(randn(2, 4, 3, 3))
        torch.testing.assert_close(found, plain(randn(2, 4, 3, 3)))
        torch.testing.assert_close(ours.state_dict(), plain.state_dict())


FAMILIES = ("normalisation", "attention")
APART = ("module", "encoder", "RNN", "LSTM", "GRU", "local response", "dropout", "running", "fixed")
HALVES = [case for case in CASES if case.startswith(FAMILIES) and not any(word in case for word in APART)]
"""Layers without weights or statistics of their own, which would be in another precision."""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", HALVES)
def test_half_precision_stays_what_it_is_and_loses_nothing(case: str, dtype: torch.dtype) -> None:
    layer, points = CASES[case]
    halves = [point.to(dtype) for point in points]
    for mode in MODES.values():
        leaves = [half.clone().requires_grad_() for half in halves]
        with mode():
            value = layer(*leaves)
        assert value.dtype in (dtype, torch.float32)
        exact = layer(*(half.double() for half in halves))
        torch.testing.assert_close(value.double(), exact, rtol=0.02, atol=0.02)
        (slope,) = torch.autograd.grad(value.float().sin().sum(), leaves[:1], create_graph=True)
        assert slope.dtype == dtype
        assert all(grad is None or grad.isfinite().all() for grad in torch.autograd.grad(slope.sum(), leaves))


def test_under_autocast_the_layers_give_what_autocast_gives() -> None:
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True), nn.Flatten(2))
    network = nn.Sequential(*body, nn.LayerNorm(4), nn.RMSNorm(4), nn.TransformerEncoderLayer(4, 2, 8, 0.0))
    x = randn(2, 3, 8, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = network(x), Recording(network, x)
        gradient = found.gradient(found.output[:, 0].float().sum(), create_graph=True)
    assert found.output.dtype == expected.dtype
    torch.testing.assert_close(found.output, expected, rtol=0.05, atol=0.05)
    gradient.square().sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())


def test_maps_with_a_graph_can_be_differentiated_wherever_the_user_does_it() -> None:
    torch.manual_seed(0)
    tokens = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Flatten(2), nn.Linear(4, 6))
    head = nn.Sequential(nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True), nn.Flatten(), nn.Linear(36, 3))
    network, x = nn.Sequential(tokens, head).double().eval(), randn(2, 3, 8, 8)
    maps = Gradient()(network, x, torch.tensor([0, 1]), create_graph=True)
    maps.square().sum().backward()
    weight = network.get_submodule("1.0.self_attn").in_proj_weight
    assert isinstance(weight, Tensor)
    found, along, h = weight.grad, randn(*weight.shape), 1e-5
    assert found is not None
    numbers = []
    for step in (h, -h):
        with torch.no_grad():
            weight += step * along
        numbers.append(Gradient()(network, x, torch.tensor([0, 1])).square().sum())
        with torch.no_grad():
            weight -= step * along
    assert float((found * along).sum()) == pytest.approx(float(numbers[0] - numbers[1]) / (2 * h), rel=1e-6)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, t: Tensor) -> Tensor:
        return t.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: object, g: Tensor) -> Tensor:
        return g


def margins(x: Tensor) -> Tensor:
    return F.multi_margin_loss(x, torch.zeros(len(x), dtype=torch.long), reduction="none")


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "unknown derivative": (margins, "PyTorch cannot differentiate multi_margin_loss as often as this takes"),
    "once": (lambda x: Once.apply(x).square(), "an autograd function of the network's own"),
    "checkpoint": (
        lambda x: torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=True),
        "Switch that off",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_differentiated_as_often_is_named(name: str) -> None:
    function, words = REFUSED[name]
    x = randn(2, 3).requires_grad_()
    with pytest.raises(ModelError, match=words):
        gradient_at(input_gradient(function, x, create_graph=True)[1], x)


class Recomputing(nn.Module):
    """A stage whose activations are computed again in the backward pass."""

    def __init__(self, *stage: nn.Module) -> None:
        super().__init__()
        self.stage = nn.Sequential(*stage)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.utils.checkpoint.checkpoint(self.stage, x, use_reentrant=False)
        return result


STAGES: dict[str, nn.Module] = {
    "softplus": nn.Softplus(3.0),
    "relu": nn.ReLU(),
    "batch normalisation": nn.BatchNorm2d(4),
    "attention": nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(36, 2, 8, 0.0)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_pass_that_would_be_computed_again_otherwise_is_refused(stage: str) -> None:
    layers = nn.Conv2d(3, 4, 3), STAGES[stage]
    network = nn.Sequential(Recomputing(*layers), nn.Flatten(), nn.Linear(144, 3)).double()
    x, y = randn(2, 3, 8, 8), torch.tensor([0, 1])
    for refused in (
        lambda: Recording(network, x),
        lambda: HessianNorm(1.0)(network, x, y),
        lambda: Gradient()(network, x, y, create_graph=True),
        lambda: TargetedManipulation(0.1, steps=1, smooth_beta=20)(network, Gradient(), x, y),
    ):
        with pytest.raises(ModelError, match=r"set_grad_checkpointing\(False\)"):
            refused()
    once = nn.Sequential(*layers, *list(network)[1:])
    torch.testing.assert_close(Gradient()(network, x, y), Gradient()(once, x, y))


def test_hooks_around_a_pass_stay_in_force() -> None:
    packed: list[Tensor] = []

    def pack(t: Tensor) -> Tensor:
        packed.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        Recording(layered(NORMS["layer"]), randn(2, 3, 8, 8))
    assert packed


def test_other_failures_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="out of memory"), explained():
        raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("derivative for aten::_scaled_dot_product_flash_attention_backward is not implemented", "scaled_dot_product"),
        ("the derivative for '_cudnn_rnn_backward' is not implemented. Double backwards is not supported", "cudnn_rnn"),
        ("batch_norm does not support 3rd+ order derivatives.", "batch_norm"),
        ("double backwards on roi_align not supported", "roi_align"),
        ("trying to differentiate twice a function that was marked with @once_differentiable", "of the network's own"),
    ],
)
def test_every_way_in_which_pytorch_says_it_is_understood(said: str, name: str) -> None:
    with pytest.raises(ModelError, match=name), explained():
        raise RuntimeError(said)


@pytest.mark.parametrize("hide", [torch.jit.trace, lambda network, _: torch.jit.script(network)])
def test_a_layer_normalisation_that_no_mode_sees_is_refused(hide: Callable[..., nn.Module]) -> None:
    # Its own third derivative is wrong, so HessianNorm would train for something else, silently.
    layers = nn.Conv2d(3, 4, 2, 2), nn.Flatten(2), nn.LayerNorm(16), nn.GELU(), nn.Flatten(), nn.Linear(64, 3)
    network, x, y = nn.Sequential(*layers).double(), randn(2, 3, 8, 8), torch.tensor([0, 1])
    hidden = hide(network, x)
    for refused in (
        lambda: HessianNorm(1.0)(hidden, x, y),
        lambda: Gradient()(hidden, x, y, create_graph=True),
    ):
        with pytest.raises(ModelError, match="a layer normalisation is hidden"):
            refused()
    torch.testing.assert_close(Gradient()(hidden, x, y), Gradient()(network, x, y))
