"""What every attack keeps to: laws over the tuple, on several attributions."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.attacks import (
    ATTACKS,
    Attack,
    Manipulation,
    MassCenterAttack,
    RandomPerturbation,
    TargetedManipulation,
    TopKAttack,
    UntargetedManipulation,
)
from gradsculpt.attributions import (
    LRP,
    Attribution,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Smoothed,
    SmoothGrad,
)
from gradsculpt.errors import ArgumentError, FlatMapsError, ModelError, UnknownFunctionError
from gradsculpt.gradients import Model
from tests.attacks import oracles
from tests.networks import Recorder, batch, network, same_state, state

EPS, SEVERAL = 0.3, 6
FOLLOWING: list[Manipulation] = [
    TargetedManipulation(EPS, steps=SEVERAL),
    TargetedManipulation(EPS, steps=SEVERAL, distance="cosine", optimizer="sign", restarts=1),
    UntargetedManipulation(EPS, steps=SEVERAL, optimizer="sign"),
    TopKAttack(3.0, steps=SEVERAL),
    TopKAttack(EPS, k=0.1, steps=SEVERAL, nonzero=True, norm="linf", optimizer="adam"),
    MassCenterAttack(EPS, steps=SEVERAL),
    MassCenterAttack(3.0, steps=SEVERAL, norm="l2", patience=3),
]
MEMBERS: list[Attack] = [*FOLLOWING, RandomPerturbation(EPS), RandomPerturbation(3.0, "gaussian")]
MAPS: list[Attribution] = [Gradient(), InputXGradient(), SmoothGrad(samples=2), IntegratedGradients(steps=2)]
every = pytest.mark.parametrize("attack", MEMBERS, ids=repr)
following = pytest.mark.parametrize("attack", FOLLOWING, ids=repr)
every_map = pytest.mark.parametrize("attribution", MAPS, ids=[type(member).__name__ for member in MAPS])


def in_steps(attack: Manipulation, steps: int) -> Manipulation:
    """Return the same attack with another number of steps, which each has as a field of its own."""
    changed: dict[str, Any] = {"steps": steps}
    return replace(attack, **changed)


def size(attack: Attack, delta: Tensor) -> Tensor:
    """Return how far the images were moved, in units of eps."""
    l2 = getattr(attack, "norm", None) == "l2" or getattr(attack, "kind", None) == "gaussian"
    flat = (delta / attack.eps).flatten(1)  # type: ignore[attr-defined]
    found: Tensor = torch.linalg.vector_norm(flat, dim=1) if l2 else flat.abs().amax(dim=1)
    return found


def judged(
    attack: Attack, attribution: Attribution, model: Model, x: Tensor, attacked: Tensor, y: Tensor
) -> list[float]:
    """Score attacked images by the oracle of the attack's criterion."""
    maps = [attribution(model, t, y).numpy() for t in (x, attacked)]
    pairs = list(zip(*maps, strict=True))
    if isinstance(attack, TargetedManipulation):
        target = oracles.frame(x.shape[2], x.shape[3], 1)
        if attack.distance == "mse":
            return [oracles.target_mse(b, target) for _, b in pairs]
        return [1 - oracles.cosine(oracles.picture(b), target) for _, b in pairs]
    if isinstance(attack, UntargetedManipulation):
        return [oracles.cosine(a, b) for a, b in pairs]
    if isinstance(attack, TopKAttack):
        return [oracles.topk_share(a, b, attack.k) for a, b in pairs]
    return [oracles.mass_shift(a, b) for a, b in pairs]


