"""Local gradient alignment against its oracle, and what the paper proves of it."""

from collections.abc import Callable
from itertools import product
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, hessian

from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import LocalGradientAlignment
from tests.networks import Recorder
from tests.objectives.oracles import (
    CHANNELS,
    NETWORKS,
    agrees,
    alignment,
    cross_entropy,
    images,
    network,
    normal,
    plain,
    uniform,
)

SEED = 11


def delta(noise: str, eps: float, x: Tensor) -> Callable[[Tensor, int], Tensor]:
    """Return how a neighbour is found from the gradient at an image and its index."""
    if noise == "uniform":
        return lambda g, i: eps * uniform(x, SEED)[i]
    if noise == "gaussian":
        return lambda g, i: eps * normal(x, SEED)[i]
    if noise == "gradient":
        return lambda g, i: eps * g / torch.linalg.norm(g.flatten())
    return lambda g, i: eps * torch.sign(g) / torch.sign(g).abs().sum().sqrt()


def criteria(model: nn.Module, x: Tensor, y: Tensor, **settings: object) -> dict[str, Tensor]:
    objective = LocalGradientAlignment(**settings)  # type: ignore[arg-type]
    return objective(model, x, y, generator=torch.Generator().manual_seed(SEED)).terms


@pytest.mark.parametrize(
    ("name", "noise", "detach_source", "squared"),
    [
        *product(["norm in eval mode"], ["uniform", "gaussian", "gradient", "gradient_sign"], [True, False], [True]),
        *product(["max pool", "average pool", "norm in training mode"], ["uniform"], [True, False], [False]),
        ("norm in training mode", "gradient", True, True),
        ("norm in eval mode", "gradient_sign", False, False),
    ],
)
def test_values_and_gradients_are_the_oracles(name: str, noise: str, detach_source: bool, squared: bool) -> None:
    model, (x, y) = NETWORKS[name](), images()
    by_hand, neighbour = plain(model), delta(noise, 0.3, x)
    terms = criteria(
        model, x, y, l2=0.2, cosine=0.7, eps=0.3, noise=noise, detach_source=detach_source, squared=squared
    )
    agrees(terms["cross_entropy"], model, cross_entropy(by_hand, x, y))
    options = {"detach_source": detach_source, "squared": squared}
    agrees(terms["l2_alignment"], model, alignment(by_hand, x, y, neighbour, l2=0.2, **options))
    agrees(terms["cosine_alignment"], model, alignment(by_hand, x, y, neighbour, cosine=0.7, **options))


def test_eps_may_differ_by_channel() -> None:
    model, (x, y) = NETWORKS["max pool"](), images()
    eps = torch.tensor([0.1, 0.5], dtype=torch.float64).view(1, CHANNELS, 1, 1)
    found = criteria(model, x, y, l2=1.0, cosine=0.0, eps=eps.float())["l2_alignment"]
    wanted = alignment(plain(model), x, y, lambda g, i: eps.float().double()[0] * uniform(x, SEED)[i], l2=1.0)
    agrees(found, model, wanted)


def test_the_neighbour_is_where_it_should_be() -> None:
    x, y = images()
    for noise, far in (("uniform", None), ("gaussian", None), ("gradient", 0.3), ("gradient_sign", 0.3)):
        recorder = Recorder(NETWORKS["max pool"]())
        criteria(recorder, x, y, l2=1.0, cosine=1.0, eps=0.3, noise=noise)
        clean, moved = recorder.seen
        assert torch.equal(clean, x)
        if far is None:
            draw = uniform if noise == "uniform" else normal
            torch.testing.assert_close(moved, x + 0.3 * draw(x, SEED))
        else:
            torch.testing.assert_close((moved - x).flatten(1).norm(dim=1), torch.full((len(x),), far).double())


def test_no_distance_no_criterion() -> None:
    model, (x, y) = NETWORKS["norm in training mode"](), images()
    for squared in (True, False):
        losses = LocalGradientAlignment(1.0, 1.0, eps=0.0, squared=squared)(model, x, y)
        assert losses.terms["l2_alignment"].item() == 0
        assert abs(losses.terms["cosine_alignment"].item()) < 1e-12
        losses.loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("noise", ["uniform", "gradient", "gradient_sign"])
