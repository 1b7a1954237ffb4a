"""Rectifiers in all spellings: each is read as one, or refused by name; and nothing harmless is."""

from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Any, cast

import pytest
import timm
import torch
import torch.nn.functional as F
from tests.attributions.test_propagation import MEMBERS, Written, members
from tests.networks import batch, network
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradsculpt.attributions import Attribution, DeepLift, GradCAM, Gradient, GuidedBackprop
from gradsculpt.eager import eager
from gradsculpt.errors import ModelError

Way = Callable[[Tensor], Tensor]


def assigned(t: Tensor) -> Tensor:
    t[t < 0] = 0
    return t


def filled_in_place(t: Tensor) -> Tensor:
    return t.masked_fill_(t < 0, 0)


def put(t: Tensor) -> Tensor:
    return t.index_put((t < 0,), torch.zeros((), dtype=t.dtype))


def kept(t: Tensor) -> Tensor:
    result = torch.zeros_like(t)
    result[t > 0] = t[t > 0]
    return result


def without_a_trace(t: Tensor) -> Tensor:
    with torch.no_grad():
        on = (t > 0).to(t.dtype)
    return t * on


def in_place_mask(t: Tensor) -> Tensor:
    on = torch.zeros_like(t)
    on[t > 0] = 1
    return t * on


def relu_times_one(t: Tensor) -> Tensor:
    return torch.relu(t) * 1.0


@cache
def _scripted() -> Any:
    return torch.jit.script(relu_times_one)


def in_place(view: Way) -> Way:
    """Rectify a map by way of something that is a view of it, as maps are laid out where nobody interferes."""

    def rectified(t: Tensor) -> Tensor:
        F.relu(view(t), inplace=True)
        return t

    return rectified


READ: dict[str, Way] = {
    "maximum": lambda t: torch.maximum(t, torch.zeros_like(t)),
    "maximum of a number": lambda t: torch.maximum(t, torch.zeros((), dtype=t.dtype)),
    "maximum, swapped": lambda t: torch.maximum(t.new_zeros(t.shape), t),
    "max": lambda t: torch.max(t, torch.zeros_like(t)),
    "Tensor.max": lambda t: t.max(torch.zeros(1, dtype=t.dtype)),
    "fmax": lambda t: torch.fmax(t, torch.zeros_like(t)),
    "clamp at a tensor": lambda t: t.clamp(min=torch.zeros((), dtype=t.dtype)),
    "clamp at a map": lambda t: t.clamp(min=torch.zeros_like(t)),
    "clip_": lambda t: t.clip_(0),
    "clamp_min_": lambda t: t.clamp_min_(0),
    "clamp of floats": lambda t: torch.clamp(t, 0.0, None),
    "threshold_": lambda t: torch.threshold_(t, 0, 0),
    "prelu": lambda t: F.prelu(t, torch.zeros(4, dtype=t.dtype)),
    "view": in_place(lambda t: t.view(len(t), -1)),
    "reshape": in_place(lambda t: t.reshape(-1)),
    "flatten": in_place(lambda t: t.flatten(1)[:, :]),
    "contiguous": in_place(lambda t: t.contiguous()),
    "rrelu": lambda t: F.rrelu(t, 0.0, 0.0),
}

