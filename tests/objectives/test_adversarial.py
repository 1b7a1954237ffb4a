"""Adversarial training against a plain oracle, and what it must leave alone."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    GradientPenalty,
    LocalGradientAlignment,
    MaxEntropy,
    Moment,
    Objective,
    PixelBounds,
    warmup,
)
from gradsculpt.penalties import L1, ElasticNet, FunctionPenalty, GroupL21, Harmonization, Penalty, SquaredL2
from gradsculpt.perturbations import Free, Iterative, LossGradient, Momentum, Noise, OneStep, Perturbation, State
from tests.networks import SIDE, Recorder, batch, network, same_state, state

LGA = LocalGradientAlignment(0.1, 0.1, 0.1)
ATTENTION = torch.rand(4, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def fgsm(g: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.asarray(0.05 * np.sign(g))


def elastic(g: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.asarray(0.05 * np.sign(g) + 2 * 0.3 * g)


def squared(g: np.ndarray, _: np.ndarray) -> np.ndarray:
    return 2 * 0.3 * g


def group(g: np.ndarray, _: np.ndarray) -> np.ndarray:
    delta = np.zeros_like(g)
    for index in np.ndindex(g.shape[0], g.shape[1], 2, 2):
        n, c, row, column = index
        patch = (n, c, slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        delta[patch] = 0.2 * g[patch] / math.sqrt((g[patch] ** 2).sum())
    return delta


def harmonized(g: np.ndarray, attention: np.ndarray) -> np.ndarray:
    delta = np.zeros_like(g)
    for n in range(len(g)):
        delta[n] = (0.5 * attention[n].max() - 2 * 0.5 * attention[n]) * g[n] / np.linalg.norm(g[n])
    return delta


ORACLES: list[tuple[Penalty, Any]] = [
    (L1(0.05), fgsm),
    (ElasticNet(0.05, 0.3), elastic),
    (SquaredL2(0.3), squared),
    (GroupL21(0.2, patch=4), group),
    (Harmonization(0.5), harmonized),
    (FunctionPenalty(lambda g: 0.3 * g.square().flatten(1).sum(dim=1)), squared),
]
oracles = pytest.mark.parametrize(
    ("penalty", "oracle"), ORACLES, ids=[type(penalty).__name__ for penalty, _ in ORACLES]
)


def perturbed_by_hand(model: nn.Module, x: Tensor, y: Tensor, oracle: Any = fgsm) -> Tensor:
    """Return x + delta, seeking delta on a copy of the model, with the random state put back."""
    copied, random = copy.deepcopy(model), torch.get_rng_state()
    leaf = x.clone().requires_grad_()
    total = -F.log_softmax(copied(leaf), dim=1)[range(len(y)), y].sum()
    total.backward()
    assert leaf.grad is not None
    torch.set_rng_state(random)
    return x + torch.from_numpy(oracle(leaf.grad.numpy(), ATTENTION[: len(x)].numpy()))


@oracles
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_loss_and_gradients_are_those_of_cross_entropy_at_x_plus_delta(
    penalty: Penalty, oracle: Any, mode: str
) -> None:
    model, (x, y) = network(dropout=0.3).train(mode == "train"), batch()
    by_hand = copy.deepcopy(model)
    torch.manual_seed(3)
    expected_x = perturbed_by_hand(by_hand, x, y, oracle)
    expected = F.cross_entropy(by_hand(expected_x), y)
    expected.backward()
    torch.manual_seed(3)
    recorder = Recorder(model)
    losses = AdversarialTraining(penalty)(recorder, x, y, ATTENTION)
    losses.loss.backward()
    torch.testing.assert_close(recorder.seen[-1], expected_x, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(losses.loss, expected, rtol=1e-10, atol=0)
    for found, wanted in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(losses.loss, F.cross_entropy(losses.logits, y))
    assert losses.terms == {"adversarial_cross_entropy": losses.loss}


SEARCHES = (Iterative(steps=3, step_size=0.02), Iterative(steps=3, keep="last"), Momentum(steps=3))
"""Solvers of several passes."""

searches = pytest.mark.parametrize("search", SEARCHES, ids=repr)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_pgd_in_a_plain_loop(mode: str) -> None:
    model, (x, y) = network(dropout=0.3).train(mode == "train"), batch()
    by_hand = copy.deepcopy(model)
    torch.manual_seed(3)
    delta = torch.zeros_like(x)
    for step in range(4):
        copied = copy.deepcopy(by_hand)
        with torch.random.fork_rng():
            leaf = (x + delta).requires_grad_()
            F.cross_entropy(copied(leaf), y).backward()
        assert leaf.grad is not None
        sign = leaf.grad.sign()
        delta = 0.05 * sign if step == 0 else (delta + 0.02 * sign).clamp(-0.05, 0.05)
    expected = F.cross_entropy(by_hand(x + delta), y)
    expected.backward()
    torch.manual_seed(3)
    recorder = Recorder(model)
    losses = AdversarialTraining(L1(0.05), Iterative(4, 0.02, keep="last"))(recorder, x, y)
    losses.loss.backward()
    torch.testing.assert_close(recorder.seen[-1], x + delta, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(losses.loss, expected, rtol=1e-10, atol=0)
    for found, wanted in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-10, atol=1e-10)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, by_hand.get_buffer(name), rtol=1e-12, atol=0)


def test_a_search_finds_more_than_one_step() -> None:
    model, (x, y) = network().eval(), batch()
    for penalty in (L1(0.3), GroupL21(0.6, patch=4), ElasticNet(0.1, 0.5)):
        worth = []
        for perturbation in (OneStep(), Iterative(steps=12, step_size=0.2)):
            recorder = Recorder(model)
            logits = AdversarialTraining(penalty, perturbation)(recorder, x, y).logits
            delta = recorder.seen[-1] - x
            worth.append(F.cross_entropy(logits, y, reduction="none") - penalty.conjugate(0.9999999 * delta))
        assert bool((worth[1] >= worth[0] - 1e-6).all())
        assert bool((worth[1] > worth[0] + 1e-5).any())


@searches
def test_all_passes_have_one_dropout_mask_and_draw_it_once(search: Perturbation) -> None:
    masks = Masks()
    model, (x, y) = nn.Sequential(masks, network(norm=False)), batch()
    torch.manual_seed(0)
    model(x)
    after_one_pass = torch.get_rng_state()
    masks.seen.clear()
    torch.manual_seed(0)
    AdversarialTraining(L1(0.05), search)(model, x, y)
    assert torch.equal(torch.get_rng_state(), after_one_pass)
    assert len(masks.seen) >= 4
    assert all(torch.equal(mask, masks.seen[0]) for mask in masks.seen)


def test_the_last_iterate_is_judged_by_a_forward_pass_alone() -> None:
    model, (x, y) = network(), batch()
    for search, backward in ((Iterative(steps=3), 3), (Iterative(steps=3, keep="last"), 3), (Momentum(steps=3), 3)):
        with BackwardRecorder() as recorder:
            losses = AdversarialTraining(L1(0.05), search)(model, x, y)
        assert recorder.convolutions == backward * [[True, False, False]]
        assert losses.loss.requires_grad


@searches
def test_the_pass_at_the_clean_batch_is_shared_with_regularisers(search: Perturbation) -> None:
    (x, y), counts = batch(), []
    for penalty in (None, GradientPenalty(SquaredL2(1.0))):
        recorder = Recorder(network())
        objective = AdversarialTraining(L1(0.05), search)
        (objective if penalty is None else objective + penalty)(recorder, x, y).loss.backward()
        counts.append(len(recorder.seen))
    assert counts[0] == counts[1] == (5 if search == SEARCHES[0] else 4)


@searches
@pytest.mark.parametrize("penalty", [L1(0.05), ElasticNet(0.05, 0.3), GroupL21(0.2, patch=4)], ids=repr)
def test_searches_under_bf16_autocast(search: Perturbation, penalty: Penalty) -> None:
    model, (x, y) = network().float().to(memory_format=torch.channels_last), batch()
    x = x.float().contiguous(memory_format=torch.channels_last)
    recorder = Recorder(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = AdversarialTraining(penalty, search)(recorder, x, y)
    losses.loss.backward()
    assert recorder.seen[-1].dtype == torch.float32
    assert recorder.seen[-1].isfinite().all()
    assert recorder.seen[-1].is_contiguous(memory_format=torch.channels_last)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


class Users(Perturbation):
    """A solver of a user's own, who has no use for randomness."""

    def step(  # type: ignore[override]
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty
    ) -> tuple[Tensor, State]:
        return penalty.dual(-x), state


