"""Second-order terms on some steps, or on a share of the batch, only."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import (
    GradientPenalty,
    HessianNorm,
    LocalGradientAlignment,
    Losses,
    MaxEntropy,
    Moment,
    Objective,
    warmup,
)
from gradsculpt.penalties import ElasticNet, Harmonization
from tests.networks import Recorder
from tests.objectives.oracles import NETWORKS, SIDE, images

TERMS: dict[str, Callable[..., Objective]] = {
    "alignment": lambda **cheaper: LocalGradientAlignment(0.2, 0.7, 0.3, **cheaper),
    "hessian": lambda **cheaper: HessianNorm(0.4, **cheaper),
    "penalty": lambda **cheaper: GradientPenalty(ElasticNet(0.1, 0.2), **cheaper),
}
every_term = pytest.mark.parametrize("make", TERMS.values(), ids=TERMS)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def regularisers(losses: Losses) -> Tensor:
    return losses.loss - losses.terms["cross_entropy"]


def gradients(loss: Tensor, model: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))


@every_term
def test_every_kth_step_counts_k_times_and_the_others_nothing(make: Callable[..., Objective]) -> None:
    model, (x, y) = NETWORKS["max pool"](), images()
    whole = regularisers(make()(model, x, y, generator=seeded())).item()
    found = []
    for step in range(6):
        losses = make(every=3).at(Moment(step=step))(model, x, y, generator=seeded())
        assert set(losses.terms) == set(make()(model, x, y).terms)
        found.append(regularisers(losses).item())
    assert found == pytest.approx([3 * whole, 0, 0] * 2, rel=1e-9, abs=1e-12)
    assert sum(found) / 6 == pytest.approx(whole)


@every_term
def test_between_its_steps_it_costs_nothing(make: Callable[..., Objective]) -> None:
    recorder, (x, y) = Recorder(NETWORKS["norm in training mode"]()), images()
    random = torch.get_rng_state()
    losses = make(every=2).at(Moment(step=1))(recorder, x, y)
    assert len(recorder.seen) == 1
    assert torch.equal(torch.get_rng_state(), random)
    plain = torch.nn.functional.cross_entropy(copy.deepcopy(recorder.model)(x), y)
    assert losses.loss.item() == pytest.approx(plain.item(), rel=1e-12)
    gradients(losses.loss, recorder)


@every_term
def test_a_share_is_the_first_part_of_the_batch(make: Callable[..., Objective]) -> None:
    model, (x, y) = NETWORKS["max pool"](), images(8)
    found = make(share=0.25)(model, x, y, generator=seeded())
    wanted = make()(model, x[:2], y[:2], generator=seeded())
    torch.testing.assert_close(regularisers(found), regularisers(wanted))
    for a, b in zip(gradients(regularisers(found), model), gradients(regularisers(wanted), model), strict=True):
        torch.testing.assert_close(a, b)
    assert len(found.logits) == 8
    torch.testing.assert_close(found.terms["cross_entropy"], torch.nn.functional.cross_entropy(model(x), y))


@every_term
@pytest.mark.parametrize(("count", "share", "part"), [(1, 0.1, 1), (8, 0.01, 1), (5, 0.5, 2), (8, 1.0, 8)])
def test_a_share_has_at_least_one_image(make: Callable[..., Objective], count: int, share: float, part: int) -> None:
    recorder, (x, y) = Recorder(NETWORKS["max pool"]()), images(count)
    make(share=share)(recorder, x, y)
    assert len(recorder.seen[0]) == count
    assert all(len(seen) == part for seen in recorder.seen[1:])


def test_a_share_takes_its_attention_along() -> None:
    model, (x, y) = NETWORKS["max pool"](), images(4)
    attention = torch.rand(4, 1, SIDE, SIDE, dtype=torch.float64, generator=seeded())
    penalty = Harmonization(0.5)
    found = GradientPenalty(penalty, share=0.5)(model, x, y, attention)
    wanted = GradientPenalty(penalty)(model, x[:2], y[:2], attention[:2])
    torch.testing.assert_close(found.terms["gradient_penalty"], wanted.terms["gradient_penalty"])


def test_a_share_leaves_the_running_statistics_to_the_whole_batch() -> None:
    model, (x, y) = NETWORKS["norm in training mode"](), images(8)
    once = copy.deepcopy(model)
    once(x)
    LocalGradientAlignment(0.2, 0.7, 0.3, share=0.5)(model, x, y)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, once.get_buffer(name), rtol=1e-12, atol=0)


def test_every_and_share_and_schedules_go_together() -> None:
    model, (x, y) = NETWORKS["max pool"](), images(4)
    objective = warmup(4) * (LocalGradientAlignment(warmup(2), 0.7, 0.3, every=2, share=0.5) + MaxEntropy(1.0))
    found = objective.at(Moment(epoch=1.0, step=2))(model, x, y, generator=seeded()).terms
    wanted = LocalGradientAlignment(0.5, 0.7, 0.3)(model, x[:2], y[:2], generator=seeded()).terms
    for name in ("l2_alignment", "cosine_alignment"):
        torch.testing.assert_close(found[name], 0.25 * 2 * wanted[name])
    torch.testing.assert_close(found["negative_entropy"], 0.25 * MaxEntropy(1.0)(model, x, y).terms["negative_entropy"])


@every_term
@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"every": 0}, "every=0"), ({"share": 0.0}, "share=0"), ({"share": 1.5}, "share=1.5"), ({"share": -0.5}, "share")],
)
def test_what_makes_no_sense_is_refused(make: Callable[..., Objective], wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        make(**wrong)
