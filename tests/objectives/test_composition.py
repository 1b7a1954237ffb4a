"""Objectives that are added and scaled: what their sum is, and that it costs and changes no more than it must."""

import copy
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    GradientPenalty,
    HessianNorm,
    InputGradientAlignment,
    LocalGradientAlignment,
    MaxEntropy,
    Moment,
    Objective,
    Passes,
    Pixels,
    Ramp,
    Regulariser,
    Scaled,
    Sum,
    warmup,
)
from gradsculpt.penalties import L1, ElasticNet, Harmonization, SquaredL2
from gradsculpt.perturbations import Free, Noise
from tests.networks import SIDE, Recorder, batch, network, same_state, state
from tests.objectives import laws
from tests.objectives.cases import BUILDERS, maps
from tests.objectives.test_adversarial import Masks

MOMENT = Moment(epoch=0.5, step=2, space=InputSpace(mean=(0.5,) * 3, std=(0.25,) * 3))
ATTENTION = torch.rand(4, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(9))

LGA = LocalGradientAlignment(0.2, 0.7, 0.3)
AT = AdversarialTraining(ElasticNet(0.05, 0.1))
NOISE = AdversarialTraining(perturbation=Noise(0.1))
REGULARISERS: list[Objective] = [LGA, HessianNorm(0.1), MaxEntropy(0.5), GradientPenalty(L1(0.1))]

every_objective = pytest.mark.parametrize(
    "objective", [build().at(MOMENT) for build in BUILDERS.values()], ids=BUILDERS
)


RANDOM = {"l2_alignment", "hessian_norm", "input_gradient_alignment", "explanation_distillation"}
"""Terms that draw random numbers."""


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(4)


# What a sum is.


@every_objective
def test_every_objective_keeps_the_laws_of_sums(objective: Objective) -> None:
    model, (x, y) = network(), batch()
    laws.terms_sum_to_the_loss(objective, model, x, y)
    laws.cross_entropy_is_neutral(objective, model, x, y)
    laws.a_factor_scales_all_but_the_cross_entropy(objective, model, x, y)


@pytest.mark.parametrize("data", [CrossEntropy(), AT], ids=lambda o: type(o).__name__)
def test_a_sum_adds_up(data: Objective) -> None:
    model, (x, y) = network(), batch()
    laws.adding_keeps_one_data_term(data, LGA, HessianNorm(0.1), model, x, y)
    laws.adding_keeps_one_data_term(data, MaxEntropy(0.5), GradientPenalty(L1(0.1)), model, x, y)


def test_order_and_brackets_do_not_matter() -> None:
    model, (x, y) = network(), batch()
    a, b, c = AT, 0.5 * GradientPenalty(L1(0.1)), MaxEntropy(0.3)
    values = [first + (second + third) for first, second, third in permutations((a, b, c))]
    values += [(first + second) + third for first, second, third in permutations((a, b, c))]
    wanted = (a + b + c)(model, x, y)
    for objective in values:
        found = objective(model, x, y)
        torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-12, atol=0)
        assert set(found.terms) == set(wanted.terms)
        assert torch.equal(found.logits, wanted.logits)


def test_names_are_told_apart() -> None:
    model, (x, y) = network(), batch()
    terms = (MaxEntropy(0.5) + LGA + 2 * MaxEntropy(0.25) + LGA)(model, x, y).terms
    assert list(terms) == [
        "cross_entropy",
        "negative_entropy",
        "l2_alignment",
        "cosine_alignment",
        "negative_entropy_2",
        "l2_alignment_2",
        "cosine_alignment_2",
    ]
    torch.testing.assert_close(terms["negative_entropy"], terms["negative_entropy_2"])


def test_a_regulariser_that_rests_keeps_its_name() -> None:
    model, (x, y) = network(), batch()
    terms = (0 * MaxEntropy(0.5) + MaxEntropy(0.25))(model, x, y).terms
    assert list(terms) == ["cross_entropy", "negative_entropy", "negative_entropy_2"]
    assert terms["negative_entropy"].item() == 0
    assert terms["negative_entropy_2"].item() < 0


