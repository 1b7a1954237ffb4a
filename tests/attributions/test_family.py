"""What every attribution keeps to, whatever its map: laws over the whole tuple."""

from typing import Any

import pytest
import torch
from tests.networks import Recorder, batch, network, same_state, state
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from gradsculpt.attributions import (
    ATTRIBUTIONS,
    LRP,
    Attribution,
    DeepLift,
    GradCAM,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    MoreauGrad,
    RelEx,
    Smoothed,
    SmoothGrad,
    SmoothGradSquared,
    Sparsified,
    SparsifiedGradient,
    SparsifiedSmoothGrad,
    VarGrad,
)
from gradsculpt.errors import ArgumentError

FEW: dict[str, int] = {"samples": 3, "steps": 3}
# The derivative of a fixed point is right only at the fixed point, which takes the steps that it takes.
EXACT: dict[type[Attribution], dict[str, Any]] = {MoreauGrad: {"sigma": 0.0, "steps": 100, "tolerance": 1e-12}}


def small(cls: type[Attribution]) -> Attribution:
    """Build a member as the commands do, but with few copies."""
    few = {name: value for name, value in FEW.items() if hasattr(cls(), name)}
    return cls(**EXACT.get(cls, few))


MEMBERS = [small(cls) for cls in ATTRIBUTIONS]
members = pytest.mark.parametrize("attribution", MEMBERS, ids=[type(member).__name__ for member in MEMBERS])