REFUSED: dict[str, Way] = {
    "times a comparison": lambda t: t * (t > 0),
    "times a comparison, swapped": lambda t: (t >= 0).to(t) * t,
    "times a comparison, in place": lambda t: t.mul_(t > 0),
    "times not a comparison": lambda t: t * ~(t < 0),
    "times a comparison of the detached": lambda t: t * (t.detach() > 0),
    "times a comparison of the data": lambda t: t * (t.data > 0),
    "times a comparison without gradient": without_a_trace,
    "times a mask set in place": in_place_mask,
    "times a sign": lambda t: t * (t.sign() + 1) / 2,
    "times a detached sign": lambda t: t * (t.detach().sign() + 1) / 2,
    "times a step": lambda t: t * torch.heaviside(t.detach(), t.new_zeros(())),
    "where": lambda t: torch.where(t > 0, t, 0.0),
    "where, zeros": lambda t: torch.where(t > 0, t, torch.zeros_like(t)),
    "Tensor.where": lambda t: t.where(t > 0, t.new_zeros(())),
    "masked_fill": lambda t: t.masked_fill(t < 0, 0),
    "masked_fill_": filled_in_place,
    "assignment": assigned,
    "index_put": put,
    "kept by a mask": kept,
    "magnitude": lambda t: (t + t.abs()) / 2,
    "magnitude, function": lambda t: (t + abs(t)) * 0.5,
    "maximum with a product": lambda t: torch.maximum(t, 0 * t),
    "max with a product": lambda t: torch.max(t, 0 * t),
    "clamp at a product": lambda t: t.clamp(min=0 * t),
    "clamp at a detached product": lambda t: torch.clamp(t, min=0 * t.detach() - 0.0),
    "clamp between products": lambda t: t.clamp(min=torch.zeros_like(t), max=t.abs() + 1),
    "minimum": lambda t: -torch.minimum(-t, torch.zeros_like(t)),
    "clamp above": lambda t: t - t.clamp(max=0),
    "clamp above, function": lambda t: -torch.clamp_max(-t, 0),
    "overload": lambda t: torch.ops.aten.relu.default(t),
    "packet": lambda t: torch.ops.aten.threshold(t, 0, 0),
    "scripted": lambda t: _scripted()(t),
    "magnitude by a root": lambda t: (t + (t * t).sqrt()) / 2,
    "magnitude by powers": lambda t: (t + (t**2) ** 0.5) / 2,
    "magnitude by another power": lambda t: (t + t.square().sqrt()) / 2,
    "largest of a stack": lambda t: torch.stack((t, torch.zeros_like(t))).amax(0),
    "largest of a stack, with its place": lambda t: torch.stack((torch.zeros_like(t), t)).max(0).values,
    "first of a sorted stack": lambda t: torch.stack((t, torch.zeros_like(t))).sort(0, descending=True).values[0],
    "floor": lambda t: F.relu(t) + t.floor() * 0,
    "softshrink": lambda t: F.softshrink(t, 0.0) + F.relu(t) * 0,
}


@members
@pytest.mark.parametrize("way", READ)
def test_what_can_be_read_as_a_rectifier_is_one(attribution: Attribution, way: str) -> None:
    x, y = batch()
    torch.testing.assert_close(attribution(Written(READ[way]).eval(), x, y), attribution(Written(F.relu), x, y))


@members
@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_read_is_refused_or_right(attribution: Attribution, way: str) -> None:
    x, y = batch()
    expected = attribution(Written(F.relu), x, y)
    try:
        maps = attribution(Written(REFUSED[way]), x, y)
    except ModelError as error:
        assert "kink" in str(error) or "TorchScript" in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        assert "squeeze" not in str(error)  # noqa: PT017
    else:
        torch.testing.assert_close(maps, expected)


def test_the_message_names_the_function_and_the_line() -> None:
    x, y = batch()
    with pytest.raises(ModelError, match=r"computes where in line \d+ of .*test_kinks \(WhereB"):
        GuidedBackprop()(Written(REFUSED["where"]), x, y)
    with pytest.raises(ModelError, match=r"computes abs in line \d+ of .*AbsBackward0"):
        GuidedBackprop()(Written(REFUSED["magnitude"]), x, y)


@pytest.mark.parametrize("low", [-0.5, 0.1, torch.full((1, 4, 1, 1), 0.2, dtype=torch.float64)])
@pytest.mark.parametrize("way", ["clamp", "maximum"])
def test_a_rectifier_may_be_cut_at_another_level(way: str, low: float | Tensor) -> None:
    x, y = batch()
    level = torch.as_tensor(low, dtype=x.dtype)
    ways = {"clamp": lambda t: t.clamp(min=low), "maximum": lambda t: torch.maximum(level, t)}
    expected = GuidedBackprop()(Written(lambda t: F.relu(t - level) + level), x, y)
    torch.testing.assert_close(GuidedBackprop()(Written(ways[way]), x, y), expected)
    expected = DeepLift()(Written(lambda t: F.relu(t - level) + level), x, y)
    torch.testing.assert_close(DeepLift()(Written(ways[way]), x, y), expected)


