"""The parts of an attack against their definitions: criteria, balls, optimisers, the smooth twin."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest
from torch import Tensor, nn

from gradsculpt.attacks import frame, mass_center
from gradsculpt.attacks.attacked_model import Watched
from gradsculpt.attacks.balls import L2, Linf
from gradsculpt.attacks.criteria import Away, Criterion, MassCenter, OutOfTop, Towards
from gradsculpt.attacks.search import OPTIMIZERS, Adam, scaled
from gradsculpt.errors import ArgumentError
from gradsculpt.kernels import softplus_for_relu
from gradsculpt.models.smooth import to_softplus
from tests.attacks import oracles

CRITERIA: list[Criterion] = [
    Towards(frame(6, 7, 1)),
    Towards(frame(6, 7, 1), "cosine"),
    Away(),
    OutOfTop(0.3),
    MassCenter(),
]


def maps(seed: int = 0, n: int = 3) -> Tensor:
    return torch.randn(n, 2, 6, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("criterion", CRITERIA, ids=[str(i) for i in range(len(CRITERIA))])
def test_a_criterion_has_a_slope_does_not_care_for_scale_and_bears_zeros(criterion: Criterion) -> None:
    clean, other = maps(0), maps(1)
    reference = criterion.reference(clean)
    assert torch.autograd.gradcheck(lambda t: criterion.loss(t, reference), other.clone().requires_grad_())
    for of in (criterion.loss, criterion.score):
        torch.testing.assert_close(of(1e-9 * other, reference), of(other, reference))
        torch.testing.assert_close(of(-other, reference), of(other, reference))
    zero = torch.zeros_like(clean).requires_grad_()
    for known in (reference, criterion.reference(zero.detach())):
        assert criterion.loss(zero, known).isfinite().all()
        assert criterion.score(zero.detach(), known).isfinite().all()
        (slope,) = torch.autograd.grad(criterion.loss(zero, known).sum(), zero)
        assert slope.isfinite().all()
    (slope,) = torch.autograd.grad(criterion.loss(start := clean.clone().requires_grad_(), reference).sum(), start)
    assert bool(slope.abs().max() < 1e-12) == criterion.flat


def test_criteria_are_those_of_the_papers() -> None:
    clean, other, target = maps(0), maps(1), frame(6, 7, 1)
    for i, (a, b) in enumerate(zip(clean.numpy(), other.numpy(), strict=True)):
        expected = (
            oracles.target_mse(b, target.numpy()),
            1 - oracles.cosine(oracles.picture(b), target.numpy()),
            oracles.cosine(a, b),
            oracles.topk_share(a, b, 0.3),
            oracles.mass_shift(a, b),
        )
        for criterion, value in zip(CRITERIA, expected, strict=True):
            assert criterion.score(other, criterion.reference(clean))[i] == pytest.approx(value)
        top = np.argsort(-np.abs(a).ravel())[: round(0.3 * a.size)]
        share = np.abs(b).ravel()[top].sum() / np.abs(b).sum()
        assert OutOfTop(0.3).loss(other, OutOfTop(0.3).reference(clean))[i] == pytest.approx(share)


def test_a_map_of_one_channel_can_be_led_to_a_target() -> None:
    assert Towards(frame(6, 7)).loss(maps()[:, :1], Towards(frame(6, 7)).reference(maps()[:, :1])).shape == (3,)


@pytest.mark.parametrize(("height", "width", "thickness"), [(32, 32, 5), (224, 224, 35), (6, 9, 1), (3, 40, 1)])
def test_the_frame_is_that_of_the_released_code_and_scales(height: int, width: int, thickness: int) -> None:
    np.testing.assert_array_equal(frame(height, width), oracles.frame(height, width, thickness))
    np.testing.assert_array_equal(frame(9, 12, 3), oracles.frame(9, 12, 3))


def test_a_frame_without_an_inside_is_refused() -> None:
    for height, width, thickness in ((6, 8, 3), (2, 9, None)):
        with pytest.raises(ArgumentError, match="leaves nothing inside"):
            frame(height, width, thickness)
    with pytest.raises(ArgumentError, match="thickness=0"):
        frame(9, 9, 0)


def test_the_centre_of_nothing_is_the_middle() -> None:
    assert mass_center(torch.zeros(1, 3, 5, 3)).tolist() == [[2.0, 1.0]]


@pytest.mark.parametrize("ball", [Linf(), L2()], ids=repr)
def test_balls_project_to_the_nearest_point(ball: Linf | L2) -> None:
    eps = torch.tensor([0.5, 2.0]).view(1, 2, 1, 1).expand(3, 2, 6, 7).double()
    far, near = 3 * maps(), 1e-3 * maps()
    projected = ball.project(far, eps)
    torch.testing.assert_close(ball.project(projected, eps), projected)
    torch.testing.assert_close(ball.project(near, eps), near)
    unit = (projected / eps).flatten(1)
    norm = unit.abs().amax(dim=1) if isinstance(ball, Linf) else unit.norm(dim=1)
    torch.testing.assert_close(norm, torch.ones(3, dtype=torch.float64))
    assert not ball.project(far, torch.zeros_like(eps)).any()
    # No other point of the ball is nearer, in units of eps.
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = torch.stack([ball.random(generator, far[0]) for _ in far]) * eps
        torch.testing.assert_close(ball.project(other, eps), other)
        assert (((other - far) / eps).flatten(1).norm(dim=1) >= ((projected - far) / eps).flatten(1).norm(dim=1)).all()


def test_the_l2_ball_is_filled_evenly_and_in_all_directions() -> None:
    """Of points spread evenly over a ball in D dimensions, r^D is uniform in [0, 1], and entries have no direction."""
    generator, like = torch.Generator().manual_seed(1), torch.zeros(1, 1, 3)
    points = torch.stack([L2().random(generator, like) for _ in range(2000)]).flatten(1)
    volumes = points.norm(dim=1) ** 3
    # Critical value of the Kolmogorov-Smirnov test at 0.1%.
    assert kstest(volumes.numpy(), "uniform").statistic < 1.95 / 2000**0.5
    heights = (points / points.norm(dim=1, keepdim=True))[:, 0]  # uniform in [-1, 1] on a sphere in three dimensions
    assert kstest(heights.numpy(), "uniform", args=(-1, 2)).statistic < 1.95 / 2000**0.5


def test_the_linf_ball_is_filled_evenly() -> None:
    points = Linf().random(torch.Generator().manual_seed(1), torch.zeros(1, 40, 50)).flatten()
    assert kstest(points.numpy(), "uniform", args=(-1, 2)).statistic < 1.95 / 2000**0.5


def test_adam_is_that_of_pytorch() -> None:
    value = maps().requires_grad_()
    theirs = torch.optim.Adam([value], lr=0.1)
    ours, state = value.detach().clone(), Adam().start(value.detach())
    for step in range(5):
        value.grad = maps(step + 1)
        theirs.step()
        direction, state = Adam().direction(maps(step + 1), state, step)
        ours = ours + 0.1 * direction
    torch.testing.assert_close(ours, value.detach())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_directions_go_down_and_have_entries_of_about_one(name: str) -> None:
    optimizer, gradient = OPTIMIZERS[name], scaled(torch.tensor([1e-30, 1e30]).view(2, 1, 1, 1) * maps(0)[:2])
    torch.testing.assert_close(gradient, scaled(maps(0)[:2]))
    direction, _ = optimizer.direction(gradient, optimizer.start(gradient), 0)
    assert ((direction * gradient).flatten(1).sum(dim=1) < 0).all()
    torch.testing.assert_close(direction.flatten(1).square().mean(dim=1), torch.ones(2, dtype=torch.float64))
    assert not scaled(torch.full((1, 1, 2, 2), torch.nan)).any()


class Calls(nn.Module):
    """One ReLU-like function, called in the network's own code."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = CALLS[self.name](x)
        return found


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu in place": lambda t: F.relu(t.clone(), inplace=True),
    "F.relu in place, result unused": lambda t: (c := t.clone(), F.relu(c, True))[0],
    "torch.relu": torch.relu,
    "method": lambda t: t.relu(),
    "method in place, result unused": lambda t: (c := t.clone(), c.relu_())[0],
    "F.relu_": lambda t: F.relu_(t.clone()),
    "clamp": lambda t: t.clamp(min=0),
    "clamp by position": lambda t: torch.clamp(t, 0),
    "clamp_min": lambda t: t.clamp_min(0.0),
    "clamp in place": lambda t: t.clone().clamp_(0),
    "threshold": lambda t: F.threshold(t, 0, 0),
    "maximum": lambda t: torch.maximum(t, torch.zeros_like(t)),
    "max by a number in a tensor": lambda t: torch.max(t.new_tensor(0.0), t),
    "mask": lambda t: t * (t > 0),
    "where": lambda t: torch.where(t > 0, t, 0.0),
    "where as a method": lambda t: t.where(t > 0, 0.0),
    "where with zeros": lambda t: torch.where(t > 0, t, torch.zeros(1, dtype=t.dtype)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_twin_turns_every_relu_into_softplus(name: str) -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(1, 1, 3, 3).requires_grad_()
    with softplus_for_relu(3.0):
        found = Calls(name)(x)
    expected = F.softplus(x, 3.0)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(slope, torch.sigmoid(3 * x).detach())
    torch.testing.assert_close(Calls(name)(x), x.relu())


@pytest.mark.parametrize(
    "layer", [nn.ReLU6(), nn.LeakyReLU(0.2), nn.PReLU(2), nn.Hardtanh(0, 2), nn.Threshold(0, 0)], ids=repr
)
def test_the_twin_of_other_rectifiers_comes_near_them(layer: nn.Module) -> None:
    x = torch.linspace(-3, 9, 24, dtype=torch.float64).view(1, 2, 3, 4)
    layer = layer.double()
    with softplus_for_relu(1.0):
        rough = layer(x)
    with softplus_for_relu(200.0):
        close = layer(x)
    torch.testing.assert_close(close, layer(x), rtol=0, atol=0.01)
    assert (rough - layer(x)).abs().max() > 0.1


def test_the_twin_leaves_all_else_alone() -> None:
    x = torch.randn(2, 3, 4, 4)
    for function in (
        F.gelu,
        F.elu,
        torch.tanh,
        lambda t: t.clamp(-1, 1),
        lambda t: t.clamp(min=1),
        lambda t: t * (t > 0.5),
        lambda t: torch.where(t > 0, t, 1.0),
        lambda t: torch.where(t < 0, t, 0.0),
        lambda t: torch.where(t > 0, 0.0, t),
        lambda t: torch.where(t > 0, torch.zeros_like(t), t),
        lambda t: torch.maximum(t, torch.ones_like(t)),
        lambda t: t.max(dim=-1).values,
        F.hardtanh,
        F.hardswish,
    ):
        with softplus_for_relu(3.0):
            found = function(x)
        assert torch.equal(found, function(x))
    with softplus_for_relu(3.0):
        assert torch.equal(torch.arange(-2, 3).clamp(min=0), torch.arange(-2, 3).clamp(min=0))


def test_the_twin_of_modules_is_the_network_with_its_modules_swapped() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    model = model.double()
    twin = Watched(model, 4.0, fast=True)(maps())
    to_softplus(model, 4.0, example=maps())
    torch.testing.assert_close(twin, model(maps()))


def test_a_watched_network_shows_its_own_parts() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).double()
    watched = Watched(model, None, fast=True)
    assert watched.get_submodule("1") is model[1]
    assert {id(p) for p in watched.parameters()} == {id(p) for p in model.parameters()}
    assert dict(watched.named_buffers()).keys() == dict(model.named_buffers()).keys()
    assert watched.training
    assert list(watched.modules())[1:] == list(model.modules())[1:]