@members
def test_one_finite_map_an_image_that_is_repeated_by_a_second_call(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()
    maps = attribution(model, x, y)
    assert maps.shape == (x[:, :1] if isinstance(attribution, GradCAM) else x).shape
    assert maps.isfinite().all()
    assert maps.flatten(1).any(dim=1).all()
    assert torch.equal(attribution(model, x, y), maps)
    assert attribution(network().eval().float(), x.float(), y).dtype == torch.float32


@members
@pytest.mark.parametrize("wrong", [100.0, torch.nan])
def test_batch_mates_do_not_matter(attribution: Attribution, wrong: float) -> None:
    model, (x, y) = network().eval(), batch(3)
    expected = attribution(model, x, y)[0]
    other = x.clone()
    other[1:] *= wrong
    torch.testing.assert_close(attribution(model, other, y)[0], expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(attribution(model, x[:1], y[:1])[0], expected, rtol=1e-10, atol=1e-12)
    assert bool(attribution(model, other, y)[1].isnan().any()) == (wrong != 100.0)


@members
def test_an_image_without_a_finite_logit_has_no_map(attribution: Attribution) -> None:
    # A rectifier takes NaN for what it cuts off, and hands nothing back: the map would be 0.
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    model, (x, y) = nn.Sequential(*layers).double(), batch(3)
    x[1], x[2] = torch.nan, torch.inf
    assert model(x).isfinite().all(dim=1).tolist() == [True, False, False]
    maps = attribution(model, x, y)
    assert maps[0].isfinite().all()
    assert maps[1:].isnan().all()


@members
@pytest.mark.parametrize("create_graph", [False, True])
def test_nothing_is_left_behind(attribution: Attribution, create_graph: bool) -> None:
    # Relevance and the rescale rule are not defined under batch statistics, and say so.
    model, (x, y) = network(dropout=0.5, norm=not isinstance(attribution, LRP | DeepLift)), batch()
    before, copy, random = state(model), x.clone(), torch.get_rng_state()
    maps = attribution(model, x, None if create_graph else y, create_graph=create_graph)
    assert torch.equal(x, copy)
    assert not x.requires_grad
    assert same_state(state(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert maps.requires_grad == create_graph


@members
def test_no_target_means_the_class_predicted_for_the_clean_image(attribution: Attribution) -> None:
    model, (x, _) = network().eval(), batch(5)
    predicted = model(x).argmax(dim=1)
    assert len(set(predicted.tolist())) > 1
    assert torch.equal(attribution(model, x), attribution(model, x, predicted))
    assert not torch.equal(attribution(model, x), attribution(model, x, (predicted + 1) % 3))


@members
def test_maps_can_be_differentiated_further(attribution: Attribution) -> None:
    model, (x, y) = network(channels=1, norm=False), batch(2, channels=1)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: attribution(model, t, y, create_graph=True), x, fast_mode=True)
    parameter = next(model.parameters())
    loss = attribution(model, x.detach(), y, create_graph=True).square().sum()
    (found,) = torch.autograd.grad(loss, parameter)
    change = torch.full_like(parameter, 1e-6)
    sums = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter.add_(change, alpha=sign)
        sums.append(attribution(model, x.detach(), y).square().sum())
        with torch.no_grad():
            parameter.sub_(change, alpha=sign)
    torch.testing.assert_close(found.sum() * 2e-6, sums[0] - sums[1], rtol=1e-4, atol=1e-12)


@members
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(attribution: Attribution, mode: type) -> None:
    model, (x, y) = network().eval(), batch()
    expected = attribution(model, x, y)
    with mode():
        for create_graph in (False, True):
            found = attribution(model, x.clone(), y.clone(), create_graph=create_graph)
            torch.testing.assert_close(found, expected)


@members
def test_frozen_networks_plain_callables_and_other_layouts(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()
    expected = attribution(model, x, y)
    model.requires_grad_(False)
    assert torch.equal(attribution(model, x, y), expected)
    if not isinstance(attribution, GradCAM):
        plain = network(norm=False).eval()  # with normalisation, a module's passes may be fused, which rounds otherwise
        assert torch.equal(attribution(lambda t: plain(t), x, y), attribution(plain, x, y))
        torch.testing.assert_close(attribution(lambda t: model(t), x, y), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(attribution(model, x.to(memory_format=torch.channels_last), y), expected)
    inplace = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 3)).double()
    assert attribution(inplace, x, y).isfinite().all()


@members
def test_autocast_leaves_the_way_to_the_parameters(attribution: Attribution) -> None:
    model, (x, _) = network(norm=False).float(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        maps = attribution(model, x.float(), create_graph=True)
        assert maps.dtype == torch.float32
        gradients = torch.autograd.grad(maps.square().sum(), list(model.parameters())[:1])
    assert gradients[0].any()


@members
def test_wrong_arguments_are_refused(attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch()
    with pytest.raises(ArgumentError, match=r"x has shape \[3, 6, 6\]"):
        attribution(model, x[0], y[:1])
    with pytest.raises(ArgumentError, match=r"dtype torch\.uint8"):
        attribution(model, x.byte(), y)
    with pytest.raises(ArgumentError, match=r"one integer for each image, shape \[4\]"):
        attribution(model, x, y[:2])
    with pytest.raises(ArgumentError, match=r"from 0 to 3 but the model has 3 outputs"):
        attribution(model, x, torch.tensor([0, 1, 3, 2]))


@pytest.mark.parametrize("cls", [Smoothed, IntegratedGradients])
def test_passes_are_no_larger_than_asked_and_do_not_change_the_map(cls: type) -> None:
    model, (x, y) = network().eval(), batch(2)
    several = {"samples" if cls is Smoothed else "steps": 7}
    expected = cls(**several, batch_size=1000)(model, x, y)
    for batch_size, sizes in ((5, [4, 4, 4, 2]), (1, [2] * 7)):
        recorder = Recorder(model)
        # A function, as a module would be passed through by way of a copy that nobody else sees.
        found = cls(**several, batch_size=batch_size)(recorder.__call__, x, y)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        assert [len(seen) for seen in recorder.seen] == sizes


@members
def test_hooks_of_others_are_called_and_stay(attribution: Attribution) -> None:
    model, (x, y) = network(norm=False).eval(), batch()
    expected = attribution(model, x, y)
    seen: list[torch.Size] = []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    torch.testing.assert_close(attribution(model, x, y), expected, rtol=1e-10, atol=1e-12)
    assert seen
    assert len(model[0]._forward_hooks) == 1


@members
def test_nothing_is_left_behind_by_a_failure(attribution: Attribution) -> None:
    class Failing(nn.Module):
        def forward(self, t: Tensor) -> Tensor:
            raise ZeroDivisionError

    model, (x, y) = network(norm=False).eval(), batch()
    expected = attribution(model, x, y)
    broken = nn.Sequential(*model[:-1], Failing(), model[-1])
    before = state(broken)
    with pytest.raises(ZeroDivisionError):
        attribution(broken, x, y)
    assert same_state(state(broken), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in broken.modules())
    assert all(parameter.grad is None for parameter in broken.parameters())
    torch.testing.assert_close(attribution(model, x, y), expected)


GRADIENT_FAMILY = [a for a in MEMBERS if not isinstance(a, GuidedBackprop | DeepLift | GradCAM | LRP)]


@pytest.mark.parametrize("attribution", GRADIENT_FAMILY, ids=[type(member).__name__ for member in GRADIENT_FAMILY])
def test_vision_transformers(attribution: Attribution) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(8, 4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3).double()
        nn.init.normal_(model.heads.head.weight)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    maps = attribution(model.eval(), x, torch.tensor([0, 2]))
    assert maps.isfinite().all()
    assert maps.flatten(1).any(dim=1).all()
    torch.testing.assert_close(attribution(model, x[1:], torch.tensor([2]))[0], maps[1], rtol=1e-8, atol=1e-10)


SETTINGS: dict[type[Attribution], dict[str, Any]] = {
    Gradient: {"output": "logit"},
    IntegratedGradients: {"steps": 50, "rule": "midpoint", "baseline": 0.0, "output": "logit"},
    SmoothGrad: {"samples": 50, "sigma": 0.15, "kind": "mean", "seed": 0},
    SmoothGradSquared: {"samples": 50, "sigma": 0.15, "kind": "square", "seed": 0},
    VarGrad: {"samples": 50, "sigma": 0.15, "kind": "variance", "seed": 0},
    SparsifiedGradient: {"keep": 0.1, "saturated": None},
    SparsifiedSmoothGrad: {"samples": 64, "sigma": 0.1, "base": Sparsified(Gradient("logit"), 0.1, 0.01)},
    MoreauGrad: {"penalty": None, "lambda_": 1.0, "sigma": 0.1, "samples": 8, "steps": 80, "error": 0.35},
    RelEx: {"sparsity": 1e-4, "background": 1.0, "sigma": 0.1, "steps": 50, "step_size": 0.1, "momentum": 0.99},
    Smoothed: {"base": Gradient("logit"), "samples": 50, "sigma": 0.15, "kind": "mean"},
    Sparsified: {"base": Gradient("logit"), "keep": 0.1, "saturated": None},
}
"""SmoothGrad as in the experiments of MoreauGrad; the sparsified ones and MoreauGrad as in its code, in fewer draws."""


@pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)
def test_what_is_not_said_is_as_published(cls: type[Attribution]) -> None:
    made = cls()
    assert {name: getattr(made, name) for name in SETTINGS[cls]} == SETTINGS[cls]