def test_an_adversarial_objective_scales_its_penalty() -> None:
    model, (x, y) = network(), batch()
    found = (0.5 * AT)(model, x, y)
    wanted = AdversarialTraining(ElasticNet(0.025, 0.05))(model, x, y)
    torch.testing.assert_close(found.loss, wanted.loss)
    assert list(found.terms) == ["adversarial_cross_entropy"]
    torch.testing.assert_close((0 * AT)(model, x, y).loss, F.cross_entropy(model(x), y))
    nested = (2.0 * (0.25 * AT + LGA))(model, x, y, generator=seeded()).terms
    torch.testing.assert_close(nested["adversarial_cross_entropy"], wanted.loss)
    torch.testing.assert_close(nested["l2_alignment"], 2 * LGA(model, x, y, generator=seeded()).terms["l2_alignment"])


def test_two_adversarial_objectives_do_not_add_up() -> None:
    model, (x, y) = network(), batch()
    for objective in (AT + AT, AdversarialTraining(L1(0.1)) + 0.5 * (LGA + AT), Sum([AT, CrossEntropy(), AT])):
        with pytest.raises(ArgumentError, match=r"AdversarialTraining and AdversarialTraining .*taken once.*Keep one"):
            objective(model, x, y)


def test_only_objectives_are_added_and_only_numbers_scale() -> None:
    with pytest.raises(TypeError):
        LGA + 1.0
    with pytest.raises(TypeError):
        LGA * LGA
    with pytest.raises(ArgumentError, match="factor=-1"):
        _ = -1 * LGA
    with pytest.raises(ArgumentError, match="at least one"):
        Sum([])


def test_objectives_are_values() -> None:
    assert Sum((AT, Scaled(LGA, 0.5))) == AT + 0.5 * LGA
    assert Sum([AT, LGA]) == Sum((AT, LGA))
    assert hash(AT + 0.5 * LGA) == hash(Sum((AT, Scaled(LGA, 0.5))))


# What it costs.


@pytest.mark.parametrize(
    ("objective", "passes"),
    [
        (CrossEntropy(), 1),
        (MaxEntropy(1.0), 1),
        (HessianNorm(0.1), 1),
        (GradientPenalty(L1(0.1)), 1),
        (CrossEntropy() + LGA, 2),
        (LGA, 2),
        (LocalGradientAlignment(0.2, 0.7, 0.3, detach_source=False), 2),
        (Sum(REGULARISERS), 2),
        (AT, 2),
        (AT + MaxEntropy(1.0), 2),
        (AT + HessianNorm(0.1) + GradientPenalty(L1(0.1)), 2),
        (AT + LGA, 3),
        (AT + Sum(REGULARISERS), 3),
        (LGA + LGA, 3),
        (AT + 0 * LGA, 2),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, Objective) else str(value),
)
def test_the_pass_at_x_is_done_once(objective: Objective, passes: int) -> None:
    recorder, (x, y) = Recorder(network()), batch()
    objective(recorder, x, y).loss.backward()
    assert len(recorder.seen) == passes
    assert sum(torch.equal(seen, x) for seen in recorder.seen) == 1


@pytest.mark.parametrize("objective", [AT + Sum(REGULARISERS), Sum(REGULARISERS), LGA + LGA], ids=["at", "ce", "two"])
def test_running_statistics_are_updated_once_by_the_data_pass(objective: Objective) -> None:
    model, (x, y) = network(), batch()
    recorder, once = Recorder(model), copy.deepcopy(model)
    buffers = dict(recorder.named_buffers())
    losses = objective(recorder, x, y)
    once(recorder.seen[1 if "adversarial_cross_entropy" in losses.terms else 0])
    losses.loss.backward()
    for name, buffer in recorder.named_buffers():
        assert buffer is buffers[name]
        torch.testing.assert_close(buffer, once.get_buffer(name.removeprefix("model.")), rtol=1e-12, atol=0)


