"""Input-gradient alignment against loops over images, with Hessians written out in full."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, hessian, jvp

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import AdversarialTraining, InputGradientAlignment, Moment, Objective, Pixels, warmup
from gradsculpt.penalties import L1
from tests.networks import Recorder, state
from tests.objectives.oracles import (
    CHANNELS,
    NETWORKS,
    SIDE,
    Gradients,
    Plain,
    agrees,
    cross_entropy,
    images,
    plain,
    uniform,
)

SMOOTH = ("max pool", "average pool", "norm in eval mode")
TERM = "input_gradient_alignment"


def seeded(seed: int = 4) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logit(model: Plain, c: int) -> Callable[[Gradients, Tensor], Tensor]:
    return lambda parameters, x: model.logits(parameters, x[None])[0, c]


def runner_up(model: Plain, x: Tensor, c: int) -> int:
    z = model.logits(model.parameters, x[None])[0].tolist()
    return max((k for k in range(len(z)) if k != c), key=lambda k: z[k])


def triplet(model: Plain, x: Tensor, c: int) -> tuple[float, Tensor, list[tuple[int, Tensor]]]:
    """Return log(1 + exp(-(d(x, g_i) - d(x, g_y)))), d = 1 - cos, its derivative by x and by either gradient."""
    distance, by_x, by_g = {}, {}, {}
    for k in (c, runner_up(model, x, c)):
        g = grad(logit(model, k), argnums=1)(model.parameters, x).flatten()
        curved = hessian(logit(model, k), argnums=1)(model.parameters, x).reshape(x.numel(), x.numel())
        a, b = x.flatten() / x.norm(), g / g.norm()
        cosine = float(torch.dot(a, b))
        distance[k], by_g[k] = 1 - cosine, -(a - cosine * b) / g.norm()
        by_x[k] = -(b - cosine * a) / x.norm() + curved @ by_g[k]
    positive, negative = distance
    margin = distance[negative] - distance[positive]
    pull = 1 / (1 + math.exp(margin))
    slope = pull * (by_x[positive] - by_x[negative])
    return math.log1p(math.exp(-margin)), slope.view_as(x), [(c, pull * by_g[c]), (negative, -pull * by_g[negative])]


def ascent(model: Plain, x: Tensor, y: Tensor, start: Tensor, eps: float, steps: int, size: float) -> Tensor:
    """Return the best of the points of a sign ascent, image by image."""
    found = []
    for i in range(len(x)):
        delta, seen = eps * start[i], []
        for step in range(steps + 1):
            value, slope, _ = triplet(model, x[i] + delta, int(y[i]))
            seen.append((value, step, delta))
            delta = (delta + size * eps * slope.sign()).clamp(-eps, eps)
        found.append(x[i] + max(seen, key=lambda entry: (entry[0], -entry[1]))[2])
    return torch.stack(found)


def alignment(model: Plain, x: Tensor, y: Tensor, weight: float) -> tuple[float, Gradients]:
    """Return weight times the mean triplet loss at x, and its gradient by the parameters."""
    value, total = 0.0, model.zeros()
    for i in range(len(x)):
        loss, _, by_gradients = triplet(model, x[i], int(y[i]))
        value += weight * loss / len(x)
        for k, c in by_gradients:
            along = weight * c.view_as(x[i]) / len(x)
            mixed = jvp(lambda t, k=k: grad(logit(model, k))(model.parameters, t), (x[i],), (along,))[1]
            total = {name: total[name] + mixed[name] for name in total}
    return value, total


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("steps", "size"), [(3, 0.625), (2, 1.5), (0, 1.0)])
def test_both_terms_and_their_gradients_are_the_oracles(name: str, steps: int, size: float) -> None:
    network, (x, y) = NETWORKS[name](), images()
    objective = InputGradientAlignment(0.5, 0.1, steps, size)
    losses = objective(network, x, y, generator=seeded())
    worst = ascent(plain(network), x, y, uniform(x, 4), 0.1, steps, size)
    agrees(losses.terms["perturbed_cross_entropy"], network, cross_entropy(plain(network), worst, y))
    agrees(losses.terms[TERM], network, alignment(plain(network), worst, y, 0.5))
    torch.testing.assert_close(losses.loss, losses.terms["perturbed_cross_entropy"] + losses.terms[TERM])
    torch.testing.assert_close(losses.logits, network(worst))


def test_as_a_regulariser_it_leaves_the_cross_entropy_where_it_is() -> None:
    network, (x, y) = NETWORKS["average pool"](), images()
    objective = InputGradientAlignment(0.5, 0.1, cross_entropy="clean")
    losses = objective(network, x, y, generator=seeded())
    worst = ascent(plain(network), x, y, uniform(x, 4), 0.1, 3, 0.625)
    agrees(losses.terms["cross_entropy"], network, cross_entropy(plain(network), x, y))
    agrees(losses.terms[TERM], network, alignment(plain(network), worst, y, 0.5))
    with_other = AdversarialTraining(L1(0.05)) + objective
    assert list(with_other(network, x, y).terms) == ["adversarial_cross_entropy", TERM]
    with pytest.raises(ArgumentError, match="taken once"):
        (AdversarialTraining(L1(0.05)) + InputGradientAlignment(0.5, 0.1))(network, x, y)


@pytest.mark.parametrize("eps", [0.2, torch.tensor([0.3, 0.05]).view(1, 2, 1, 1)], ids=["number", "for each channel"])
@pytest.mark.parametrize("size", [0.3, 2.0])
def test_the_point_is_within_eps_and_no_better_than_any_of_the_ascent(eps: float | Tensor, size: float) -> None:
    network, (x, y) = NETWORKS["max pool"](), images(6)
    recorder = Recorder(network)
    InputGradientAlignment(0.5, eps, 4, size)(recorder, x, y, generator=seeded())
    *tried, found = recorder.seen
    assert bool(((found - x).abs() <= torch.as_tensor(eps, dtype=x.dtype) + 1e-12).all())
    assert len(tried) == 5
    model = plain(network)
    losses = torch.tensor([[triplet(model, t[i], int(y[i]))[0] for i in range(6)] for t in [*tried, found]])
    torch.testing.assert_close(losses[-1], losses[:-1].amax(dim=0))
    torch.testing.assert_close(tried[0] - x, eps * uniform(x, 4))
    assert float((losses[-1] - losses[0]).max()) > 1e-3


def test_without_eps_or_weight() -> None:
    network, (x, y) = NETWORKS["max pool"](), images()
    losses = InputGradientAlignment(0.5, 0.0)(network, x, y)
    agrees(losses.terms["perturbed_cross_entropy"], network, cross_entropy(plain(network), x, y))
    agrees(losses.terms[TERM], network, alignment(plain(network), x, y, 0.5))
    weightless = InputGradientAlignment(0.0, 0.1)(network, x, y, generator=seeded())
    assert weightless.terms[TERM].item() == 0
    worst = ascent(plain(network), x, y, uniform(x, 4), 0.1, 3, 0.625)
    agrees(weightless.loss, network, cross_entropy(plain(network), worst, y))


class Flat(nn.Module):
    """A network whose logits ignore the image."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias + 0 * x.flatten(1)[:, :3]


