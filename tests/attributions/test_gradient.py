"""The plain gradient against autograd by hand, one image at a time."""

import pytest
import torch
from tests.networks import Recorder, batch, network, same_state, state
from torch import Tensor, nn

from gradsculpt.attributions import Gradient
from gradsculpt.attributions.gradient import Output
from gradsculpt.errors import ArgumentError

OUTPUTS: tuple[Output, ...] = ("logit", "probability", "log_probability")
outputs = pytest.mark.parametrize("output", OUTPUTS)


def one_by_one(model: nn.Module, x: Tensor, target: list[int], output: str) -> Tensor:
    """Differentiate the class output of every image by itself."""
    maps = []
    for image, index in zip(x, target, strict=True):
        leaf = image[None].clone().requires_grad_()
        logits = model(leaf)[0]
        score = {
            "logit": lambda z, i: z[i],
            "probability": lambda z, i: z[i].exp() / z.exp().sum(),
            "log_probability": lambda z, i: z[i] - z.exp().sum().log(),
        }[output](logits, index)
        maps.append(torch.autograd.grad(score, leaf)[0][0])
    return torch.stack(maps)


@outputs
def test_batch_is_autograd_image_by_image(output: Output) -> None:
    model, (x, y) = network().eval(), batch(5)
    found = Gradient(output)(model, x, y)
    torch.testing.assert_close(found, one_by_one(model, x, y.tolist(), output), rtol=1e-10, atol=1e-12)
    assert found.shape == x.shape


@outputs
def test_no_target_means_the_predicted_class(output: Output) -> None:
    model, (x, _) = network().eval(), batch(5)
    predicted = model(x).argmax(dim=1)
    assert len(set(predicted.tolist())) > 1
    assert torch.equal(Gradient(output)(model, x), Gradient(output)(model, x, predicted))


def test_the_logit_is_the_default() -> None:
    model, (x, y) = network().eval(), batch()
    assert torch.equal(Gradient()(model, x, y), Gradient("logit")(model, x, y))


def test_the_three_outputs_follow_the_chain_rule() -> None:
    model, (x, y) = network().eval(), batch()
    logit, probability, log_probability = (Gradient(output)(model, x, y) for output in OUTPUTS)
    p = model(x).softmax(dim=1).gather(1, y[:, None])[:, :, None, None].detach()
    torch.testing.assert_close(probability, p * log_probability)
    assert not torch.allclose(log_probability, logit)


def test_probability_does_not_overflow() -> None:
    model = nn.Flatten()
    x = torch.tensor([[[[1000.0]], [[0.0]]]])
    for output in OUTPUTS:
        assert Gradient(output)(model, x, torch.tensor([1])).isfinite().all()


@outputs
@pytest.mark.parametrize("wrong", ["one larger", "nan beside"])
def test_batch_mates_do_not_matter(output: Output, wrong: str) -> None:
    model, (x, y) = network().eval(), batch(3)
    expected = Gradient(output)(model, x, y)[0]
    other = x.clone()
    other[1:] = 100.0 if wrong == "one larger" else torch.nan
    torch.testing.assert_close(Gradient(output)(model, other, y)[0], expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(Gradient(output)(model, x[:1], y[:1])[0], expected, rtol=1e-12, atol=1e-14)


@outputs
def test_maps_can_be_differentiated_further(output: Output) -> None:
    model, (x, y) = network(channels=1, norm=False), batch(1, channels=1)
    x.requires_grad_()
    attribution = Gradient(output)
    assert torch.autograd.gradcheck(lambda t: attribution(model, t, y, create_graph=True), x, fast_mode=True)
    parameters = tuple(model.parameters())
    loss = attribution(model, x, y, create_graph=True).square().sum()
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    # The last bias does not move the logit's gradient, only that of the probabilities.
    assert all(g.any() for g in gradients[:-1])
    assert bool(gradients[-1].any()) == (output != "logit")


def test_without_create_graph_nothing_hangs_on() -> None:
    model, (x, y) = network().eval(), batch()
    maps = Gradient()(model, x.requires_grad_(), y)
    assert not maps.requires_grad
    assert x.grad is None
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_network_in_training_mode_is_left_as_it_was(create_graph: bool) -> None:
    model, (x, y) = network(dropout=0.5), batch()
    before, random = state(model), torch.get_rng_state()
    maps = Gradient()(model, x, y, create_graph=create_graph)
    assert same_state(state(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert torch.equal(Gradient()(model, x, y, create_graph=create_graph), maps)  # the same dropout mask


def test_one_forward_pass_with_the_images_as_they_are() -> None:
    recorder, (x, y) = Recorder(network().eval()), batch()
    Gradient()(recorder, x, y)
    assert len(recorder.seen) == 1
    assert torch.equal(recorder.seen[0], x)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(mode: type) -> None:
    model, (x, y) = network().eval(), batch()
    expected = Gradient()(model, x, y)
    with mode():
        for target in (y, y.clone()):
            torch.testing.assert_close(Gradient()(model, x.clone(), target), expected)


def test_frozen_networks_plain_callables_and_other_layouts() -> None:
    model, (x, y) = network().eval(), batch()
    expected = Gradient()(model, x, y)
    model.requires_grad_(False)
    assert torch.equal(Gradient()(model, x, y), expected)
    assert torch.equal(Gradient()(lambda t: model(t), x, y), expected)
    torch.testing.assert_close(Gradient()(model, x.to(memory_format=torch.channels_last), y), expected)
    assert Gradient()(model.float(), x.float(), y).dtype == torch.float32
    assert Gradient()(network(channels=1).eval(), x[:, :1], y).shape == (4, 1, 6, 6)


def test_a_constant_network_has_a_map_of_zeros() -> None:
    x, y = batch()
    assert not Gradient()(lambda t: torch.ones(len(t), 3), x, y).any()


def test_wrong_arguments_are_refused() -> None:
    model, (x, y) = network().eval(), batch()
    with pytest.raises(ArgumentError, match=r"output='logits'.*logit, probability, log_probability"):
        Gradient("logits")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"x has shape \[3, 6, 6\]"):
        Gradient()(model, x[0], y[:1])
    with pytest.raises(ArgumentError, match=r"x has dtype torch\.uint8"):
        Gradient()(model, x.byte(), y)
    with pytest.raises(ArgumentError, match=r"from 0 to 3 but the model has 3 outputs"):
        Gradient()(model, x, torch.tensor([0, 1, 3, 2]))
    with pytest.raises(ArgumentError, match=r"one integer for each image, shape \[4\]"):
        Gradient()(model, x, y[:2])
    with pytest.raises(ArgumentError, match=r"dtype torch\.float64"):
        Gradient()(model, x, y.double())