@pytest.mark.parametrize("given", [True, False], ids=["generator", "no generator"])
@pytest.mark.parametrize(
    "objective",
    [LGA, AT + LGA, NOISE + LGA, AT + Sum(REGULARISERS), LGA + LGA, HessianNorm(0.1) + LGA],
    ids=["lga", "at-lga", "noise-lga", "at-all", "lga-lga", "hessian-lga"],
)
def test_every_pass_has_the_data_pass_s_dropout_mask(objective: Objective, given: bool) -> None:
    masks = Masks()
    model, (x, y) = nn.Sequential(masks, network(norm=False)), batch()
    torch.manual_seed(0)
    model(x)
    alone, after_one_pass = masks.seen.pop(), torch.get_rng_state()
    torch.manual_seed(0)
    objective(model, x, y, generator=seeded() if given else None)
    assert len(masks.seen) > 1
    assert all(torch.equal(mask, masks.seen[0]) for mask in masks.seen)
    if given:  # else the seed of a generator has been drawn first
        assert torch.equal(masks.seen[0], alone)
        assert torch.equal(torch.get_rng_state(), after_one_pass)


# What it leaves alone.


@every_objective
def test_a_call_leaves_the_network_and_the_images_alone(objective: Objective) -> None:
    model, (x, y) = network(dropout=0.5), batch()
    model[0].weight.requires_grad_(False)
    model[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    before, kept = state(model), [p.grad for p in model.parameters()]
    clean, modes = x.clone(), [module.training for module in model.modules()]
    losses = objective(model, x, y, maps(x), generator=seeded())
    for parameter, gradient in zip(model.parameters(), kept, strict=True):
        assert parameter.grad is gradient is not None
        assert torch.equal(gradient, torch.full_like(gradient, 3.0))
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 5
    assert [module.training for module in model.modules()] == modes
    assert same_state(state(model), before)
    losses.loss.backward()
    assert same_state(state(model), before)
    assert model[0].weight.grad is kept[0]
    assert kept[0] is not None
    assert torch.equal(kept[0], torch.full_like(kept[0], 3.0))
    assert torch.equal(x, clean)
    assert not x.requires_grad
    assert x.grad is None


@every_objective
def test_images_that_require_gradients_get_none(objective: Objective) -> None:
    model, (x, y) = network(), batch()
    wanted = objective(copy.deepcopy(model), x, y, maps(x), generator=seeded()).loss
    leaf = x.clone().requires_grad_()
    found = objective(model, leaf, y, maps(x), generator=seeded()).loss
    found.backward()
    torch.testing.assert_close(found, wanted)
    assert leaf.requires_grad


@every_objective
def test_a_batch_of_one(objective: Objective) -> None:
    model, (x, y) = network(), batch(1)
    losses = objective(model, x, y, maps(x))
    losses.loss.backward()
    assert losses.loss.shape == ()
    assert losses.logits.shape == (1, 3)
    assert all(term.shape == () for term in losses.terms.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_objective
def test_the_generator_decides(objective: Objective) -> None:
    model, (x, y) = network(dropout=0.3).eval(), batch()
    first, again = (objective(model, x, y, maps(x), generator=seeded()) for _ in range(2))
    assert torch.equal(first.loss, again.loss)
    torch.manual_seed(0)
    own = objective(model, x, y, maps(x)).loss
    torch.manual_seed(0)
    assert torch.equal(objective(model, x, y, maps(x)).loss, own)
    if set(first.terms) & RANDOM:
        assert not torch.equal(
            objective(model, x, y, maps(x), generator=torch.Generator().manual_seed(5)).loss, first.loss
        )


@every_objective
def test_without_a_generator_every_call_draws_anew(objective: Objective) -> None:
    model, (x, y) = network().eval(), batch()
    losses = [objective(model, x, y, maps(x)) for _ in range(2)]
    if set(losses[0].terms) & RANDOM:
        assert not torch.equal(losses[0].loss, losses[1].loss)


@every_objective
def test_tensors_made_in_inference_mode_will_do(objective: Objective) -> None:
    model, (x, y) = network(), batch()
    wanted = objective(copy.deepcopy(model), x, y, maps(x), generator=seeded()).loss
    with torch.inference_mode():
        x, y = x.clone(), y.clone()
    found = objective(model, x, y, maps(x), generator=seeded()).loss
    torch.testing.assert_close(found, wanted)
    found.backward()


@every_objective
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_loss_can_be_had_without_gradients(objective: Objective, mode: type) -> None:
    model, (x, y) = network().eval(), batch()
    wanted = objective(model, x, y, maps(x), generator=seeded()).loss.detach()
    with mode():
        found = objective(model, x.clone(), y.clone(), maps(x), generator=seeded())
    torch.testing.assert_close(found.loss, wanted)
    assert not found.loss.requires_grad
    assert not found.logits.requires_grad


@every_objective
def test_a_frozen_network_will_do(objective: Objective) -> None:
    model, (x, y) = network().eval(), batch()
    wanted = objective(model, x, y, maps(x), generator=seeded()).loss
    found = objective(model.requires_grad_(False), x, y, maps(x), generator=seeded()).loss
    torch.testing.assert_close(found, wanted)


@every_objective
def test_layout_does_not_matter(objective: Objective) -> None:
    model, (x, y) = network(), batch()
    objective = _without_noise(objective)
    wanted = objective(copy.deepcopy(model), x, y, maps(x)).loss
    found = objective(
        model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last), y, maps(x)
    ).loss
    torch.testing.assert_close(found, wanted)


def _without_noise(objective: Objective) -> Objective:
    """Replace noise, which is drawn in the order of memory, by what does not depend on it."""
    if isinstance(objective, LocalGradientAlignment):
        return LocalGradientAlignment(objective.l2, objective.cosine, 0.3, noise="gradient", share=objective.share)
    if isinstance(objective, InputGradientAlignment | ExplanationDistillation):
        return replace(objective, eps=0.0)
    if isinstance(objective, HessianNorm):
        return GradientPenalty(SquaredL2(0.1))
    if isinstance(objective, Scaled):
        return Scaled(_without_noise(objective.objective), objective.factor)
    return Sum([_without_noise(o) for o in objective.objectives]) if isinstance(objective, Sum) else objective


@pytest.mark.parametrize("regulariser", REGULARISERS, ids=lambda o: type(o).__name__)
def test_a_perturbation_learns_from_the_training_pass_beside_a_regulariser(regulariser: Objective) -> None:
    recorder, (x, y) = Recorder(network()), batch()
    objective = AdversarialTraining(L1(0.05), Free(replays=2)) + regulariser
    losses = objective(recorder, x, y, state=objective.initial_state())
    losses.loss.backward()
    recorder.seen.clear()
    objective(recorder, x, y, state=losses.state)
    assert any(bool(((seen - x).abs() > 0.04).all()) for seen in recorder.seen)


class Borrowed(nn.Module):
    """A network with parameters of its own and a weight from elsewhere, such as another network's output."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.own, self._weight = network(norm=False), [weight]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.own(x * self._weight[0])
        return logits


@every_objective
def test_what_is_no_parameter_of_the_network_learns_too(objective: Objective) -> None:
    (x, y), gradients = batch(), []
    weight = torch.full((1, 3, 1, 1), 0.5, dtype=torch.float64, requires_grad=True)
    model = Borrowed(weight)
    for called in (model, lambda t: model(t)):
        losses = objective(called, x, y, maps(x), generator=seeded())
        gradients.append(torch.autograd.grad(losses.loss, weight, materialize_grads=True)[0])
    torch.testing.assert_close(*gradients)


def test_attention_reaches_every_term() -> None:
    recorder, (x, y) = Recorder(network().eval()), batch()
    objective = AdversarialTraining(Harmonization(0.5)) + GradientPenalty(Harmonization(0.1)) + LGA
    found = objective(recorder, x, y, ATTENTION, generator=seeded()).terms
    torch.testing.assert_close(
        found["adversarial_cross_entropy"], AdversarialTraining(Harmonization(0.5))(recorder, x, y, ATTENTION).loss
    )
    torch.testing.assert_close(
        found["gradient_penalty"],
        GradientPenalty(Harmonization(0.1))(recorder, x, y, ATTENTION).terms["gradient_penalty"],
    )
    with pytest.raises(ArgumentError, match="needs attention maps"):
        objective(recorder, x, y)


# How it is written down.

CONFIG = """
objective:
  class_path: gradsculpt.objectives.Sum
  init_args:
    objectives:
      - class_path: gradsculpt.objectives.AdversarialTraining
        init_args:
          penalty:
            class_path: gradsculpt.penalties.ElasticNet
            init_args: {l1: 0.01, l2: 0.05}
      - class_path: gradsculpt.objectives.Scaled
        init_args:
          factor:
            class_path: gradsculpt.objectives.Ramp
            init_args: {start: 0.0, stop: 0.5, begin: 1, end: 5}
          objective:
            class_path: gradsculpt.objectives.LocalGradientAlignment
            init_args:
              l2: 0.01
              cosine:
                class_path: gradsculpt.objectives.Ramp
                init_args: {start: 1.0, stop: 0.0, begin: 0, end: 2}
              eps:
                class_path: gradsculpt.objectives.Pixels
                init_args: {levels: 4}
              noise: gaussian
              every: 4
      - class_path: gradsculpt.objectives.Scaled
        init_args:
          factor: 0.25
          objective:
            class_path: gradsculpt.objectives.HessianNorm
            init_args: {weight: 0.001, share: 0.5}
"""
WRITTEN = Sum(
    (
        AdversarialTraining(ElasticNet(0.01, 0.05)),
        Scaled(
            LocalGradientAlignment(0.01, Ramp(1.0, 0.0, 0, 2), Pixels(4), noise="gaussian", every=4),
            Ramp(0.0, 0.5, 1, 5),
        ),
        Scaled(HessianNorm(0.001, share=0.5), 0.25),
    )
)


def test_a_sum_is_read_from_a_file_and_written_back(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(CONFIG)
    settings = read_settings(["--config", str(file), "--out", str(tmp_path / "run")])
    assert settings.objective == WRITTEN
    assert isinstance(settings.objective.at(MOMENT), Sum)
    again = tmp_path / "config.yaml"
    again.write_text(yaml.safe_dump(settings.config()))
    repeated = read_settings(["--config", str(again), "--out", str(tmp_path / "other")])
    assert repeated.objective == WRITTEN
    assert repeated.config() == settings.config()
    assert settings.config()["objective"]["class_path"] == "gradsculpt.objectives.Sum"


def test_a_number_in_a_sum_that_makes_no_sense_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    for good, bad, said in (
        ("l2: 0.01\n", "l2: -1\n", "l2=-1"),
        ("factor: 0.25", "factor: x", "factor"),
        ("noise: gaussian", "noise: salt", "noise"),
    ):
        file.write_text(CONFIG.replace(good, bad))
        with pytest.raises(ArgumentError, match=said):
            read_settings(["--config", str(file), "--out", str(tmp_path / "run")])


def test_a_schedule_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(CONFIG)
    words = ["--config", str(file), "--out", str(tmp_path / "run"), "--objective", "MaxEntropy"]
    settings = read_settings([*words, "--objective.weight", "0.5"])
    assert settings.objective == MaxEntropy(0.5)
    ramped = '{"class_path": "gradsculpt.objectives.Ramp", "init_args": {"start": 0, "stop": 1, "begin": 0, "end": 2}}'
    settings = read_settings([*words, "--objective.weight", ramped])
    assert settings.objective == MaxEntropy(warmup(2))


def test_a_term_that_is_not_finite_is_told_from_those_that_are() -> None:
    x, y = torch.zeros(2, 1, 2, 2), torch.tensor([0, 1])
    weight = torch.ones(4, 2, requires_grad=True)

    def model(t: Tensor) -> Tensor:
        return t.square().sqrt().flatten(1) @ weight  # finite, with a slope that is not a number at 0

    terms = (MaxEntropy(1.0) + LocalGradientAlignment(1.0, 1.0, 0.0))(model, x, y).terms
    assert [name for name, term in terms.items() if not term.isfinite()] == ["l2_alignment", "cosine_alignment"]


@dataclass(frozen=True)
class _Returns(Regulariser):
    value: object
    names = ("own",)

    def terms(self, passes: Passes) -> dict[str, Tensor]:
        return {"own": self.value}  # type: ignore[dict-item]


@pytest.mark.parametrize(("value", "said"), [(torch.ones(2), r"shape \[2\]"), (0.5, "float")])
def test_a_term_that_is_no_scalar_tensor_is_refused(value: object, said: str) -> None:
    with pytest.raises(ArgumentError, match=f"_Returns returned .*{said} as its term 'own'"):
        _Returns(value)(nn.Flatten(), torch.ones(2, 2, 1, 1), torch.tensor([0, 1]))