def test_a_users_own_solver_will_do() -> None:
    recorder, (x, y) = Recorder(network()), batch()
    AdversarialTraining(L1(0.05), Users())(recorder, x, y)
    torch.testing.assert_close(recorder.seen[0], x - 0.05 * x.sign())


@dataclass(frozen=True)
class Growing(Perturbation):
    """A solver that carries a number of steps, and whose perturbation is as large."""

    def initial_state(self) -> State:
        return {"steps": torch.tensor(0.0)}

    def step(
        self, state: State, loss_gradient: LossGradient, x: Tensor, penalty: Penalty, generator: Any = None
    ) -> tuple[Tensor, State]:
        return state["steps"] * torch.ones_like(x), {"steps": state["steps"] + 1}


@pytest.mark.parametrize(
    "compose",
    [
        lambda o: o,
        lambda o: 2 * o,
        lambda o: MaxEntropy(0.1) + warmup(0) * (o + GradientPenalty(L1(0.1))),
        lambda o: ExplanationDistillation(0.1, 0.1, teacher=AdversarialTraining(L1(0.1), Free(2))) + o,
    ],
    ids=["alone", "scaled", "sum", "beside a teacher"],
)
def test_the_state_goes_from_step_to_step_through_any_composition(compose: Callable[[Objective], Objective]) -> None:
    recorder, (x, y) = Recorder(network()), batch()
    objective = compose(AdversarialTraining(L1(0.05), Growing())).with_teacher(lambda t: t.flatten(1)[:, :3])
    state = objective.initial_state()
    assert state == {"steps": torch.tensor(0.0)}
    for number in range(3):
        assert objective.learnt(state) is state
        recorder.seen.clear()
        losses = objective.at(Moment(epoch=1.0))(recorder, x, y, torch.ones_like(x), state=state)
        assert any(torch.equal(seen, x + number) for seen in recorder.seen)
        assert state["steps"] == number
        state = losses.state
    assert state == {"steps": torch.tensor(3.0)}


