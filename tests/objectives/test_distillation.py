"""Explanation distillation against loops over images, and how an objective asks for its teacher."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import vjp

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    LocalGradientAlignment,
    MaxEntropy,
    Moment,
    Objective,
    Pixels,
    Requirements,
    TeacherSpecification,
    warmup,
)
from gradsculpt.penalties import L1, Harmonization
from tests.networks import Recorder, same_state, state
from tests.objectives.oracles import CHANNELS, CLASSES, NETWORKS, SIDE, Gradients, agrees, cross_entropy, images, plain

TERM = "explanation_distillation"


def teacher(seed: int = 7) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * SIDE**2, CLASSES)).double()


def explanations(count: int = 3, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, CHANNELS, SIDE, SIDE, generator=generator, dtype=torch.float64)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def moved(x: Tensor, maps: Tensor, eps: float, positions: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return the points along the explanations, and those beside them, with the library's draws."""
    generator = seeded()
    drawn = torch.randint(len(positions), (len(x), 1, 1, 1), generator=generator)
    noise = torch.empty_like(x).uniform_(-1, 1, generator=generator)
    along, beside = [], []
    for i in range(len(x)):
        peak, unit = float(maps[i].abs().max()), maps[i] / maps[i].norm()
        along.append(x[i] + positions[int(drawn[i])] * eps * maps[i] / peak)
        beside.append(along[-1] + eps * (noise[i] - torch.dot(noise[i].flatten(), unit.flatten()) * unit))
    return torch.stack(along), torch.stack(beside)


def divergence(
    network: nn.Module, along: Tensor, beside: Tensor, weight: float, temperature: float
) -> tuple[float, Gradients]:
    """Return weight times the mean over images of sum_k p_k log(p_k / q_k), and its gradient: dz_k = q_k - p_k."""
    model, value = plain(network), 0.0
    total = model.zeros()
    for i in range(len(along)):
        scores = [math.exp(z / temperature) for z in teacher()(along[i : i + 1])[0].tolist()]
        p = [score / sum(scores) for score in scores]
        logits, pull = vjp(lambda parameters, i=i: model.logits(parameters, beside[i : i + 1])[0], model.parameters)[:2]
        odds = [math.exp(z) for z in logits.tolist()]
        q = [odd / sum(odds) for odd in odds]
        value += weight * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(along)
        slope = torch.tensor([weight * (b - a) / len(along) for a, b in zip(p, q, strict=True)], dtype=torch.float64)
        total = {name: total[name] + g for name, g in pull(slope)[0].items()}
    return value, total


@pytest.mark.parametrize("name", ["max pool", "norm in eval mode"])
@pytest.mark.parametrize("positions", [(-1.0, 0.0), (0.0,), (-0.5, 0.5, 2.0)])
def test_both_terms_and_their_gradients_are_the_oracles(name: str, positions: tuple[float, ...]) -> None:
    network, (x, y), maps = NETWORKS[name](), images(), explanations()
    objective = ExplanationDistillation(0.7, 0.3, temperature=2.0, positions=positions).with_teacher(teacher())
    losses = objective(network, x, y, maps, generator=seeded())
    along, beside = moved(x, maps, 0.3, positions)
    agrees(losses.terms["cross_entropy"], network, cross_entropy(plain(network), x, y))
    agrees(losses.terms[TERM], network, divergence(network, along, beside, 0.7, 2.0))
    assert list(losses.terms) == ["cross_entropy", TERM]


def test_the_network_is_asked_at_right_angles_to_the_explanation() -> None:
    recorder, watched = Recorder(NETWORKS["max pool"]()), Recorder(teacher())
    (x, y), maps = images(200, seed=1), explanations(200)
    ExplanationDistillation(1.0, 0.3).with_teacher(watched)(recorder, x, y, maps, generator=seeded())
    (along,), (clean, beside) = watched.seen, recorder.seen
    assert torch.equal(clean, x)
    overlap = ((beside - along) * maps).flatten(1).sum(dim=1)
    torch.testing.assert_close(overlap, torch.zeros_like(overlap))
    peaks = (along - x).abs().amax(dim=(1, 2, 3))
    still = peaks == 0
    torch.testing.assert_close(peaks[~still], torch.full_like(peaks[~still], 0.3))
    assert 60 < int(still.sum()) < 140  # of 200, where either position has the same chance
    shift = (along - x)[~still]
    torch.testing.assert_close(-shift / 0.3, (maps / maps.abs().amax(dim=(1, 2, 3), keepdim=True))[~still])
    assert float((beside - along).abs().mean()) == pytest.approx(0.15, rel=0.02)


def test_only_the_direction_of_a_map_counts_and_a_zero_map_has_none() -> None:
    network, (x, y), maps = NETWORKS["max pool"](), images(), explanations()
    objective = ExplanationDistillation(1.0, 0.3).with_teacher(teacher())
    expected = objective(network, x, y, maps, generator=seeded()).terms[TERM]
    small = objective(network, x, y, (1e-6 * maps).float(), generator=seeded()).terms[TERM]
    torch.testing.assert_close(small, expected, rtol=1e-5, atol=0)
    recorder, watched = Recorder(network), Recorder(teacher())
    ExplanationDistillation(1.0, 0.3).with_teacher(watched)(recorder, x, y, torch.zeros_like(x), generator=seeded())
    assert torch.equal(watched.seen[0], x)
    generator = seeded()
    torch.randint(2, (3, 1, 1, 1), generator=generator)
    torch.testing.assert_close(recorder.seen[1] - x, 0.3 * torch.empty_like(x).uniform_(-1, 1, generator=generator))


