"""Free adversarial training against a plain loop, and what the carried perturbation must survive."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import (
    AdversarialTraining,
    GradientPenalty,
    LocalGradientAlignment,
    MaxEntropy,
    Objective,
)
from gradsculpt.penalties import L1, ElasticNet, GroupL21, Harmonization, Penalty, SquaredL2
from gradsculpt.perturbations import Free
from tests.networks import SIDE, Recorder, batch, network, state
from tests.penalties.cases import CASES, Case, map_of

EPS = 0.05


def batches(sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    return [batch(n, seed=i) for i, n in enumerate(sizes)]


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def plain_free_training(
    model: nn.Module, data: list[tuple[Tensor, Tensor]], eps: float, replays: int
) -> tuple[list[float], Tensor]:
    """Algorithm 1 of Shafahi et al.: the losses of the steps, and the perturbation at the end."""
    optimizer, losses = optimizer_of(model), []
    delta = torch.zeros_like(data[0][0])
    for x, y in data:
        for _ in range(replays):
            x_adv = (x + delta[: len(x)]).requires_grad_()
            loss = F.cross_entropy(model(x_adv), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            delta[: len(x)] = (delta[: len(x)] + eps * x_adv.grad.sign()).clamp(-eps, eps)
    return losses, delta


def train(
    objective: AdversarialTraining, model: nn.Module, data: list[tuple[Tensor, Tensor]], divisor: int = 1
) -> list[float]:
    optimizer, losses = optimizer_of(model), []
    for x, y in data:
        for _ in range(objective.replays):
            loss = objective(model, x, y).loss
            optimizer.zero_grad()
            (loss / divisor).backward()
            if divisor > 1:  # what accumulation does to the gradients is not the subject
                for parameter in model.parameters():
                    parameter.grad *= divisor
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("replays", [1, 3])
@pytest.mark.parametrize("divisor", [1, 4])
def test_for_l1_it_is_free_adversarial_training(replays: int, divisor: int) -> None:
    data, objective = batches((4, 4, 2, 4)), AdversarialTraining(L1(EPS), Free(replays))
    model, by_hand = network(), network()
    expected, delta = plain_free_training(by_hand, data, EPS, replays)
    found = train(objective, model, data, divisor)
    assert found == pytest.approx(expected, rel=1e-12)
    for name, value in state(by_hand).items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-12, atol=1e-14)
    recorder = Recorder(model)
    objective(recorder, *data[0])
    torch.testing.assert_close(recorder.seen[0] - data[0][0], delta, rtol=1e-9, atol=1e-12)
    assert 0 < (delta == 0).sum() < delta.numel()  # signs have turned: a step of another length would show


def test_the_plain_loop_depends_on_what_is_carried() -> None:
    data = batches((4, 4))
    carried = plain_free_training(network(), data, EPS, 2)[0]
    fresh = plain_free_training(network(), data[:1], EPS, 2)[0]
    alone = train(AdversarialTraining(L1(EPS), Free(2)), network(), data[1:])
    assert carried[:2] == fresh
    assert carried[2] != alone[0]


def push(free: Free, x: Tensor, penalty: Penalty, slope: Tensor) -> Tensor:
    """One training step on the mean over the batch of <slope, x>; returns the perturbation it was done with."""
    delta = free(lambda _: pytest.fail("asked for a gradient"), x, penalty)
    loss = (slope * free.watch(x + delta)).flatten(1).sum(dim=1).mean()
    if loss.requires_grad:
        loss.backward()
    return delta


SLOPE, X = map_of(1, 3, 0.5, 0.3, False), map_of(2, 3, 1.0, 0.0, False)


@pytest.mark.parametrize("case", [case for case in CASES if case.zero], ids=lambda case: case.name)
def test_on_a_linear_loss_it_comes_to_rest_at_the_dual(case: Case) -> None:
    free, slope = Free(2), case.within_reach(SLOPE)
    for _ in range(25 if case.numerical else 60):
        delta = push(free, X, case.batch(3), slope)
    torch.testing.assert_close(delta, case.batch(3).dual(slope), rtol=1e-3, atol=1e-3 if case.numerical else 1e-9)


def elastic_by_hand(delta: float, g: float) -> float:
    """argmin over d of PQ(d) + (d - v)^2 / (2 t), where v = delta + t g and t g = l1 sign(g) + 2 l2 g."""
    t = 0.1 / abs(g) + 2 * 0.3
    v = delta + t * g
    size = abs(v)
    if size > 0.1:
        size = (0.1 / (2 * 0.3) + size / t) / (1 / (2 * 0.3) + 1 / t)
    return float(np.sign(v) * size)


def test_steps_of_the_elastic_net_one_by_one() -> None:
    free, expected = Free(2), np.zeros(X.shape)
    for seed in range(4):
        slope = map_of(seed, 3, 0.5, 0.0, False)
        np.testing.assert_allclose(push(free, X, ElasticNet(0.1, 0.3), slope).numpy(), expected, rtol=1e-9, atol=1e-12)
        expected = np.vectorize(elastic_by_hand)(expected, slope.numpy())


def test_perturbations_never_leave_the_domain() -> None:
    for penalty in (L1(0.1), GroupL21(0.2, patch=2)):
        free = Free(2)
        for seed in range(6):
            delta = push(free, X, penalty, map_of(seed, 3, 0.5, 0.3, False))
            assert not penalty.conjugate(delta).any()
        assert delta.any()


def test_a_step_is_one_pass_and_leaves_the_parameters_gradients_as_they_are() -> None:
    objective, recorder, (x, y) = AdversarialTraining(SquaredL2(0.3), Free(2)), Recorder(network()), batch()
    for number in range(1, 4):
        recorder.zero_grad()
        losses = objective(recorder, x, y)
        losses.loss.backward()
        assert len(recorder.seen) == number
        by_hand = network()
        F.cross_entropy(by_hand(recorder.seen[-1]), y).backward()
        for found, wanted in zip(recorder.parameters(), by_hand.parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad)
    assert not torch.equal(recorder.seen[-1], x)
    assert not x.requires_grad


@pytest.mark.parametrize(
    "regulariser",
    [MaxEntropy(0.1), GradientPenalty(SquaredL2(0.1)), LocalGradientAlignment(0.1, 0.1, eps=0.1)],
    ids=lambda regulariser: type(regulariser).__name__,
)
def test_beside_regularisers(regulariser: Objective) -> None:
    objective, model, (x, y) = AdversarialTraining(L1(EPS), Free(2)) + regulariser, network(), batch()
    assert objective.replays == 2
    for _ in range(2):
        objective(model, x, y).loss.backward()
    recorder = Recorder(model)
    objective(recorder, x, y)
    assert (recorder.seen[0] - x).abs().max().item() == pytest.approx(EPS)


def test_a_scaled_objective_carries_the_same_perturbation() -> None:
    whole = AdversarialTraining(L1(EPS), Free(2))
    recorder, (x, y) = Recorder(network()), batch()
    for _ in range(2):
        (0.5 * whole)(recorder, x, y).loss.backward()
    torch.testing.assert_close((recorder.seen[-1] - x).abs(), torch.full_like(x, EPS / 2))


def test_batches_of_other_sizes_and_shapes() -> None:
    free, penalty = Free(2), L1(0.1)
    push(free, X, penalty, SLOPE)
    moved = 0.1 * SLOPE.sign()
    torch.testing.assert_close(push(free, X[:1], penalty, -SLOPE[:1]), moved[:1])  # a last batch
    kept = torch.cat([torch.zeros_like(moved[:1]), moved[1:]])
    torch.testing.assert_close(free(None, X, penalty), kept)  # type: ignore[arg-type]
    more = torch.cat([X, X])
    torch.testing.assert_close(push(free, more, penalty, torch.cat([SLOPE, SLOPE]))[:3], kept)
    assert len(free(None, more, penalty)) == 6  # type: ignore[arg-type]
    other = torch.zeros(2, 3, 4, 4)
    assert not push(free, other, penalty, torch.ones_like(other)).any()
    torch.testing.assert_close(push(free, other, penalty, torch.ones_like(other)), torch.full_like(other, 0.1))
    halved = other.to(torch.bfloat16)
    assert push(free, halved, penalty, torch.ones_like(halved)).dtype == torch.bfloat16
    assert push(free, other, penalty, torch.ones_like(other)).dtype == torch.float32


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_a_backward_pass_nothing_moves(mode: type) -> None:
    free, penalty = Free(2), L1(0.1)
    push(free, X, penalty, SLOPE)
    before = push_only_forward(free, penalty)
    with mode():
        push(free, X.clone(), penalty, -SLOPE)
        push_only_forward(free, penalty)
        inputs = X.clone()
        assert free.watch(inputs) is inputs
    assert torch.equal(push_only_forward(free, penalty), before)
    model, (x, y) = network().eval(), batch()
    objective = AdversarialTraining(L1(EPS), Free(2))
    first = objective(model, x, y).loss
    torch.autograd.grad(first, list(model.parameters()))
    assert torch.equal(objective(model, x, y).loss, first)


def push_only_forward(free: Free, penalty: Penalty) -> Tensor:
    delta = free(lambda _: pytest.fail("asked for a gradient"), X, penalty)
    free.watch(X + delta)
    return delta


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    free, penalty = Free(2), ElasticNet(0.1, 0.3)
    push(free, X, penalty, SLOPE)
    before = push_only_forward(free, penalty)
    for wrong in (torch.nan, torch.inf):
        push(free, X, penalty, torch.full_like(X, wrong))
        assert torch.equal(push_only_forward(free, penalty), before)


def test_what_is_returned_is_the_callers_own() -> None:
    free, penalty = Free(2), L1(0.1)
    push(free, X, penalty, SLOPE)
    delta = free(lambda _: pytest.fail("asked for a gradient"), X, penalty)
    watched = free.watch(X + delta)
    delta.fill_(7)
    (-SLOPE * watched).sum().backward()
    assert push_only_forward(free, penalty).abs().max() == 0


def test_copies_carry_their_own_perturbation() -> None:
    free, penalty = Free(2), L1(0.1)
    push(free, X, penalty, SLOPE)
    for copied in (copy.deepcopy(free), pickle.loads(pickle.dumps(free))):
        assert copied == free
        torch.testing.assert_close(push(copied, X, penalty, -SLOPE), 0.1 * SLOPE.sign())
        assert not push_only_forward(copied, penalty).any()
    assert push_only_forward(free, penalty).any()


def test_the_indefinite_harmonization_is_refused_with_a_remedy() -> None:
    attention = torch.rand(4, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model, (x, y) = network(), batch()
    with pytest.raises(ArgumentError, match="positive=True"):
        AdversarialTraining(Harmonization(0.5), Free(2))(model, x, y, attention).loss.backward()
    objective = AdversarialTraining(Harmonization(0.5, positive=True), Free(2))
    for _ in range(2):
        objective(model, x, y, attention).loss.backward()


def test_bf16_autocast_and_channels_last() -> None:
    model, (x, y) = network().float().to(memory_format=torch.channels_last), batch()
    x = x.float().contiguous(memory_format=torch.channels_last)
    for penalty in (L1(EPS), ElasticNet(EPS, 0.3), GroupL21(0.2, patch=4)):
        objective, recorder = AdversarialTraining(penalty, Free(2)), Recorder(model)
        for _ in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                losses = objective(recorder, x, y)
            losses.loss.backward()
        assert recorder.seen[-1].dtype == torch.float32
        assert recorder.seen[-1].isfinite().all()
        assert recorder.seen[-1].is_contiguous(memory_format=torch.channels_last)
        assert not torch.equal(recorder.seen[-1], x)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ArgumentError, match="replays=0"):
        Free(0)