@pytest.mark.parametrize("objective", [CrossEntropy(), MaxEntropy(0.1), AdversarialTraining(L1(0.1)), LGA], ids=repr)
def test_what_carries_nothing_needs_no_state_and_has_none(objective: Objective) -> None:
    x, y = batch()
    assert objective.initial_state() == {}
    assert objective(network(), x, y).state == {}
    assert objective(network(), x, y, state={}).state == {}


def noise_of(objective: Any, seed: int | None = 0) -> Tensor:
    recorder, (x, y) = Recorder(network(dropout=0.5)), batch()
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    objective(recorder, x, y, generator=generator).loss.backward()
    assert len(recorder.seen) == 1
    return recorder.seen[0] - x


def test_noise_is_added_in_one_pass_from_the_generator() -> None:
    objective = AdversarialTraining(perturbation=Noise(0.1))
    first = noise_of(objective)
    assert 0.05 < first.std() < 0.2
    assert torch.equal(noise_of(objective), first)
    assert not torch.equal(noise_of(objective, 1), first)
    assert torch.equal(noise_of(AdversarialTraining(L1(7.0), Noise(0.1))), first)


def test_noise_without_a_generator_is_new_in_each_step() -> None:
    objective = AdversarialTraining(perturbation=Noise(0.1))
    torch.manual_seed(0)
    first, second = noise_of(objective, None), noise_of(objective, None)
    torch.manual_seed(0)
    assert torch.equal(noise_of(objective, None), first)
    assert not torch.equal(second, first)


@pytest.mark.parametrize("perturbation", [OneStep(), *SEARCHES, Free(2)], ids=repr)
def test_what_needs_no_randomness_takes_none(perturbation: Perturbation) -> None:
    model, (x, y) = network(), batch()
    generator = torch.Generator().manual_seed(0)
    before, default = generator.get_state(), torch.get_rng_state()
    objective = AdversarialTraining(L1(0.05), perturbation)
    objective(model, x, y, generator=generator, state=objective.initial_state())
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), default)


def test_noise_is_scaled_like_a_penalty() -> None:
    whole = noise_of(AdversarialTraining(perturbation=Noise(0.1)))
    torch.testing.assert_close(noise_of(0.5 * AdversarialTraining(perturbation=Noise(0.1))), whole / 2)
    torch.testing.assert_close(noise_of(0.5 * AdversarialTraining(L1(0.1), Noise(0.1))), whole / 2)
    ramped = (warmup(4) * AdversarialTraining(perturbation=Noise(0.1))).at(Moment(epoch=1.0))
    torch.testing.assert_close(noise_of(ramped), whole / 4)


