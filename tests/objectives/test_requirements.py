"""What an objective asks of a training, and who says so."""

import pytest
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    ExplanationDistillation,
    GradientPenalty,
    MaxEntropy,
    Objective,
    Requirements,
    Sum,
    TeacherSpecification,
    warmup,
)
from gradsculpt.penalties import L1, PENALTIES, ElasticNet, Harmonization, Penalty, ScaledPenalty
from gradsculpt.perturbations import Free, Iterative, OneStep
from tests.objectives.cases import BUILDERS
from tests.penalties.cases import CASES, SHAPE, Case, map_of

GAZE, TEACHER = Harmonization(0.1), TeacherSpecification(CrossEntropy(), None, 10, 0.08)


@pytest.mark.parametrize(
    ("objective", "wanted"),
    [
        (CrossEntropy(), Requirements()),
        (AdversarialTraining(L1(0.1), Free(3)), Requirements(replays=3)),
        (0.5 * (MaxEntropy(0.1) + AdversarialTraining(L1(0.1), Free(3))), Requirements(replays=3)),
        (warmup(2) * AdversarialTraining(L1(0.1), Free(3)), Requirements(replays=3)),
        (AdversarialTraining(L1(0.1), OneStep()), Requirements(smooth=True)),
        (AdversarialTraining(L1(0.1), Iterative(2)), Requirements()),
        (AdversarialTraining(GAZE), Requirements(attention=True, smooth=True)),
        (AdversarialTraining(2 * (3 * GAZE)), Requirements(attention=True, smooth=True)),
        (AdversarialTraining(2 * L1(0.1)) + GradientPenalty(GAZE), Requirements(attention=True, smooth=True)),
        (AdversarialTraining(2 * L1(0.1)) + GradientPenalty(L1(0.1)), Requirements(smooth=True)),
        (ExplanationDistillation(1.0, 0.3), Requirements(teacher=TEACHER)),
        (
            0.5 * ExplanationDistillation(1.0, 0.3) + AdversarialTraining(L1(0.1), Free(2)),
            Requirements(teacher=TEACHER, replays=2),
        ),
    ],
    ids=lambda value: repr(value)[:70],
)
def test_what_is_required_is_what_any_part_requires(objective: Objective, wanted: Requirements) -> None:
    assert objective.requirements == wanted


@pytest.mark.parametrize("name", BUILDERS)
def test_a_sum_and_a_scaling_require_what_their_members_do(name: str) -> None:
    objective = BUILDERS[name]()
    for same in (0.5 * objective, objective + CrossEntropy(), Sum([CrossEntropy(), warmup(2) * objective])):
        assert same.requirements == objective.requirements


def test_contradictions_are_refused_where_they_are_put_together() -> None:
    alone = ExplanationDistillation(1.0, 0.3)
    for part in (alone, alone.with_teacher(lambda x: x.flatten(1))):
        with pytest.raises(ArgumentError, match="2 of the objectives want a teacher"):
            part + 0.5 * part
        with pytest.raises(ArgumentError, match="human attention and another the explanations"):
            0.5 * part + AdversarialTraining(2 * GAZE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_penalty_follows_attention_if_maps_change_it(case: Case) -> None:
    penalty, maps = case.batch(2), torch.rand(2, 2, 1, *SHAPE[1:], generator=torch.Generator().manual_seed(0)).double()
    g = map_of(1, 2, 1.0, 0.0, False)
    first, second = (penalty.given(attention).value(g) for attention in maps)
    assert penalty.follows_attention != torch.equal(first, second)


class Users(ElasticNet):
    """A penalty of a user's own that follows attention, and says so."""

    @property
    def follows_attention(self) -> bool:
        return True

    def given(self, attention: Tensor | None) -> Penalty:
        return self if attention is None else ElasticNet(attention.to(attention), self.l2)


def test_a_users_own_penalty_says_itself_whether_it_follows_attention() -> None:
    assert AdversarialTraining(Users(0.1, 0.2)).requirements.attention
    assert GradientPenalty(ScaledPenalty(Users(0.1, 0.2), 2.0)).requirements.attention
    assert {cls for cls in PENALTIES if cls.given is not Penalty.given} == {Harmonization, ScaledPenalty}
