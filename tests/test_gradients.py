"""Input gradients against finite differences, and forward passes that leave no trace."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.gradients import input_gradient
from gradsculpt.isolation import random_state, seeded, undisturbed
from tests.networks import batch, network, same_state, state


def per_sample(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda x: model(x).square().sum(dim=1)


def test_gradient_agrees_with_central_differences() -> None:
    x, _ = batch(2)
    function = per_sample(network().eval())
    values, gradient = input_gradient(function, x)
    torch.testing.assert_close(values, function(x).detach())
    width = 1e-5
    for index in [(0, 0, 0, 0), (0, 2, 3, 4), (1, 1, 5, 5), (1, 0, 2, 2)]:
        up, down = x.clone(), x.clone()
        up[index] += width
        down[index] -= width
        difference = (function(up) - function(down)).sum() / (2 * width)
        assert gradient[index].item() == pytest.approx(difference.item(), rel=1e-6, abs=1e-8)


def test_nothing_is_left_on_input_or_parameters() -> None:
    x, _ = batch()
    model = network().eval()
    values, gradient = input_gradient(per_sample(model), x)
    assert not x.requires_grad
    assert x.grad is None
    assert not values.requires_grad
    assert not gradient.requires_grad
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    leaf = x.clone().requires_grad_()
    input_gradient(per_sample(model), leaf)
    assert leaf.requires_grad
    assert leaf.grad is None


def test_an_input_with_a_graph_is_cut_from_it() -> None:
    start = torch.ones(2, 3, requires_grad=True)
    _, gradient = input_gradient(lambda x: x.pow(3).sum(dim=1), 2 * start)
    assert gradient.tolist() == [[12.0] * 3] * 2
    assert start.grad is None


def test_second_order_with_respect_to_parameters_and_input() -> None:
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[3.0]], dtype=torch.float64, requires_grad=True)
    values, gradient = input_gradient(lambda t: (weight * t.pow(3)).sum(dim=1), x, create_graph=True)
    assert (values.item(), gradient.item()) == (54.0, 54.0)
    by_weight, by_x = torch.autograd.grad(gradient.sum(), (weight, x))
    assert (by_weight.item(), by_x.item()) == (27.0, 36.0)  # 3 x^2 and 6 w x


def test_second_order_of_a_network() -> None:
    model = network(norm=False)
    x = batch(1)[0].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: input_gradient(per_sample(model), t, create_graph=True)[1][0, 0], x, fast_mode=True
    )


def test_create_graph_leaves_an_input_that_needs_no_gradient_alone() -> None:
    x, _ = batch()
    _, gradient = input_gradient(per_sample(network(norm=False)), x, create_graph=True)
    assert gradient.requires_grad
    assert not x.requires_grad


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(mode: type, create_graph: bool) -> None:
    model, (x, _) = network().eval(), batch()
    expected = input_gradient(per_sample(model), x)[1]
    with mode():
        inside = x.clone()
        _, gradient = input_gradient(per_sample(model), inside, create_graph=create_graph)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(gradient.detach(), expected)
    assert not gradient.is_inference()


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_function_that_ignores_its_input_has_gradient_zero(create_graph: bool) -> None:
    weight = torch.ones(3, requires_grad=True)
    x = torch.randn(3, 2)
    for ignoring in (lambda t: torch.ones(len(t)), lambda t: weight.square()):
        values, gradient = input_gradient(ignoring, x, create_graph=create_graph)
        assert values.tolist() == [1.0] * 3
        assert torch.equal(gradient, torch.zeros(3, 2))


def test_layout_and_precision_are_kept() -> None:
    x = batch()[0].float().to(memory_format=torch.channels_last)
    _, gradient = input_gradient(lambda t: t.square().flatten(1).sum(dim=1), x)
    assert gradient.dtype == torch.float32
    assert gradient.shape == x.shape
    torch.testing.assert_close(gradient, 2 * x)


def test_undisturbed_restores_the_very_tensors() -> None:
    model, (x, _) = network(dropout=0.5), batch()
    buffers, before = dict(model.named_buffers()), state(model)
    with undisturbed(model):
        model(x)
        assert not torch.equal(model.get_buffer("1.running_mean"), before["1.running_mean"])
        assert model[1].num_batches_tracked == 1
    assert all(model.get_buffer(name) is buffer for name, buffer in buffers.items())
    assert same_state(state(model), before)
    assert model.training


def test_undisturbed_restores_after_an_exception() -> None:
    model, (x, _) = network(dropout=0.5), batch()
    buffers, before = dict(model.named_buffers()), state(model)
    random = torch.get_rng_state()

    def fail() -> None:
        model(x)
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"), undisturbed(model):
        fail()
    assert all(model.get_buffer(name) is buffer for name, buffer in buffers.items())
    assert same_state(state(model), before)
    assert torch.equal(torch.get_rng_state(), random)


def test_undisturbed_draws_the_same_numbers_inside_and_after() -> None:
    with undisturbed(network()):
        inside = torch.rand(5)
    assert torch.equal(torch.rand(5), inside)


def test_undisturbed_can_be_nested() -> None:
    model, (x, _) = network(), batch()
    before = state(model)
    with undisturbed(model):
        model(x)
        between = state(model)
        with undisturbed(model):
            model(x)
        assert same_state(state(model), between)
    assert same_state(state(model), before)


def test_undisturbed_takes_any_callable() -> None:
    with undisturbed(lambda x: x):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), inside)


@pytest.mark.parametrize("wrap", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_spectral_norm_does_not_iterate(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), wrap(nn.Linear(108, 3))).double()
    fresh, (x, _) = copy.deepcopy(model), batch()
    before = state(model)
    with undisturbed(model):
        model(x)
        assert not same_state(state(model), before)
    torch.testing.assert_close(model(x), fresh(x), rtol=0, atol=0)  # the next pass is the first
    assert same_state(state(model), state(fresh))


def test_undisturbed_keeps_buffers_registered() -> None:
    model = network()
    with undisturbed(model):
        assert set(dict(model.named_buffers())) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
        assert isinstance(model[1].running_mean, Tensor)
    assert set(model.state_dict()) == set(network().state_dict())


def test_where_a_value_is_not_finite_there_is_no_gradient() -> None:
    x = torch.tensor([[1.0, 2.0], [torch.nan, 2.0], [torch.inf, 2.0]])
    values, gradient = input_gradient(lambda t: t.relu().sum(dim=1), x)
    assert values.isfinite().tolist() == [True, False, False]
    assert gradient[0].tolist() == [1.0, 1.0]
    assert gradient[1:].isnan().all()
    _, gradient = input_gradient(lambda t: t[0].square().sum(), x[:1])  # one value for all
    assert gradient.tolist() == [[2.0, 4.0]]


def test_within_a_seed_every_block_begins_and_ends_with_it() -> None:
    model = network(dropout=0.5)
    with seeded(3):
        drawn = [torch.rand(4)]
        with undisturbed(model):
            drawn.append(torch.rand(4))
        drawn.append(torch.rand(4))
        with undisturbed(model, random=random_state()), undisturbed(model.eval()):
            drawn.append(torch.rand(4))
    with pytest.raises(ValueError, match="stop"), seeded(3), undisturbed(model.train()):
        raise ValueError("stop")
    with seeded(3):
        drawn.append(torch.rand(4))
    assert all(torch.equal(each, drawn[0]) for each in drawn)
    state = torch.get_rng_state()
    with undisturbed(model):  # without a seed, the state is put back
        torch.rand(4)
    assert torch.equal(torch.get_rng_state(), state)