@every_map
@every
def test_inside_eps_and_bounds_with_the_class_kept_and_nothing_left_behind(
    attack: Attack, attribution: Attribution
) -> None:
    model, (x, y) = network(dropout=0.5).eval(), batch()
    x = x.clamp(-1, 1)
    before, copy, random = state(model), x.clone(), torch.get_rng_state()
    bounded = replace(attack, bounds=(-1.0, torch.ones(1, 3, 1, 1)))  # type: ignore[type-var]
    attacked = bounded(model, attribution, x, y)
    assert attacked.shape == x.shape
    assert attacked.dtype == x.dtype
    assert not attacked.requires_grad
    assert attacked.data_ptr() != x.data_ptr()
    assert (size(attack, attacked - x) <= 1 + 1e-6).all()
    assert attacked.abs().max() <= 1
    assert torch.equal(model(attacked).argmax(dim=1), model(x).argmax(dim=1))
    assert torch.equal(bounded(model, attribution, x, y), attacked)
    assert torch.equal(x, copy)
    assert not x.requires_grad
    assert same_state(state(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(not m.training and not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


@every_map
@following
def test_better_for_the_attacker_by_the_paper_s_measure_and_never_worse(
    attack: Manipulation, attribution: Attribution
) -> None:
    model, (x, y) = network().eval(), batch()
    found = attack.run(model, attribution, x, y)
    attacked, scores = found.x, found.score
    if not getattr(attack, "nonzero", False):
        np.testing.assert_allclose(scores, judged(attack, attribution, model, x, attacked, y), rtol=1e-6, atol=1e-12)
    start = in_steps(attack, 0).run(model, attribution, x, y)
    assert torch.equal(start.x, x)
    assert (scores <= start.score).all()
    assert (scores < start.score).any()


@every_map
@every
def test_batch_mates_do_not_matter(attack: Attack, attribution: Attribution) -> None:
    model, (x, y) = network().eval(), batch(3)
    expected = attack(model, attribution, x, y)
    other = x.clone()
    other[1:] *= -1.5
    for found in (attack(model, attribution, other, y), attack(model, attribution, x[:1], y[:1])):
        torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-8)


@following
def test_beats_noise_of_the_same_size(attack: Manipulation) -> None:
    model, (x, y) = network().eval(), batch(8)
    kind = "gaussian" if attack.norm == "l2" else "uniform"
    found = in_steps(attack, 20).run(model, Gradient(), x, y)
    noisy = [RandomPerturbation(attack.eps, kind, seed=seed)(model, Gradient(), x, y) for seed in range(3)]  # type: ignore[arg-type]
    if getattr(attack, "nonzero", False):
        return
    control = np.mean([judged(attack, Gradient(), model, x, noise, y) for noise in noisy])
    assert found.score.mean() < control
    assert (found.x != x).flatten(1).any(dim=1).all()


@every
def test_no_room_and_frozen_networks(attack: Attack) -> None:
    model, (x, y) = network().eval(), batch(3)
    still = replace(attack, eps=0.0)  # type: ignore[type-var]
    assert torch.equal(still(model, Gradient(), x, y), x)
    expected = attack(model, Gradient(), x, y)
    model.requires_grad_(False)
    torch.testing.assert_close(attack(lambda t: model(t), Gradient(), x, y), expected)
    with torch.inference_mode():
        torch.testing.assert_close(attack(model, Gradient(), x.clone(), y.clone()), expected)
    with torch.no_grad():
        torch.testing.assert_close(attack(model, Gradient(), x, y), expected)


@every
def test_one_channel_and_images_that_are_not_square(attack: Attack) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 3 * 6, 3)).double().eval()
    x = torch.randn(2, 1, 5, 8, dtype=torch.float64)
    y = torch.tensor([0, 2])
    attacked = attack(model, Gradient(), x, y)
    assert (size(attack, attacked - x) <= 1 + 1e-6).all()
    assert (attacked != x).flatten(1).any(dim=1).all()


@every
def test_eps_can_be_a_tensor(attack: Attack) -> None:
    model, (x, y) = network().eval(), batch(3)
    eps = torch.tensor([0.1, 0.0, 0.4]).view(1, 3, 1, 1)
    attacked = replace(attack, eps=eps)(model, Gradient(), x, y)  # type: ignore[type-var]
    delta = attacked - x
    assert not delta[:, 1].any()
    assert delta[:, [0, 2]].any()
    assert (size(replace(attack, eps=1.0), delta[:, [0, 2]] / eps.double()[:, [0, 2]]) <= 1 + 1e-6).all()  # type: ignore[type-var]