@pytest.mark.parametrize("perturbation", [OneStep(), *SEARCHES, Free(2)], ids=repr)
def test_others_need_a_penalty(perturbation: Perturbation) -> None:
    with pytest.raises(ArgumentError, match=r"no penalty.*AdversarialTraining\(L1\(0.01\)\)"):
        AdversarialTraining(perturbation=perturbation)


def test_two_passes_and_the_first_is_on_the_clean_batch() -> None:
    recorder, (x, y) = Recorder(network()), batch()
    AdversarialTraining(L1(0.05))(recorder, x, y)
    assert len(recorder.seen) == 2
    assert torch.equal(recorder.seen[0], x)
    torch.testing.assert_close((recorder.seen[1] - x).abs(), torch.full_like(x, 0.05))


def test_running_statistics_are_those_of_one_pass() -> None:
    model, (x, y) = network(), batch()
    once = copy.deepcopy(model)
    buffers = dict(model.named_buffers())
    once(perturbed_by_hand(model, x, y))
    AdversarialTraining(L1(0.05))(model, x, y)
    assert model[1].num_batches_tracked == once[1].num_batches_tracked == 1
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, once.get_buffer(name), rtol=1e-12, atol=0)
        assert buffer is buffers[name]


class Masks(nn.Module):
    """Keeps the mask that dropout draws in every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        mask = F.dropout(torch.ones_like(x), 0.5, self.training)
        self.seen.append(mask)
        return x * mask


def test_both_passes_have_one_dropout_mask_and_draw_it_once() -> None:
    masks = Masks()
    model, (x, y) = nn.Sequential(masks, network(norm=False)), batch()
    torch.manual_seed(0)
    model(x)
    after_one_pass = torch.get_rng_state()
    masks.seen.clear()
    torch.manual_seed(0)
    AdversarialTraining(L1(0.05))(model, x, y)
    assert torch.equal(torch.get_rng_state(), after_one_pass)
    inner, outer = masks.seen
    assert torch.equal(inner, outer)
    assert 0 < inner.count_nonzero() < inner.numel()


class BackwardRecorder(TorchDispatchMode):
    """Keeps which gradients backward passes compute: of inputs, of weights."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # which leaves torch's own exemption out
        self.convolutions: list[list[bool]] = []
        self.norms: list[list[bool]] = []
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if "convolution_backward" in name:
            self.convolutions.append(list(args[-1]))
        elif "batch_norm_backward" in name:
            self.norms.append(list(args[-1]))
        elif name == "aten.mm.default":
            self.products += 1
        return func(*args, **(kwargs or {}))


def test_no_gradient_of_a_parameter_is_computed_on_the_way_to_delta() -> None:
    model, (x, y) = network(), batch()
    fired: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda _, name=name: fired.append(name))
    with BackwardRecorder() as recorder:
        losses = AdversarialTraining(L1(0.05))(model, x, y)
    assert recorder.convolutions == [[True, False, False]]
    assert recorder.norms == [[True, False, False]]
    assert recorder.products == 1  # of the linear layer's input; its weight would be another
    assert fired == []
    assert all(p.grad is None for p in model.parameters())
    with BackwardRecorder() as recorder:  # the recorder does see what training computes
        losses.loss.backward()
    assert recorder.convolutions == [[False, True, True]]
    assert len(fired) == 6


def test_gradients_that_were_accumulated_stay() -> None:
    model, (x, y) = network(), batch()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    kept = [p.grad for p in model.parameters()]
    AdversarialTraining(L1(0.05))(model, x, y)
    for parameter, gradient in zip(model.parameters(), kept, strict=True):
        assert parameter.grad is gradient is not None
        assert torch.equal(gradient, torch.full_like(gradient, 3.0))


def test_parameters_mode_and_input_are_left_alone() -> None:
    model, (x, y) = network(dropout=0.5), batch()
    model[0].weight.requires_grad_(False)
    model[1].eval()
    before, clean = state(model), x.clone()
    modes = [module.training for module in model.modules()]
    AdversarialTraining(L1(0.05))(model, x, y)
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 5
    assert [module.training for module in model.modules()] == modes
    assert same_state(state(model), before)
    assert torch.equal(x, clean)
    assert not x.requires_grad


def test_delta_is_a_constant() -> None:
    model, (x, y) = network(), batch()
    x.requires_grad_()
    losses = AdversarialTraining(SquaredL2(0.3))(model, x, y)
    losses.loss.backward()
    assert x.grad is None