def test_a_gradient_of_zero_is_no_trouble(noise: Literal["uniform", "gradient", "gradient_sign"]) -> None:
    weight = torch.zeros(128, 3, dtype=torch.float64, requires_grad=True)
    x, y = images()
    losses = LocalGradientAlignment(1.0, 1.0, 0.3, noise=noise, squared=False)(lambda t: t.flatten(1) @ weight, x, y)
    losses.loss.backward()
    assert losses.terms["cosine_alignment"].item() == 0.5  # as of gradients at a right angle
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_a_relu_network_has_no_curvature_and_yet_learns() -> None:
    # Discussion: the Hessian in the input is 0, and the criterion's gradient by the parameters is not.
    model, (x, y) = network(activation=nn.ReLU), images()
    by_hand = plain(model)
    flat = hessian(by_hand.logit(y[:1]), argnums=1)(by_hand.parameters, x[:1])
    assert not flat.any()
    for detach_source in (True, False):
        terms = criteria(model, x, y, l2=0.2, cosine=0.7, eps=0.3, detach_source=detach_source)
        for name, weights in (("l2_alignment", {"l2": 0.2}), ("cosine_alignment", {"cosine": 0.7})):
            options: dict[str, Any] = {"detach_source": detach_source, **weights}
            wanted = alignment(by_hand, x, y, delta("uniform", 0.3, x), **options)
            assert max(g.abs().max() for g in wanted[1].values()) > 1e-4
            agrees(terms[name], model, wanted)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Softplus])
def test_scaling_the_last_layer_scales_the_l2_criterion_alone(activation: type[nn.Module]) -> None:
    # Lemma 3: |a g - a g'|^2 = a^2 |g - g'|^2. Proposition 5: the cosine stays.
    model, (x, y) = network(activation=activation), images()
    before = {squared: criteria(model, x, y, l2=1.0, cosine=1.0, eps=0.4, squared=squared) for squared in (True, False)}
    with torch.no_grad():
        for parameter in model[-1].parameters():
            parameter.mul_(3)
    for squared, factor in ((True, 9), (False, 3)):
        after = criteria(model, x, y, l2=1.0, cosine=1.0, eps=0.4, squared=squared)
        torch.testing.assert_close(after["l2_alignment"], factor * before[squared]["l2_alignment"])
        torch.testing.assert_close(after["cosine_alignment"], before[squared]["cosine_alignment"])
        assert before[squared]["cosine_alignment"] > 1e-4


@pytest.mark.parametrize("eps", [0.01, 0.1, 1.0])
def test_the_cosine_criterion_keeps_under_its_bound(eps: float) -> None:
    # Theorem 6, with what it calls O(eps^2) computed: the part of the gradient's change that H does not explain.
    model, (x, y) = NETWORKS["average pool"](), images(6)
    by_hand = plain(model)
    for i in range(len(x)):
        one, label = x[i : i + 1], y[i : i + 1]
        found = criteria(model, one, label, l2=0.0, cosine=1.0, eps=eps, noise="gradient")["cosine_alignment"]
        logit = by_hand.logit(label)
        source = grad(logit, argnums=1)(by_hand.parameters, one)
        step = eps * source / source.norm()
        moved = grad(logit, argnums=1)(by_hand.parameters, one + step)
        curvature = hessian(logit, argnums=1)(by_hand.parameters, one).reshape(one.numel(), one.numel())
        rest = (moved - source).flatten() - curvature @ step.flatten()
        assert 0 < found <= (eps * curvature.norm() + rest.norm()) / moved.norm()
        assert rest.norm() < 20 * eps**2


@pytest.mark.parametrize("wrong", [{"l2": -1.0}, {"cosine": -0.1}, {"eps": -1.0}, {"noise": "salt"}, {"share": 0.0}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=str(next(iter(wrong)))):
        LocalGradientAlignment(**{"l2": 1.0, "cosine": 1.0, "eps": 0.1} | wrong)  # type: ignore[arg-type]