@pytest.mark.parametrize("make", [Flat, NETWORKS["max pool"]], ids=["no gradient", "no image"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_the_cosine_of_nothing_is_0(make: Callable[[], nn.Module], eps: float) -> None:
    network, (x, y) = make(), images()
    x = x if isinstance(network, Flat) else torch.zeros_like(x)
    losses = InputGradientAlignment(1.0, eps)(network, x, y)
    losses.loss.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())
    if isinstance(network, Flat) or not eps:
        assert losses.terms[TERM].item() == pytest.approx(math.log(2))


def test_scaled_by_0_it_is_the_plain_cross_entropy_at_its_cost() -> None:
    x, y = images()
    for objective in (
        0 * InputGradientAlignment(0.5, 0.1),
        warmup(2) * InputGradientAlignment(0.5, 0.1),
        InputGradientAlignment(0.5, 0.1, every=3),
    ):
        recorder = Recorder(NETWORKS["norm in training mode"]())
        losses = objective.at(Moment(epoch=0.0, step=1))(recorder, x, y)
        assert list(losses.terms) == ["perturbed_cross_entropy", TERM]
        assert losses.loss.item() == pytest.approx(F.cross_entropy(NETWORKS["norm in training mode"]()(x), y).item())
        assert len(recorder.seen) == 1
    on = InputGradientAlignment(0.5, 0.1, every=3).at(Moment(step=3))
    once = InputGradientAlignment(0.5, 0.1)
    network = NETWORKS["max pool"]()
    terms, expected = (o(network, x, y, generator=seeded()).terms for o in (on, once))
    torch.testing.assert_close(terms[TERM], 3 * expected[TERM])
    torch.testing.assert_close(terms["perturbed_cross_entropy"], expected["perturbed_cross_entropy"])


def test_a_share_of_the_batch_is_its_first_images() -> None:
    network, (x, y) = NETWORKS["max pool"](), images(4)
    losses = InputGradientAlignment(0.5, 0.1, share=0.5)(network, x, y, generator=seeded())
    worst = ascent(plain(network), x, y, uniform(x, 4), 0.1, 3, 0.625)
    agrees(losses.terms["perturbed_cross_entropy"], network, cross_entropy(plain(network), worst, y))
    agrees(losses.terms[TERM], network, alignment(plain(network), worst[:2], y[:2], 0.5))


@pytest.mark.parametrize("place", ["perturbed", "clean"])
def test_the_ascent_leaves_no_trace(place: str) -> None:
    x, y = images()
    network, untouched = NETWORKS["norm in training mode"](), NETWORKS["norm in training mode"]()
    recorder = Recorder(network)
    clean = x.clone()
    losses = InputGradientAlignment(0.5, 0.1, cross_entropy=place)(recorder, x, y, generator=seeded())  # type: ignore[arg-type]
    untouched(recorder.seen[-1] if place == "perturbed" else x)
    torch.testing.assert_close(state(network), state(untouched))
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(x, clean)
    losses.loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize("place", ["perturbed", "clean"])
def test_every_pass_has_the_random_mask_of_the_training_pass(place: str) -> None:
    masks: list[Tensor] = []
    network, (x, y) = NETWORKS["max pool"](), images()
    drop = nn.Dropout(0.5)
    drop.register_forward_hook(lambda module, inputs, output: masks.append(output == 0))
    model = nn.Sequential(drop, network).train()
    InputGradientAlignment(0.5, 0.1, cross_entropy=place)(model, x, y)  # type: ignore[arg-type]
    assert len(masks) == (5 if place == "perturbed" else 6)
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    masks.clear()
    model(x)
    InputGradientAlignment(0.5, 0.1, cross_entropy=place)(model, x, y)  # type: ignore[arg-type]
    assert not torch.equal(masks[0], masks[1])


def test_an_image_does_not_depend_on_its_batch_mates() -> None:
    recorder, (x, y) = Recorder(NETWORKS["max pool"]()), images(4)
    InputGradientAlignment(0.5, 0.1)(recorder, x, y, generator=seeded())
    whole = recorder.seen[-1]
    InputGradientAlignment(0.5, 0.1)(recorder, x[:1], y[:1], generator=seeded())
    torch.testing.assert_close(recorder.seen[-1], whole[:1])


def test_relu_networks_autocast_pixels_and_no_grad() -> None:
    space = InputSpace((0.5,) * CHANNELS, (0.25,) * CHANNELS)
    objective: Objective = InputGradientAlignment(0.5, Pixels(8)).at(Moment(space=space))
    layers = [nn.Conv2d(CHANNELS, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (SIDE - 2) ** 2, 3)]
    network, (x, y) = nn.Sequential(*layers), images()
    x = x.float()
    exact = objective(network, x, y, generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = objective(network, x, y, generator=seeded())
    rough.loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    torch.testing.assert_close(rough.loss, exact.loss, rtol=0.05, atol=0.02)
    with torch.no_grad():
        torch.testing.assert_close(objective(network, x, y, generator=seeded()).loss, exact.loss)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": -1.0}, "weight=-1"),
        ({"eps": -0.1}, "eps=-0.1"),
        ({"steps": -1}, "steps=-1"),
        ({"step_size": 0.0}, "step_size=0"),
        ({"cross_entropy": "both"}, "cross_entropy='both' is not known"),
        ({"share": 0.0}, "share=0"),
    ],
)
def test_what_cannot_be_used_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        InputGradientAlignment(**({"weight": 0.5, "eps": 0.1} | wrong))  # type: ignore[arg-type]