def test_maps_of_a_class_that_is_not_predicted_are_attacked_and_the_predicted_class_is_kept() -> None:
    model, (x, _) = network().eval(), batch(4)
    predicted = model(x).argmax(dim=1)
    other = (predicted + 1) % 3
    found = TargetedManipulation(EPS, steps=SEVERAL).run(model, Gradient(), x, other)
    assert torch.equal(model(found.x).argmax(dim=1), predicted)
    expected = judged(TargetedManipulation(EPS), Gradient(), model, x, found.x, other)
    np.testing.assert_allclose(found.score, expected, rtol=1e-6)


class Cliff(nn.Module):
    """Keeps its class in a small neighbourhood of 0 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network(channels=1, norm=False).eval()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        return torch.cat([10 - 30 * x.square().flatten(1).sum(dim=1, keepdim=True) + logits[:, :1], logits[:, 1:]], 1)


@pytest.mark.parametrize("attack", [a for a in FOLLOWING if not isinstance(a, TopKAttack)], ids=repr)
def test_what_lost_its_class_is_led_back(attack: Manipulation) -> None:
    model, x = Cliff(), 0.01 * batch(2, channels=1)[0]
    y = model(x).argmax(dim=1)
    assert not y.any()
    recorder = Recorder(model)
    attacked = in_steps(replace(attack, patience=None), 40)(recorder, Gradient(), x, y)
    assert not model(attacked).argmax(dim=1).any()
    lost = torch.stack([model(seen).argmax(dim=1) != 0 for seen in recorder.seen if len(seen) == len(x)])
    assert (lost[:-1] & ~lost[1:]).any()


def test_an_image_that_is_done_costs_nothing_any_more() -> None:
    model, (x, y) = network().eval(), batch(4)
    recorder = Recorder(model)
    eps = torch.tensor([0.0, 0.3, 0.0, 0.3]).view(4, 1, 1, 1)
    TargetedManipulation(eps, steps=3)(recorder, Gradient(), x, y)
    assert [len(seen) for seen in recorder.seen] == [4, 2, 2, 2, 2]
    recorder = Recorder(model)
    TopKAttack(0.3, steps=50, patience=2, step_size=1e-9)(recorder, Gradient(), x, y)
    assert [len(seen) for seen in recorder.seen] == [4, 4, 4]


@pytest.mark.parametrize(("attribution", "extra"), [(Gradient(), 0), (SmoothGrad(samples=2), 1)], ids=["same", "own"])
@pytest.mark.parametrize("smooth_beta", [None, 5.0])
def test_the_passes_that_are_needed_and_no_more(
    attribution: Attribution, extra: int, smooth_beta: float | None
) -> None:
    model, (x, y) = network().eval(), batch(2)
    recorder = Recorder(model)
    TargetedManipulation(EPS, steps=5, smooth_beta=smooth_beta)(recorder, attribution, x, y)
    each = 1 + extra
    assert len(recorder.seen) == each + 5 * each * (2 if smooth_beta else 1) + each


class Picky(Gradient):
    """Knows PyTorch's own convolution only."""

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        with torch.enable_grad():
            node = model(x.detach().requires_grad_()).grad_fn
        while node is not None and "Convol" not in type(node).__name__:
            node = node.next_functions[0][0] if "Addmm" not in type(node).__name__ else node.next_functions[1][0]
        if type(node).__name__ != "ConvolutionBackward0":
            raise UnknownFunctionError("not one of PyTorch's functions")
        return super().__call__(model, x, target, create_graph=create_graph)


