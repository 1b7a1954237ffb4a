"""Free adversarial training against a plain loop, and what the carried perturbation must survive."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

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
from gradsculpt.perturbations import Free, State
from tests.networks import SIDE, Recorder, batch, network, state
from tests.penalties.cases import CASES, Case, map_of

EPS = 0.05
Mode = Callable[[], AbstractContextManager[object]]


def batches(sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    return [batch(n, seed=i) for i, n in enumerate(sizes)]


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def plain_free_training(
    model: nn.Module, data: list[tuple[Tensor, Tensor]], eps: float, replays: int
) -> tuple[list[float], Tensor]:
    """Algorithm 1 of Shafahi et al.: the losses of the steps, and the perturbation at the end."""
    optimizer, losses = optimizer_of(model), list[float]()
    delta = torch.zeros_like(data[0][0])
    for x, y in data:
        for _ in range(replays):
            x_adv = (x + delta[: len(x)]).requires_grad_()
            loss = F.cross_entropy(model(x_adv), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            assert x_adv.grad is not None
            delta[: len(x)] = (delta[: len(x)] + eps * x_adv.grad.sign()).clamp(-eps, eps)
    return losses, delta


def train(
    objective: Objective, model: nn.Module, data: list[tuple[Tensor, Tensor]], divisor: int = 1
) -> tuple[list[float], State]:
    """Return the losses of the steps, and the state at the end."""
    optimizer, values, state = optimizer_of(model), [], objective.initial_state()
    for x, y in data:
        for _ in range(objective.requirements.replays):
            losses = objective(model, x, y, state=state)
            optimizer.zero_grad()
            (losses.loss / divisor).backward()
            if divisor > 1:  # what accumulation does to the gradients is not the subject
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.grad *= divisor
            optimizer.step()
            values.append(losses.loss.item())
            state = losses.state
    return values, state


@pytest.mark.parametrize("replays", [1, 3])
@pytest.mark.parametrize("divisor", [1, 4])
def test_for_l1_it_is_free_adversarial_training(replays: int, divisor: int) -> None:
    data, objective = batches((4, 4, 2, 4)), AdversarialTraining(L1(EPS), Free(replays))
    model, by_hand = network(), network()
    expected, delta = plain_free_training(by_hand, data, EPS, replays)
    losses, reached = train(objective, model, data, divisor)
    assert losses == pytest.approx(expected, rel=1e-12)
    for name, value in state(by_hand).items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-12, atol=1e-14)
    recorder = Recorder(model)
    objective(recorder, *data[0], state=reached)
    torch.testing.assert_close(recorder.seen[0] - data[0][0], delta, rtol=1e-9, atol=1e-12)
    assert 0 < (delta == 0).sum() < delta.numel()  # signs have turned: a step of another length would show


def test_the_plain_loop_depends_on_what_is_carried() -> None:
    data = batches((4, 4))
    carried = plain_free_training(network(), data, EPS, 2)[0]
    fresh = plain_free_training(network(), data[:1], EPS, 2)[0]
    alone = train(AdversarialTraining(L1(EPS), Free(2)), network(), data[1:])[0]
    assert carried[:2] == fresh
    assert carried[2] != alone[0]


def never(_: Tensor) -> tuple[Tensor, Tensor]:
    raise AssertionError("asked for a gradient")


def push(
    free: Free, state: State, x: Tensor, penalty: Penalty, slope: Tensor, *, backward: bool = True
) -> tuple[Tensor, State]:
    """One training step on the mean over the batch of <slope, x>: the perturbation it was done with, and the state."""
    delta, state = free.step(state, never, x, penalty)
    inputs = (x + delta).requires_grad_()
    if backward:
        (slope * inputs).flatten(1).sum(dim=1).mean().backward()
    return delta, {**state, "inputs": inputs}


def pushed(free: Free, x: Tensor, penalty: Penalty, slope: Tensor) -> State:
    """The state after the first step."""
    return push(free, free.initial_state(), x, penalty, slope)[1]


SLOPE, X = map_of(1, 3, 0.5, 0.3, False), map_of(2, 3, 1.0, 0.0, False)


@pytest.mark.parametrize("case", [case for case in CASES if case.zero], ids=lambda case: case.name)
def test_on_a_linear_loss_it_comes_to_rest_at_the_dual(case: Case) -> None:
    free, slope = Free(2), case.within_reach(SLOPE)
    state = free.initial_state()
    for _ in range(25 if case.numerical else 60):
        delta, state = push(free, state, X, case.batch(3), slope)
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
    state = free.initial_state()
    for seed in range(4):
        slope = map_of(seed, 3, 0.5, 0.0, False)
        delta, state = push(free, state, X, ElasticNet(0.1, 0.3), slope)
        np.testing.assert_allclose(delta.numpy(), expected, rtol=1e-9, atol=1e-12)
        expected = np.vectorize(elastic_by_hand)(expected, slope.numpy())


def test_perturbations_never_leave_the_domain() -> None:
    for penalty in (L1(0.1), GroupL21(0.2, patch=2)):
        free = Free(2)
        state = free.initial_state()
        for seed in range(6):
            delta, state = push(free, state, X, penalty, map_of(seed, 3, 0.5, 0.3, False))
            assert not penalty.conjugate(delta).any()
        assert delta.any()


def test_a_step_is_one_pass_and_leaves_the_parameters_gradients_as_they_are() -> None:
    objective, recorder, (x, y) = AdversarialTraining(SquaredL2(0.3), Free(2)), Recorder(network()), batch()
    state = objective.initial_state()
    for number in range(1, 4):
        recorder.zero_grad()
        losses = objective(recorder, x, y, state=state)
        losses.loss.backward()
        state = losses.state
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
    assert objective.requirements.replays == 2
    state = objective.initial_state()
    for _ in range(2):
        losses = objective(model, x, y, state=state)
        losses.loss.backward()
        state = losses.state
    recorder = Recorder(model)
    objective(recorder, x, y, state=state)
    assert (recorder.seen[0] - x).abs().max().item() == pytest.approx(EPS)


def test_a_scaled_objective_carries_the_same_perturbation() -> None:
    objective = 0.5 * AdversarialTraining(L1(EPS), Free(2))
    recorder, (x, y) = Recorder(network()), batch()
    first = objective(recorder, x, y, state=objective.initial_state())
    first.loss.backward()
    objective(recorder, x, y, state=first.state)
    torch.testing.assert_close((recorder.seen[-1] - x).abs(), torch.full_like(x, EPS / 2))


def test_batches_of_other_sizes_and_shapes() -> None:
    free, penalty = Free(2), L1(0.1)
    state, moved = pushed(free, X, penalty, SLOPE), 0.1 * SLOPE.sign()
    last, state = push(free, state, X[:1], penalty, -SLOPE[:1])  # a last batch
    torch.testing.assert_close(last, moved[:1])
    kept = torch.cat([torch.zeros_like(moved[:1]), moved[1:]])
    torch.testing.assert_close(free.step(state, never, X, penalty)[0], kept)
    more = torch.cat([X, X])
    delta, state = push(free, state, more, penalty, torch.cat([SLOPE, SLOPE]))
    torch.testing.assert_close(delta[:3], kept)
    assert len(free.step(state, never, more, penalty)[0]) == 6
    other = torch.zeros(2, 3, 4, 4)
    delta, state = push(free, state, other, penalty, torch.ones_like(other))
    assert not delta.any()
    delta, state = push(free, state, other, penalty, torch.ones_like(other))
    torch.testing.assert_close(delta, torch.full_like(other, 0.1))
    halved = other.to(torch.bfloat16)
    delta, state = push(free, state, halved, penalty, torch.ones_like(halved))
    assert delta.dtype == torch.bfloat16
    assert push(free, state, other, penalty, torch.ones_like(other))[0].dtype == torch.float32


def test_without_a_backward_pass_nothing_moves() -> None:
    free, penalty = Free(2), L1(0.1)
    state = pushed(free, X, penalty, SLOPE)
    before, state = push(free, state, X, penalty, -SLOPE, backward=False)
    assert torch.equal(push(free, state, X, penalty, SLOPE)[0], before)
    assert before.any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("regulariser", [None, GradientPenalty(SquaredL2(0.1))], ids=["alone", "sum"])
def test_an_evaluation_between_steps_moves_nothing(mode: Mode, regulariser: Objective | None) -> None:
    model, (x, y) = network().eval(), batch()
    objective: Objective = AdversarialTraining(L1(EPS), Free(2))
    objective = objective if regulariser is None else objective + regulariser
    losses = objective(model, x, y, state=objective.initial_state())
    losses.loss.backward()
    expected = objective(model, x, y, state=losses.state).loss
    with mode():
        seen = objective(model, x.clone(), y.clone(), state=losses.state)
    torch.testing.assert_close(seen.loss, expected.detach())  # at the perturbation that training has come to
    for after in (losses.state, seen.state):
        assert torch.equal(objective(model, x, y, state=after).loss, expected)


def test_gradients_of_parameters_alone_move_nothing() -> None:
    model, (x, y) = network().eval(), batch()
    objective = AdversarialTraining(L1(EPS), Free(2))
    first = objective(model, x, y, state=objective.initial_state())
    torch.autograd.grad(first.loss, list(model.parameters()))
    assert torch.equal(objective(model, x, y, state=first.state).loss, first.loss)


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    free, penalty = Free(2), ElasticNet(0.1, 0.3)
    state = pushed(free, X, penalty, SLOPE)
    before = free.step(state, never, X, penalty)[0]
    for wrong in (torch.nan, torch.inf):
        state = push(free, state, X, penalty, torch.full_like(X, wrong))[1]
        assert torch.equal(free.step(state, never, X, penalty)[0], before)


def test_what_is_returned_is_the_callers_own() -> None:
    free, penalty = Free(2), L1(0.1)
    delta, state = push(free, pushed(free, X, penalty, SLOPE), X, penalty, -SLOPE)
    delta.fill_(7)
    assert free.step(state, never, X, penalty)[0].abs().max() == 0


def test_the_object_remembers_nothing() -> None:
    free, penalty = Free(2), L1(0.1)
    before = dict(vars(free))
    states = [pushed(free, X, penalty, slope) for slope in (SLOPE, -SLOPE)]
    first, second = (free.step(state, never, X, penalty)[0] for state in states)
    torch.testing.assert_close(first, -second)
    assert not free.step(free.initial_state(), never, X, penalty)[0].any()
    assert vars(free) == before


def test_a_step_leaves_the_state_that_it_got_as_it_is() -> None:
    free, penalty = Free(2), L1(0.1)
    state = pushed(free, X, penalty, SLOPE)
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    copies = {name: value.detach().clone() for name, value in tensors.items()}
    first = push(free, state, X, penalty, -SLOPE)[0]
    assert state == {**state, **tensors}
    for name, value in tensors.items():
        assert torch.equal(value.detach(), copies[name])
    assert torch.equal(push(free, state, X, penalty, SLOPE)[0], first)


def test_what_was_learnt_is_tensors_alone_and_goes_on_as_the_state_does() -> None:
    free, penalty = Free(2), L1(0.1)
    state = pushed(free, X, penalty, SLOPE)
    learnt = free.learnt(state)
    torch.testing.assert_close(learnt, {"delta": 0.1 * SLOPE.sign()})
    assert torch.equal(free.learnt(learnt)["delta"], learnt["delta"])
    assert torch.equal(free.step(learnt, never, X, penalty)[0], free.step(state, never, X, penalty)[0])
    assert free.learnt(free.initial_state())["delta"].numel() == 0


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("compose", [lambda o: o, lambda o: 0.5 * o, lambda o: o + MaxEntropy(0.1)])
def test_without_a_state_it_is_refused(mode: Mode, compose: Callable[[Objective], Objective]) -> None:
    model, (x, y) = network(), batch()
    objective = compose(AdversarialTraining(L1(EPS), Free(2)))
    with mode(), pytest.raises(ArgumentError, match=r"carries delta .*no state.*state=objective\.initial_state\(\)"):
        objective(model, x, y)


def test_the_indefinite_harmonization_is_refused_with_a_remedy() -> None:
    attention = torch.rand(4, 1, SIDE, SIDE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model, (x, y) = network(), batch()
    for positive in (False, True):
        objective = AdversarialTraining(Harmonization(0.5, positive=positive), Free(2))
        losses = objective(model, x, y, attention, state=objective.initial_state())
        losses.loss.backward()
        with nullcontext() if positive else pytest.raises(ArgumentError, match="positive=True"):
            objective(model, x, y, attention, state=losses.state)


def test_bf16_autocast_and_channels_last() -> None:
    model, (x, y) = network().float().to(memory_format=torch.channels_last), batch()
    x = x.float().contiguous(memory_format=torch.channels_last)
    for penalty in (L1(EPS), ElasticNet(EPS, 0.3), GroupL21(0.2, patch=4)):
        objective, recorder = AdversarialTraining(penalty, Free(2)), Recorder(model)
        state = objective.initial_state()
        for _ in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                losses = objective(recorder, x, y, state=state)
            losses.loss.backward()
            state = losses.state
        assert recorder.seen[-1].dtype == torch.float32
        assert recorder.seen[-1].isfinite().all()
        assert recorder.seen[-1].is_contiguous(memory_format=torch.channels_last)
        assert not torch.equal(recorder.seen[-1], x)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ArgumentError, match="replays=0"):
        Free(0)