GATES: list[tuple[Way, Way]] = [
    (lambda t: t * t.sigmoid(), F.silu),
    (lambda t: t.sigmoid().mul(t), F.silu),
    (lambda t: t.mul_(torch.sigmoid(t)), F.silu),
    (lambda t: t * torch.sigmoid(1.7 * t), lambda t: F.silu(1.7 * t) / 1.7),
    (lambda t: t * F.hardsigmoid(t), F.hardswish),
]


@pytest.mark.parametrize("case", range(len(GATES)))
def test_a_gate_of_the_map_itself_is_a_rectifier(case: int) -> None:
    x, y = batch()
    way, plain = GATES[case]
    torch.testing.assert_close(GuidedBackprop()(Written(way), x, y), GuidedBackprop()(Written(plain), x, y))
    other = GuidedBackprop()(Written(lambda t: F.relu(t) * (0.5 * t) * (2 + t).sigmoid()), x, y)
    gated = GuidedBackprop()(Written(lambda t: F.relu(t) * t.mul(0.5) * torch.special.expit(2 + t)), x, y)
    torch.testing.assert_close(other, gated)


def test_a_threshold_is_on_above_itself() -> None:
    x, y = batch()
    # Jumps are flat, so that only what is above the threshold counts.
    expected = GuidedBackprop()(Written(lambda t: F.relu(t - 0.3) + 0.3), x, y)
    seen = GuidedBackprop()(lambda t: _like(Written(F.relu), t, lambda z: F.threshold(z, 0.3, 0.3)), x, y)
    torch.testing.assert_close(seen, expected)


def _like(model: Written, t: Tensor, way: Way) -> Tensor:
    model.activate = way
    return model(t)


HARMLESS: dict[str, Way] = {
    "normalised": lambda t: F.normalize(t, dim=1) * t.norm(dim=1, keepdim=True).clamp(min=1e-12).sqrt(),
    "stable softmax": lambda t: (t - t.detach().amax(1, keepdim=True)).softmax(1) + t,
    "fixed mask": lambda t: t.masked_fill(torch.arange(6) > 4, 0.0),
    "fixed where": lambda t: torch.where(torch.arange(6) > 4, 0.0, t),
    "largest": lambda t: t + t.amax((2, 3), keepdim=True) + t.max(dim=1, keepdim=True).values,
    "largest of maps": lambda t: torch.stack((t[:, ::2], t[:, 1::2])).amax(0).repeat(1, 2, 1, 1),
    "length": lambda t: t / (1 + (t * t).sum(1, keepdim=True)).sqrt(),
    "largest, by place": lambda t: t + t.gather(1, t.argmax(1, keepdim=True)),
    "gate": lambda t: t * F.hardsigmoid(t.mean(1, keepdim=True)) + F.softsign(t),
    "shape": lambda t: t.reshape(t.shape) * (1 + torch.zeros(t.size(1), 1, 1, dtype=t.dtype)),
    "parameters": lambda t: t * (torch.ones(4, 1, 1, dtype=t.dtype, requires_grad=True) - 0.5).abs().clamp(max=1),
    "weights of a mask": lambda t: t * (torch.ones(4, 1, 1, dtype=t.dtype, requires_grad=True) > 0),
}


@pytest.mark.parametrize("way", HARMLESS)
def test_what_is_no_activation_keeps_its_derivative(way: str) -> None:
    x, y = batch()

    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 4, 3, padding=1).double(), nn.Linear(144, 3).double()
    maps = GuidedBackprop()(lambda t: last(HARMLESS[way](first(t).relu()).flatten(1)), x, y)
    z = first(x).detach()
    on = z.relu().requires_grad_()
    (g,) = torch.autograd.grad(last(HARMLESS[way](on).flatten(1)).gather(1, y[:, None]).sum(), on)
    inputs = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(first(inputs), inputs, g * (g > 0) * (z > 0))
    torch.testing.assert_close(maps, expected)


NETWORKS = [
    "test_vit",
    "test_resnet",
    "test_efficientnet",
    "test_convnext2",
    "test_maxvit",
    "test_nfnet",
    "test_byobnet",
]


@pytest.mark.parametrize("name", NETWORKS)
def test_known_networks_are_not_refused(name: str) -> None:
    model = timm.create_model(name, num_classes=3).eval()
    x = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    assert GuidedBackprop()(model, x).any()