def test_attributions_that_refuse_the_fast_kernels_are_attacked_without() -> None:
    model, (x, y) = network().eval(), batch(2)
    attack = TargetedManipulation(EPS, steps=3)
    torch.testing.assert_close(attack(model, Picky(), x, y), attack(model, Gradient(), x, y))


def rectified(inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(3)
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.ReLU(inplace),
        nn.Conv2d(8, 8, 3),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(32, 3),
    ]
    return nn.Sequential(*layers).double().eval()


@following
def test_networks_with_relu_need_a_smooth_twin_and_are_judged_themselves(attack: Manipulation) -> None:
    model, (x, y) = rectified(), batch(4)
    with pytest.raises(FlatMapsError, match=r"derivative is exactly 0 .* Pass smooth_beta=20"):
        replace(attack, smooth_beta=None)(model, Gradient(), x, y)
    smooth = in_steps(replace(attack, smooth_beta=10.0), 20)
    found = smooth.run(model, Gradient(), x, y)
    assert found.smooth_beta == 10
    attacked, scores = found.x, found.score
    assert torch.equal(model(attacked).argmax(dim=1), model(x).argmax(dim=1))
    clean = in_steps(smooth, 0).run(model, Gradient(), x, y).score
    assert (scores <= clean).all()
    assert (scores < clean).any()
    if not getattr(attack, "nonzero", False):
        np.testing.assert_allclose(scores, judged(attack, Gradient(), model, x, attacked, y), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(smooth(rectified(inplace=True), Gradient(), x, y), attacked)


@following
def test_by_default_the_network_is_taken_as_it_is_unless_its_maps_have_no_slope(attack: Manipulation) -> None:
    auto, (x, y) = attack, batch(3)
    for model, smooth_beta in ((network().eval(), None), (rectified(), 20.0)):
        given = model, Gradient(), x, y
        found, expected = auto.run(*given), replace(attack, smooth_beta=smooth_beta).run(*given)
        assert found.smooth_beta == smooth_beta
        assert torch.equal(found.x, expected.x)
        assert torch.equal(found.score, expected.score)
    assert replace(auto, eps=0.0).run(rectified(), Gradient(), x, y).smooth_beta is None


class Gate(nn.Module):
    """Squeeze and excitation: what lets the maps of a network with ReLU change, by far too little."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x * self.weights(x.mean(dim=(2, 3), keepdim=True)).sigmoid()
        return found


class Called(nn.Module):
    """A rectifier that is called in the network's own code."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def deep(*activation: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    ends = [nn.Conv2d(3, 8, 3), *activation, nn.Conv2d(8, 8, 3)], [*activation, nn.Flatten(), nn.Linear(32, 3)]
    return nn.Sequential(*ends[0], *ends[1]).double().eval()


RECTIFIED: dict[str, nn.Sequential] = {
    "ReLU": deep(nn.ReLU()),
    "in place": deep(nn.ReLU(inplace=True)),
    "ReLU6": deep(nn.ReLU6()),
    "LeakyReLU": deep(nn.LeakyReLU(0.1)),
    "PReLU": deep(nn.PReLU()),
    "Hardtanh": deep(nn.Hardtanh(0, 6)),
    "max pooling": deep(nn.ReLU(), nn.MaxPool2d(1)),
    "F.relu": deep(Called(F.relu)),
    "clamp": deep(Called(lambda t: t.clamp(min=0))),
    "maximum with zeros": deep(Called(lambda t: torch.maximum(torch.zeros_like(t), t))),
    "max with a zero": deep(Called(lambda t: t.max(t.new_zeros(())))),
    "times a mask": deep(Called(lambda t: t * (t > 0))),
    "a mask times": deep(Called(lambda t: (t > 0) * t)),
    "where": deep(Called(lambda t: torch.where(t > 0, t, 0.0))),
    "where with zeros": deep(Called(lambda t: torch.where(t > 0, t, torch.zeros_like(t)))),
    "gates": deep(nn.ReLU(), Gate()),
    "normalised": deep(nn.ReLU(), nn.GroupNorm(2, 8)),
    "batch statistics": deep(nn.BatchNorm2d(8), nn.ReLU()),
}
SMOOTH: dict[str, nn.Sequential] = {
    name: deep(each)
    for name, each in {"Softplus": nn.Softplus(3.0), "GELU": nn.GELU(), "SiLU": nn.SiLU(), "Tanh": nn.Tanh()}.items()
}
DERIVATIVES: tuple[Attribution, ...] = (
    Gradient(),
    Gradient("probability"),
    InputXGradient(),
    IntegratedGradients(steps=3),
    SmoothGrad(samples=2),
)


@pytest.mark.parametrize("name", RECTIFIED)
def test_any_network_with_a_rectifier_is_attacked_through_its_twin_and_says_so(name: str) -> None:
    model, (x, y) = RECTIFIED[name], batch(4)
    for attribution in DERIVATIVES if name in ("ReLU", "gates") else DERIVATIVES[:1]:
        attack = TargetedManipulation(EPS, steps=20)
        attacked, info = attack(model, attribution, x, y, return_info=True)
        assert info.surrogate == "the network with Softplus(beta=20) for ReLU"
        assert torch.equal(attacked, info.x)
        assert torch.equal(model(attacked).argmax(dim=1), model(x).argmax(dim=1))
        scores = judged(attack, attribution, model, x, attacked, y)  # by the network itself
        np.testing.assert_allclose(info.score, scores, rtol=1e-6, atol=1e-12)
        noise = RandomPerturbation(EPS)(model, attribution, x, y)
        assert np.mean(scores) < np.mean(judged(attack, attribution, model, x, noise, y))
        try:
            alone = replace(attack, smooth_beta=None).run(model, attribution, x, y).score
        except FlatMapsError:
            continue
        assert info.score.mean() < alone.mean()


@pytest.mark.parametrize("name", SMOOTH)
@following
def test_smooth_networks_are_attacked_as_they_are(attack: Manipulation, name: str) -> None:
    model, (x, y) = SMOOTH[name], batch(3)
    attacked, info = attack(model, Gradient(), x, y, return_info=True)
    assert info.surrogate is None
    assert torch.equal(attacked, replace(attack, smooth_beta=None)(model, Gradient(), x, y))


def test_maps_by_rules_of_their_own_are_followed_as_they_are_where_they_have_a_slope() -> None:
    model, (x, y) = deep(nn.ReLU()), batch(3)
    assert TargetedManipulation(EPS, steps=2).run(model, LRP(), x, y).surrogate is None
    assert Smoothed(LRP()).is_derivative is False
    assert all(each.is_derivative for each in DERIVATIVES)


def test_a_map_that_cannot_change_says_what_was_tried() -> None:
    (x, y), linear = batch(2), nn.Sequential(nn.Flatten(), nn.Linear(108, 3)).double()
    by_hand = deep(Called(lambda t: (t + t.abs()) / 2))
    for model, attribution in ((linear, Gradient()), (by_hand, Gradient()), (deep(nn.ReLU()), GuidedBackprop())):
        with pytest.raises(FlatMapsError, match=r"not even those of the same network with Softplus"):
            TargetedManipulation(EPS, steps=2)(model, attribution, x, y)


def test_auto_passes_other_errors_on_and_gives_up_where_the_attribution_is_flat() -> None:
    (x, y), attack = batch(2), TargetedManipulation(EPS, steps=2, smooth_beta="auto")
    with pytest.raises(FlatMapsError):
        attack(network().eval(), Stiff(), x, y)
    recorder = Recorder(network().eval())
    with pytest.raises(ModelError, match="no maps today"):
        attack(recorder, Refusing(), x, y)
    assert len(recorder.seen) == 1  # and no second try


def test_an_attribution_that_refuses_maps_with_a_graph_is_asked_once() -> None:
    asked: list[bool] = []

    class Once(Gradient):
        def __call__(
            self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False
        ) -> Tensor:
            asked.append(create_graph)
            if create_graph:
                raise ModelError("no maps with a graph")
            return super().__call__(model, x, target)

    for smooth_beta in (None, 20.0, "auto"):
        asked.clear()
        with pytest.raises(ModelError, match="no maps with a graph"):
            TargetedManipulation(EPS, steps=2, smooth_beta=smooth_beta)(network().eval(), Once(), *batch(2))
        assert asked.count(True) == 1


class Stiff(Gradient):
    """A map that no change of the image changes."""

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        model(x)
        return torch.ones_like(x) + 0 * x


class Refusing(Gradient):
    """Makes no maps."""

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        model(x)
        raise ModelError("no maps today")


def test_noise_that_changes_the_class_is_drawn_again_and_given_up_in_the_end() -> None:
    x = torch.full((2, 1, 1, 2), 0.0)
    x[1] = 5.0
    y = torch.zeros(2, dtype=torch.long)

    def model(t: Tensor) -> Tensor:  # class 0 wherever the first entry is not positive, or large
        first = t[:, 0, 0, 0]
        return torch.stack([torch.zeros_like(first), first * (2 - first)], dim=1)

    found = RandomPerturbation(1.0)(model, Gradient(), x, y)
    assert (found != x).flatten(1).any(dim=1).all()
    assert found[0, 0, 0, 0] <= 0
    never = RandomPerturbation(1.0)(
        lambda t: torch.stack([0 * t[:, 0, 0, 0], t.abs().sum((1, 2, 3))], 1), Gradient(), x, y
    )
    assert torch.equal(never[0], x[0])
    assert not torch.equal(never[1], x[1])


def test_another_seed_gives_other_noise_and_other_starts() -> None:
    model, (x, y) = network().eval(), batch(2)
    for attack in (RandomPerturbation(EPS), UntargetedManipulation(EPS, steps=2)):
        assert not torch.equal(attack(model, Gradient(), x, y), replace(attack, seed=1)(model, Gradient(), x, y))


def test_restarts_never_harm_the_attack() -> None:
    model, (x, y) = network().eval(), batch(6)
    attack = TargetedManipulation(EPS, steps=4)
    one, several = (replace(attack, restarts=n).run(model, Gradient(), x, y).score for n in (0, 3))
    assert (several <= one).all()
    assert (several < one).any()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"eps": -1.0}, "eps=-1.0 is out of range"),
        ({"bounds": (1.0, 0.0)}, "the bounds leave no room"),
        ({"seed": -1}, "seed=-1"),
        ({"steps": -1}, "steps=-1"),
        ({"optimizer": "sgd"}, "optimizer='sgd' is not known; choose from adam, sign, gradient"),
        ({"norm": "l3"}, "norm='l3' is not known"),
        ({"step_size": 0.0}, "step_size=0.0"),
        ({"restarts": -1}, "restarts=-1"),
        ({"patience": 0}, "patience=0"),
        ({"smooth_beta": 0.0}, r"smooth_beta=0\.0"),
        ({"smooth_beta": "always"}, "smooth_beta='always' is not known; choose from auto"),
        ({"distance": "l1"}, "distance='l1' is not known"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        TargetedManipulation(**{"eps": EPS, **wrong})  # type: ignore[arg-type]


def test_wrong_arguments_are_refused() -> None:
    model, (x, y) = network().eval(), batch()
    with pytest.raises(ArgumentError, match=r"k=0\.0"):
        TopKAttack(EPS, k=0.0)
    with pytest.raises(ArgumentError, match="kind='salt'"):
        RandomPerturbation(EPS, "salt")  # type: ignore[arg-type]
    attack = TargetedManipulation(EPS, steps=1)
    for images, labels, told in (
        (x[0], y, "a batch"),
        (x, y[:2], "one integer for each image"),
        (x.long(), y, "dtype"),
    ):
        with pytest.raises(ArgumentError, match=told):
            attack(model, Gradient(), images, labels)
    with pytest.raises(ArgumentError, match=r"eps has shape \[2\]"):
        replace(attack, eps=torch.ones(2))(model, Gradient(), x, y)
    with pytest.raises(ArgumentError, match="outside the bounds"):
        replace(attack, bounds=(0.0, 1.0))(model, Gradient(), x, y)
    with pytest.raises(ArgumentError, match=r"target map has shape \[7, 7\]"):
        replace(attack, target_map=torch.ones(7, 7))(model, Gradient(), x, y)


def test_every_attack_is_under_the_laws() -> None:
    assert {type(attack) for attack in MEMBERS} == set(ATTACKS)
    assert len({repr(attack) for attack in MEMBERS}) == len(MEMBERS)
    assert repr(TargetedManipulation(0.5, steps=7)) == "TargetedManipulation(eps=0.5, steps=7)"


COMMON = {"restarts": 0, "seed": 0, "bounds": None, "patience": None, "smooth_beta": "auto", "step_size": None}
SETTINGS: dict[type[Attack], dict[str, object]] = {
    TargetedManipulation: {"norm": "linf", "optimizer": "adam", "steps": 100, "distance": "mse", "target_map": None},
    UntargetedManipulation: {"norm": "linf", "optimizer": "sign", "steps": 100},
    TopKAttack: {"norm": "l2", "optimizer": "gradient", "steps": 100, "k": 0.4, "nonzero": False},
    MassCenterAttack: {"norm": "linf", "optimizer": "sign", "steps": 100},
    RandomPerturbation: {"kind": "uniform", "bounds": None, "seed": 0, "tries": 10},
}
"""Joo et al. attack in 100 steps of l-infinity, by Adam in their code; Gong et al. (B.6) the top 40% in L2."""


@pytest.mark.parametrize("cls", ATTACKS, ids=lambda cls: cls.__name__)
def test_what_is_not_said_is_as_published(cls: type[Attack]) -> None:
    expected = SETTINGS[cls] | (COMMON if issubclass(cls, Manipulation) else {})
    assert {f.name: f.default for f in fields(cls) if f.name != "eps"} == expected  # type: ignore[arg-type]


def test_all_steps_together_would_go_four_times_the_radius() -> None:
    """As in the released code of Joo et al.: 100 steps of eps / 25."""
    model, (x, y) = network().eval(), batch(3)
    for norm in ("linf", "l2"):
        usual = TargetedManipulation(EPS, steps=5, norm=norm)
        expected = replace(usual, step_size=0.8)(model, Gradient(), x, y)
        assert torch.equal(usual(model, Gradient(), x, y), expected)


@following
@pytest.mark.parametrize("patience", [None, 1])
def test_progress_counts_the_steps_and_changes_nothing(attack: Manipulation, patience: int | None) -> None:
    x, y = batch()
    attack, told = replace(attack, patience=patience), list[tuple[int, int | None]]()
    quiet = attack.run(network().eval(), Gradient(), x, y)
    heard = attack.run(network().eval(), Gradient(), x, y, progress=lambda *each: told.append(each))
    assert torch.equal(quiet.x, heard.x)
    assert torch.equal(quiet.score, heard.score)
    whole = SEVERAL * (attack.restarts + 1)
    assert {total for _, total in told} == {whole}
    done = [each for each, _ in told]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == whole
    if patience is None and not attack.plan(8, 8)[0].flat:
        assert set(done) == set(range(whole + 1))


def test_what_progress_raises_ends_the_attack_at_that_step() -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if done == 2:
            raise StopError

    model, (x, y) = Recorder(network().eval()), batch()
    attack, passes = TargetedManipulation(EPS, steps=50), list[int]()
    attack.run(model, Gradient(), x, y, progress=lambda *_: passes.append(len(model.seen)))
    model.seen.clear()
    with pytest.raises(StopError):
        attack.run(model, Gradient(), x, y, progress=stop)
    assert len(model.seen) == passes[2]