def test_eval_mode_leaves_running_statistics() -> None:
    model, (x, y) = network(dropout=0.5).eval(), batch()
    before = state(model)
    AdversarialTraining(L1(0.05))(model, x, y).loss.backward()
    assert same_state(state(model), before)


def test_delta_does_not_depend_on_batch_mates_or_batch_size() -> None:
    recorder, (x, y) = Recorder(network().eval()), batch()
    for penalty in (SquaredL2(0.3), GroupL21(0.2, patch=4), ElasticNet(0.05, 0.3)):
        objective = AdversarialTraining(penalty)
        objective(recorder, x, y)
        whole = recorder.seen[-1]
        objective(recorder, x[:1], y[:1])
        torch.testing.assert_close(recorder.seen[-1], whole[:1])


@pytest.mark.parametrize(("n", "channels"), [(1, 3), (4, 1), (1, 1)])
def test_any_batch_size_and_number_of_channels(n: int, channels: int) -> None:
    model, (x, y) = network(channels), batch(n, channels)
    losses = AdversarialTraining(ElasticNet(0.05, 0.3))(model, x, y)
    losses.loss.backward()
    assert losses.logits.shape == (n, 3)
    assert losses.loss.shape == ()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_plain_callable_will_do() -> None:
    weight, (x, y) = torch.randn(108, 3, dtype=torch.float64, requires_grad=True), batch()
    losses = AdversarialTraining(L1(0.05))(lambda t: t.flatten(1) @ weight, x, y)
    losses.loss.backward()
    assert weight.grad is not None
    assert weight.grad.any()


def test_a_frozen_network_will_do() -> None:
    model, (x, y) = network().eval(), batch()
    expected = AdversarialTraining(L1(0.05))(model, x, y).loss
    found = AdversarialTraining(L1(0.05))(model.requires_grad_(False), x, y).loss
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach())