def _jit(model: nn.Sequential, x: Tensor, how: str) -> Any:
    if how == "traced":
        return torch.jit.trace(model, x)
    if how == "scripted":
        return torch.jit.script(model)
    if how == "part":
        model[0] = torch.jit.trace(model[0], x)
        return model
    traced = torch.jit.trace(model, x)
    return lambda t: traced(t)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("how", ["traced", "scripted", "part"])
@pytest.mark.parametrize("attribution", [*MEMBERS, GradCAM()], ids=lambda member: type(member).__name__)
def test_torchscript_is_refused_by_name(attribution: Attribution, how: str) -> None:
    x, y = batch()
    model = _jit(network().eval(), x, how)
    with pytest.raises(ModelError, match="is TorchScript"):
        attribution(model, x, y)
    assert Gradient()(model, x, y).any()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@members
def test_torchscript_is_refused_behind_a_function_too(attribution: Attribution) -> None:
    x, y = batch()
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    model = _jit(layers, x, "behind")
    for _ in range(4):  # it is optimised as it runs
        with pytest.raises(ModelError, match=r"kink|TorchScript|relevance is not conserved|contributions"):
            attribution(model, x, y)


COMPILED: dict[str, Callable[[nn.Sequential], Any]] = {
    "whole": torch.compile,
    "twice": lambda model: torch.compile(torch.compile(model)),
    "part": lambda model: nn.Sequential(cast("nn.Module", torch.compile(model[:3])), *model[3:]),
    "in place": lambda model: _in_place(model, model),
    "part in place": lambda model: _in_place(model, model[0]),
    "forward": lambda model: _forward(model),
    "bound": lambda model: torch.compile(model.forward),
    "partial": lambda model: torch.compile(partial(_call, model)),
}


def _call(model: nn.Module, t: Tensor) -> Tensor:
    return model(t)


def _in_place(model: nn.Module, part: nn.Module) -> nn.Module:
    part.compile()
    return model


def _forward(model: nn.Module) -> nn.Module:
    model.forward = torch.compile(model.forward)
    return model


@pytest.mark.parametrize("how", COMPILED)
@pytest.mark.parametrize("attribution", [*MEMBERS, GradCAM()], ids=lambda member: type(member).__name__)
def test_compiled_networks_are_seen_as_they_were_written(attribution: Attribution, how: str) -> None:
    x, y = batch()
    expected = attribution(network().eval(), x, y)
    model = COMPILED[how](network().eval())
    if how == "partial" and isinstance(attribution, GradCAM):
        with pytest.raises(ModelError, match="in which no layer can be found"):
            attribution(model, x, y)
        return
    torch.testing.assert_close(attribution(model, x, y), expected)


def test_a_wrapper_of_a_compiled_function_is_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    compiled = torch.compile(model.forward)

    @wraps(compiled)
    def doubled(t: Tensor) -> Tensor:
        return 2 * compiled(t)

    assert eager(doubled, "this") is doubled


def test_a_layer_of_a_compiled_network_is_found_by_name_and_as_a_module() -> None:
    x, y = batch()
    model = network().eval()
    expected = GradCAM("0")(model, x, y)
    compiled = torch.compile(model)
    for layer in ("0", "_orig_mod.0", model[0]):
        torch.testing.assert_close(GradCAM(layer)(compiled, x, y), expected)


@members
def test_traced_graphs_of_python_are_seen_into(attribution: Attribution) -> None:
    x, y = batch()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double().eval()
    expected = attribution(model, x, y)
    torch.testing.assert_close(attribution(torch.fx.symbolic_trace(model), x, y), expected)
    exported = torch.export.export(model, (x,)).module()
    with pytest.raises(ModelError):
        attribution(exported, x, y)


@members
def test_an_eager_network_is_left_as_it_is(attribution: Attribution) -> None:
    x, y = batch()
    model = network().eval()
    model[0].compile()
    call, buffers = model[0]._compiled_call_impl, dict(model.named_buffers())
    attribution(model, x, y)
    assert model[0]._compiled_call_impl is call
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())


@pytest.mark.parametrize("reentrant", [False, True])
@members
def test_activation_checkpointing_is_refused(attribution: Attribution, reentrant: bool) -> None:
    x, y = batch()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    with pytest.raises(ModelError, match=r"torch\.utils\.checkpoint"):
        attribution(lambda t: model[2:](checkpoint(model[:2], t, use_reentrant=reentrant)), x, y)
