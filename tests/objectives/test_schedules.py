"""Schedules and sizes in pixel levels."""

from contextlib import nullcontext

import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    GradientPenalty,
    HessianNorm,
    InputGradientAlignment,
    LocalGradientAlignment,
    MaxEntropy,
    Moment,
    Objective,
    PixelBounds,
    Pixels,
    Ramp,
    Scaled,
    Sum,
    warmup,
)
from gradsculpt.penalties import L1, SquaredL2
from tests.networks import Recorder, batch, network
from tests.objectives.cases import BUILDERS, maps

SPACE = InputSpace(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1))


def test_a_ramp_is_a_straight_line_between_two_epochs() -> None:
    rises, falls = Ramp(0.2, 1.0, begin=2, end=4), Ramp(1.0, 0.0, begin=0, end=10)
    assert [rises.at(Moment(epoch=e)) for e in (0, 1.99, 2, 2.5, 3, 4, 50)] == pytest.approx(
        [0.2, 0.2, 0.2, 0.4, 0.6, 1.0, 1.0]
    )
    assert [falls.at(Moment(epoch=e)) for e in (0, 2.5, 10, 11)] == pytest.approx([1.0, 0.75, 0.0, 0.0])


def test_a_warmup_starts_at_nothing() -> None:
    assert [warmup(4, 0.8).at(Moment(epoch=e)) for e in (0, 1, 4, 9)] == pytest.approx([0.0, 0.2, 0.8, 0.8])
    assert warmup(0).at(Moment(epoch=0)) == 1.0
    assert warmup(4) == Ramp(0.0, 1.0, 0.0, 4)


def test_a_ramp_of_no_length_is_a_step() -> None:
    step = Ramp(0.0, 1.0, begin=3, end=3)
    assert [step.at(Moment(epoch=e)) for e in (2.999, 3, 4)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "wrong", [{"start": -1.0}, {"stop": float("nan")}, {"begin": -1}, {"begin": 3, "end": 2}, {"end": float("inf")}]
)
def test_a_ramp_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="out of range"):
        Ramp(**{"start": 0.0, "stop": 1.0, "begin": 0, "end": 2} | wrong)


def test_moments_before_the_beginning_are_refused() -> None:
    for wrong in ({"epoch": -0.1}, {"step": -1}):
        with pytest.raises(ArgumentError, match="out of range"):
            Moment(**wrong)


def test_levels_become_model_units() -> None:
    found = Pixels(51).at(Moment(space=SPACE))
    torch.testing.assert_close(found, torch.tensor([0.8, 1.0, 2.0]).view(1, 3, 1, 1))
    with pytest.raises(ArgumentError, match="space"):
        Pixels(51).at(Moment())
    with pytest.raises(ArgumentError, match="levels=-1"):
        Pixels(-1)


def test_settings_are_resolved_wherever_they_stand() -> None:
    deep = 2.0 * (
        warmup(4)
        * (AdversarialTraining(L1(0.1)) + warmup(2) * LocalGradientAlignment(Ramp(1, 0, 0, 2), 1.0, Pixels(51)))
    )
    found = deep.at(Moment(epoch=1.0, space=SPACE))
    assert isinstance(found, Scaled)
    assert isinstance(found.objective, Scaled)
    assert found.objective.factor == 0.25
    assert isinstance(found.objective.objective, Sum)
    data, scaled = found.objective.objective.objectives
    assert data == AdversarialTraining(L1(0.1))
    assert isinstance(scaled, Scaled)
    assert scaled.factor == 0.5
    assert isinstance(scaled.objective, LocalGradientAlignment)
    assert scaled.objective.l2 == 0.5
    torch.testing.assert_close(scaled.objective.eps, torch.tensor([0.8, 1.0, 2.0]).view(1, 3, 1, 1))
    assert [factor for factor, _ in found.parts()] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("objective", "needed"),
    [
        (CrossEntropy(), False),
        (LocalGradientAlignment(1.0, 1.0, 0.1), False),
        (LocalGradientAlignment(1.0, 1.0, Pixels(51)), True),
        (MaxEntropy(warmup(2)) + 0.5 * HessianNorm(Ramp(1.0, 0.0, 0, 2)), False),
        (MaxEntropy(warmup(2)) + 0.5 * InputGradientAlignment(0.5, Pixels(8)), True),
        (AdversarialTraining(L1(0.1), bounds=PixelBounds()), True),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_pixel_units_are_needed_where_a_moment_without_a_space_will_not_do(objective: Objective, needed: bool) -> None:
    assert objective.requirements.pixel_units == needed
    objective.at(Moment(space=SPACE))
    with pytest.raises(ArgumentError, match=r"space=\.\.\.") if needed else nullcontext():
        objective.at(Moment())


def test_pixels_are_where_the_neighbour_ends() -> None:
    recorder, (x, y) = Recorder(network()), batch()
    objective = LocalGradientAlignment(1.0, 1.0, eps=Pixels(51)).at(Moment(space=SPACE))
    objective(recorder, x, y)
    reach = (recorder.seen[1] - x).abs().amax(dim=(0, 2, 3))
    limit = torch.tensor([0.8, 1.0, 2.0], dtype=torch.float64)
    assert bool((reach <= limit * (1 + 1e-6)).all())
    assert bool((reach > 0.9 * limit).all())


def test_what_changes_nothing_is_the_same_object() -> None:
    for objective in (CrossEntropy(), MaxEntropy(1.0), AdversarialTraining(L1(0.1)), HessianNorm(1.0)):
        assert objective.at(Moment(epoch=3.0, step=5, space=SPACE)) is objective


UNRESOLVED: list[Objective] = [
    MaxEntropy(warmup(2)),
    HessianNorm(warmup(2)),
    LocalGradientAlignment(warmup(2), 1.0, 0.1),
    LocalGradientAlignment(1.0, warmup(2), 0.1),
    LocalGradientAlignment(1.0, 1.0, Pixels(4)),
    warmup(2) * MaxEntropy(1.0),
    warmup(2) * AdversarialTraining(L1(0.1)),
    CrossEntropy() + warmup(2) * GradientPenalty(SquaredL2(1.0)),
]


@pytest.mark.parametrize("objective", UNRESOLVED, ids=lambda o: repr(o)[:60])
def test_a_setting_that_was_not_resolved_is_missed(objective: Objective) -> None:
    x, y = batch()
    with pytest.raises(ArgumentError, match=r"moment is not known.*objective\.at"):
        objective(network(), x, y)
    resolved = objective.at(Moment(epoch=1.0, space=SPACE))
    resolved(network(), x, y)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_resolved_objective_stays_as_it_is(name: str) -> None:
    x, y = batch()
    moment = Moment(epoch=0.5, step=2, space=SPACE)
    once = BUILDERS[name]().at(moment)
    twice = once.at(Moment(epoch=9.0, step=3))
    losses = [o(network(), x, y, maps(x), generator=torch.Generator().manual_seed(0)).loss for o in (once, twice)]
    assert torch.equal(*losses)