def test_without_eps_or_weight() -> None:
    network, (x, y), maps = NETWORKS["max pool"](), images(), explanations()
    still = ExplanationDistillation(0.7, 0.0).with_teacher(teacher())(network, x, y, maps)
    agrees(still.terms[TERM], network, divergence(network, x, x, 0.7, 4.0))
    assert ExplanationDistillation(0.0, 0.3).with_teacher(teacher())(network, x, y, maps).terms[TERM].item() == 0
    twin = ExplanationDistillation(1.0, 0.0, temperature=1.0).with_teacher(network)
    assert twin(network, x, y, maps).terms[TERM].item() == pytest.approx(0, abs=1e-12)


def test_the_teacher_stays_as_it_is_and_the_network_too() -> None:
    network, untouched = NETWORKS["norm in training mode"](), NETWORKS["norm in training mode"]()
    old = NETWORKS["norm in training mode"]()
    before, (x, y) = state(old), images()
    losses = ExplanationDistillation(1.0, 0.3).with_teacher(old)(network, x, y, explanations())
    losses.loss.backward()
    assert same_state(state(old), before)
    assert all(p.grad is None for p in old.parameters())
    untouched(x)
    torch.testing.assert_close(state(network), state(untouched))
    assert all(p.grad is not None for p in network.parameters())


def test_teacher_and_maps_are_asked_for_where_they_are_missing() -> None:
    network, (x, y), maps = NETWORKS["max pool"](), images(), explanations()
    with pytest.raises(ArgumentError, match=r"has none.*with_teacher"):
        ExplanationDistillation(1.0, 0.3)(network, x, y, maps)
    objective = ExplanationDistillation(1.0, 0.3).with_teacher(teacher())
    with pytest.raises(ArgumentError, match=r"none came with them.*as attention"):
        objective(network, x, y)
    with pytest.raises(ArgumentError, match=r"attention has shape \[3, 1, 8, 8\] but x has \[3, 2, 8, 8\]"):
        objective(network, x, y, maps[:, :1])


def test_settings_are_resolved_with_and_without_a_teacher() -> None:
    moment = Moment(epoch=1.0, space=InputSpace((0.5,) * CHANNELS, (0.25,) * CHANNELS))
    network, (x, y), maps = NETWORKS["max pool"](), images(), explanations()
    objective = warmup(4) * ExplanationDistillation(warmup(2), Pixels(51))
    found = objective.with_teacher(teacher()).at(moment)(network, x, y, maps, generator=seeded())
    other = objective.at(moment).with_teacher(teacher())(network, x, y, maps, generator=seeded())
    agrees(found.terms[TERM], network, divergence(network, *moved(x, maps, 0.8, (-1.0, 0.0)), 0.125, 4.0))
    torch.testing.assert_close(found.loss, other.loss)


def test_a_composition_asks_for_the_teacher_of_its_part() -> None:
    part = ExplanationDistillation(1.0, 0.3, teacher=MaxEntropy(0.1), teacher_epochs=5, samples=3, sigma=0.2)
    wanted = TeacherSpecification(MaxEntropy(0.1), 5, 3, 0.2)
    network, (x, y), maps = NETWORKS["max pool"](), images(), explanations()
    for whole in (part, 0.5 * part, AdversarialTraining(L1(0.01)) + warmup(3) * (MaxEntropy(0.1) + part)):
        assert whole.requirements.teacher == wanted
        taught = whole.with_teacher(teacher()).at(Moment(epoch=9.0))
        assert taught(network, x, y, maps).terms[TERM].item() > 0
    ordinary: list[Objective] = [CrossEntropy(), MaxEntropy(0.1) + LocalGradientAlignment(0.1, 0.1, 0.1)]
    for objective in ordinary:
        assert objective.requirements == Requirements()
        assert objective.with_teacher(teacher()) == objective


def test_two_teachers_or_two_kinds_of_maps_are_refused() -> None:
    part, gaze = ExplanationDistillation(1.0, 0.3), AdversarialTraining(2 * Harmonization(0.1))
    with pytest.raises(ArgumentError, match="2 of the objectives want a teacher"):
        part + 0.5 * part
    with pytest.raises(ArgumentError, match="human attention and another the explanations"):
        0.5 * part + gaze
    # A teacher may have followed a human: he is trained before, with maps of his own.
    followed = (ExplanationDistillation(1.0, 0.3, teacher=gaze) + MaxEntropy(0.1)).requirements
    assert (followed.teacher is not None, followed.attention) == (True, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": -1.0}, "weight=-1"),
        ({"eps": -0.1}, "eps=-0.1"),
        ({"temperature": 0.0}, "temperature=0"),
        ({"positions": ()}, "positions is empty"),
        ({"teacher_epochs": 0}, "teacher_epochs=0"),
        ({"samples": 0}, "samples=0"),
        ({"sigma": -0.1}, "sigma=-0.1"),
    ],
)
def test_what_cannot_be_used_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ExplanationDistillation(**({"weight": 0.5, "eps": 0.1} | wrong))  # type: ignore[arg-type]


def test_bf16_autocast() -> None:
    network, (x, y), maps = NETWORKS["max pool"]().float(), images(), explanations()
    objective = ExplanationDistillation(1.0, 0.3).with_teacher(teacher().float())
    exact = objective(network, x.float(), y, maps, generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = objective(network, x.float(), y, maps, generator=seeded())
    rough.loss.backward()
    torch.testing.assert_close(rough.loss, exact.loss, rtol=0.05, atol=0.02)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