def test_channels_last() -> None:
    model, (x, y) = network(), batch()
    expected = AdversarialTraining(GroupL21(0.2, patch=4))(copy.deepcopy(model), x, y).loss
    recorder = Recorder(model.to(memory_format=torch.channels_last))
    last = x.to(memory_format=torch.channels_last)
    found = AdversarialTraining(GroupL21(0.2, patch=4))(recorder, last, y).loss
    torch.testing.assert_close(found, expected)
    assert recorder.seen[-1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("penalty", [L1(0.05), ElasticNet(0.05, 0.3), GroupL21(0.2, patch=4)], ids=repr)
def test_bf16_autocast(penalty: Penalty) -> None:
    model, (x, y) = network().float(), batch()
    x = x.float()
    recorder = Recorder(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = AdversarialTraining(penalty)(recorder, x, y)
    losses.loss.backward()
    assert recorder.seen[-1].dtype == torch.float32
    assert recorder.seen[-1].isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in model.parameters())
    exact = AdversarialTraining(penalty)(network().float(), x, y)
    torch.testing.assert_close(losses.loss, exact.loss, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_validation_without_gradients(mode: type) -> None:
    model, (x, y) = network().eval(), batch()
    expected = AdversarialTraining(L1(0.05))(model, x, y).loss.detach()
    with mode():
        found = AdversarialTraining(L1(0.05))(model, x.clone(), y.clone()).loss
    torch.testing.assert_close(found, expected)


@oracles
def test_a_gradient_of_zero_gets_no_perturbation(penalty: Penalty, oracle: Any) -> None:
    recorder, (x, y) = Recorder(lambda t: 0 * t.flatten(1)[:, :3]), batch()
    losses = AdversarialTraining(penalty)(recorder, x, y, ATTENTION)
    assert torch.equal(recorder.seen[-1], x)
    assert losses.loss.item() == pytest.approx(math.log(3))


def test_attention_is_given_with_the_batch_or_bound_before() -> None:
    recorder, (x, y) = Recorder(network().eval()), batch()
    AdversarialTraining(Harmonization(0.5))(recorder, x, y, ATTENTION)
    with_batch = recorder.seen[-1]
    bound = AdversarialTraining(Harmonization(0.5).given(ATTENTION))
    bound(recorder, x, y)
    assert torch.equal(recorder.seen[-1], with_batch)
    bound(recorder, x, y, ATTENTION.flip(0))  # the batch's own maps go first
    assert not torch.equal(recorder.seen[-1], with_batch)
    with pytest.raises(ArgumentError, match="needs attention maps"):
        AdversarialTraining(Harmonization(0.5))(recorder, x, y)


def test_wrong_images_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"x has shape \[3, 6, 6\]"):
        AdversarialTraining(L1(0.05))(network(), torch.zeros(3, SIDE, SIDE), torch.tensor([0]))


def two_pixels(x: Tensor) -> Tensor:
    """A linear classifier of maps [N, 1, 1, 2] with two classes: the loss grows along (2, -0.5)."""
    scores = x.flatten(1) @ torch.tensor([2.0, -0.5], dtype=torch.float64)
    return torch.stack([-scores, torch.zeros_like(scores)], dim=1)


@pytest.mark.parametrize(
    "penalty",
    [L1(0.3), SquaredL2(0.2), ElasticNet(0.2, 0.1), GroupL21(0.3, patch=2), GroupL21(0.3, patch=1)],
    ids=repr,
)
def test_in_two_pixels_delta_is_the_best_point_of_a_grid(penalty: Penalty) -> None:
    recorder = Recorder(two_pixels)
    x, y = torch.tensor([[[[0.1, 0.4]]]], dtype=torch.float64), torch.tensor([0])
    AdversarialTraining(penalty)(recorder, x, y)
    delta = (recorder.seen[-1] - x).flatten()
    # The loss log(1 + exp(s)) at s = 2 x1 - x2 / 2 = 0 has slope 1 / 2 along (2, -1/2).
    slope = torch.tensor([1.0, -0.25], dtype=torch.float64)
    axis = torch.linspace(-0.6, 0.6, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    gains = grid @ slope - penalty.conjugate(grid.view(-1, 1, 1, 2))
    attained = (delta @ slope - penalty.conjugate(delta.view(1, 1, 1, 2))).item()
    assert attained >= gains.max().item() - 1e-9
    assert attained == pytest.approx(gains.max().item(), abs=6e-3)  # the grid is 0.005 wide
    assert (grid[gains.argmax()] - delta).norm() < 0.06


def test_first_order_error_is_bounded_as_observation_1_says() -> None:
    # A quadratic loss with curvature at most 3: |L(x + delta) - linearised L| <= 3 |delta|^2 / 2.
    curvatures = torch.linspace(0.1, 3.0, 8, dtype=torch.float64)
    x = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(t: Tensor) -> Tensor:
        return 0.5 * (curvatures * t.square()).sum()

    for penalty in (L1(0.1), GroupL21(0.1, patch=4), ElasticNet(0.1, 0.05)):
        slope = curvatures * x
        delta = penalty.dual(slope.view(1, 1, 2, 4)).flatten()
        error = (loss(x + delta) - loss(x) - slope @ delta).abs()
        assert 0 < error <= 3 * delta.square().sum() / 2


def test_iterated_sign_ascent_finds_what_the_l1_dual_promises() -> None:
    # Section 4.1: max over |delta| <= eps of L is L + eps |grad L|_1, up to the order of eps^2.
    model, (x, y) = network().eval(), batch(1)

    def loss(t: Tensor) -> Tensor:
        return F.cross_entropy(model(t), y)

    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    errors = []
    for eps in (0.02, 0.01):
        delta = torch.zeros_like(x)
        for _ in range(20):
            leaf = (x + delta).requires_grad_()
            (step,) = torch.autograd.grad(loss(leaf), leaf)
            delta = (delta + eps / 4 * step.sign()).clamp(-eps, eps)
        promised = loss(x) + L1(eps).value(gradient)[0]
        errors.append((loss(x + delta) - promised).abs().item())
        assert errors[-1] < 0.2 * eps * gradient.abs().sum()
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)


def test_bounds_clamp_the_perturbed_batch() -> None:
    recorder, (x, y) = Recorder(network()), batch()
    low, high = torch.full((1, 3, 1, 1), -0.5, dtype=x.dtype), torch.full((1, 3, 1, 1), 0.75, dtype=x.dtype)
    AdversarialTraining(L1(0.05), bounds=(low, high))(recorder, x, y)
    assert recorder.seen[-1].min() == -0.5
    assert recorder.seen[-1].max() == 0.75
    space = InputSpace((0.5,) * 3, (0.25,) * 3)
    resolved = AdversarialTraining(L1(0.05), bounds=PixelBounds()).at(Moment(space=space))
    resolved(recorder, 10 * x, y)
    assert recorder.seen[-1].min() == -2.0
    assert recorder.seen[-1].max() == 2.0
    with pytest.raises(ArgumentError, match=r"space=\.\.\."):
        AdversarialTraining(L1(0.05), bounds=PixelBounds()).at(Moment())
