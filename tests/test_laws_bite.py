"""Each law, handed a penalty or an objective that is wrong in one way, fails; handed the right one, it passes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from torch import Tensor

from gradsculpt.objectives import (
    CrossEntropy,
    GradientPenalty,
    HessianNorm,
    LocalGradientAlignment,
    Losses,
    MaxEntropy,
    Objective,
    Scaled,
    Sum,
)
from gradsculpt.objectives.base import Part
from gradsculpt.objectives.passes import Passes
from gradsculpt.penalties import ElasticNet, GroupL21, SquaredL2
from gradsculpt.penalties.base import Size
from tests.networks import batch, network
from tests.objectives import laws as sums
from tests.objectives import oracles
from tests.penalties import laws
from tests.penalties.cases import SHAPE, map_of

G = map_of(1, 2, 1.0, 0.3, False)
DENSE = map_of(2, 2, 1.0, 0.0, False)
PAIR = torch.tensor([[[[0.9, -0.4]]]], dtype=torch.float64)


class DualScaled(ElasticNet):
    def dual(self, g: Tensor) -> Tensor:
        return 1.01 * super().dual(g)


class DualWithoutTwo(ElasticNet):
    def dual(self, g: Tensor) -> Tensor:
        return self.l1 * g.sign() + self.l2 * g


class DualOfWholeMap(GroupL21):
    def dual(self, g: Tensor) -> Tensor:
        return self.weight * g / g.norm()


class ConjugateWithoutQuarter(ElasticNet):
    def conjugate(self, delta: Tensor) -> Tensor:
        return 4 * super().conjugate(delta)


class ConjugateTooSmall(ElasticNet):
    def conjugate(self, delta: Tensor) -> Tensor:
        return 0.99 * super().conjugate(delta)


class ConjugateNeverInfinite(GroupL21):
    def conjugate(self, delta: Tensor) -> Tensor:
        return super().conjugate(delta).nan_to_num(posinf=0.0)


class ConjugateSeldomInfinite(GroupL21):
    def conjugate(self, delta: Tensor) -> Tensor:
        return super().conjugate(0.99 * delta)


class ConjugateNotANumber(GroupL21):
    def conjugate(self, delta: Tensor) -> Tensor:
        return super().conjugate(delta) * 0.0


class ValueWithRoot(ElasticNet):
    """Not convex along rays."""

    def value(self, g: Tensor) -> Tensor:
        return super().value(g).sqrt()


class ConjugateConcave(ElasticNet):
    def conjugate(self, delta: Tensor) -> Tensor:
        return super().conjugate(delta) ** 0.25


class ProxWithoutTwo(ElasticNet):
    def prox(self, v: Tensor, step: Size) -> Tensor:
        return v.sign() * (v.abs() - step * self.l1).clamp(min=0) / (1 + step * self.l2)


class ProxThatForgetsTheStep(ElasticNet):
    def prox(self, v: Tensor, step: Size) -> Tensor:
        return super().prox(v, 1.0)


class ProxWithHardThreshold(GroupL21):
    def prox(self, v: Tensor, step: Size) -> Tensor:
        return torch.where(super().prox(v, step) == 0, 0.0, v)


class ProjectionOnASmallerBall(GroupL21):
    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        return GroupL21(0.99 * self.weight, self.patch).conjugate_prox(v, step)


class NotZeroAtZero(ElasticNet):
    def dual(self, g: Tensor) -> Tensor:
        return super().dual(g) + 1e-6


class DividesByZero(GroupL21):
    def dual(self, g: Tensor) -> Tensor:
        return g / g.square().flatten(1).sum(dim=1).sqrt().view(-1, 1, 1, 1)

    def value(self, g: Tensor) -> Tensor:
        return g.square().flatten(1).sum(dim=1).sqrt()


class Hides(GroupL21):
    def dual(self, g: Tensor) -> Tensor:
        return super().dual(g).nan_to_num()


class SinglePrecision(ElasticNet):
    def dual(self, g: Tensor) -> Tensor:
        return super().dual(g).float()


class Flattened(ElasticNet):
    def value(self, g: Tensor) -> Tensor:
        return super().value(g)[:, None]


class InPlace(ElasticNet):
    def dual(self, g: Tensor) -> Tensor:
        return g.mul_(2 * self.l2)


class Shares(ElasticNet):
    def conjugate_prox(self, v: Tensor, step: Size) -> Tensor:
        return v


class AcrossTheBatch(ElasticNet):
    def dual(self, g: Tensor) -> Tensor:
        return super().dual(g) / len(g)


class AscentAsLongAsTheGradient(ElasticNet):
    def ascent(self, g: Tensor) -> Tensor:
        return g


class AscentDownhill(ElasticNet):
    def ascent(self, g: Tensor) -> Tensor:
        return -super().ascent(g)


class AscentOfTheBatch(GroupL21):
    def ascent(self, g: Tensor) -> Tensor:
        return g / g.norm()


class AscentOfGroups(GroupL21):
    def ascent(self, g: Tensor) -> Tensor:
        return self.dual(g) / self.weight


class ReadsMemory(ElasticNet):
    def dual(self, g: Tensor) -> Tensor:
        return super().dual(g.as_strided(g.shape, torch.empty(g.shape).stride(), g.storage_offset()))


@dataclass(frozen=True)
class Bite:
    """A law as a function of the penalty alone, the right penalty, and one that breaks the law."""

    law: Callable[..., None]
    right: object
    wrong: object

    def __repr__(self) -> str:
        return f"{type(self.wrong).__name__}"


def elastic(cls: type[ElasticNet]) -> ElasticNet:
    return cls(0.3, 0.7)


def group(cls: type[GroupL21]) -> GroupL21:
    return cls(0.4, patch=2)


def bite(
    law: Callable[..., None], wrong: type[ElasticNet] | type[GroupL21], *arguments: object, **options: object
) -> Bite:
    law_of = lambda penalty: law(penalty, *arguments, **options)  # noqa: E731
    law_of.__name__ = law.__name__
    if issubclass(wrong, GroupL21):
        return Bite(law_of, group(GroupL21), group(wrong))
    return Bite(law_of, elastic(ElasticNet), elastic(wrong))


BITES = [
    bite(laws.fenchel_young, ConjugateTooSmall, G, elastic(ElasticNet).dual(G)),
    bite(laws.fenchel_young, ConjugateNeverInfinite, DENSE, DENSE),
    bite(laws.fenchel_young, ConjugateNotANumber, G, DENSE),
    bite(laws.equality_at_dual, DualScaled, G),
    bite(laws.equality_at_dual, DualWithoutTwo, G),
    bite(laws.equality_at_dual, DualOfWholeMap, G),
    bite(laws.equality_at_dual, ConjugateWithoutQuarter, G),
    bite(laws.equality_at_dual, ConjugateTooSmall, G),
    bite(laws.prox_is_optimal, ProxWithoutTwo, G, 0.5),
    bite(laws.prox_is_optimal, ProxThatForgetsTheStep, G, 0.5),
    bite(laws.prox_is_optimal, ProxWithHardThreshold, G, 0.5),
    bite(laws.conjugate_prox_is_optimal, ProjectionOnASmallerBall, G, 0.5),
    bite(laws.moreau_identity, ProjectionOnASmallerBall, G, 0.5),
    bite(laws.moreau_identity, ProxWithoutTwo, G, 0.5),
    bite(laws.convex, ValueWithRoot, G, torch.zeros_like(G), 0.5),
    bite(laws.convex, ConjugateConcave, 3 * DENSE, torch.zeros_like(G), 0.5),
    bite(laws.dual_is_the_gradient, DualScaled, DENSE),
    bite(laws.dual_is_the_gradient, DualWithoutTwo, DENSE),
    bite(laws.differentiable_at_zero, DividesByZero, G),
    bite(laws.ascent_is_the_steepest_step, AscentAsLongAsTheGradient, G),
    bite(laws.ascent_is_the_steepest_step, AscentDownhill, G),
    bite(laws.ascent_is_the_steepest_step, AscentOfTheBatch, G),
    bite(laws.ascent_is_the_steepest_step, AscentOfGroups, G),
    bite(laws.zero_stays_zero, NotZeroAtZero, G, 0.5),
    bite(laws.zero_stays_zero, DividesByZero, G, 0.5),
    bite(laws.shapes_and_dtypes_are_kept, SinglePrecision, G, 0.5),
    bite(laws.shapes_and_dtypes_are_kept, Flattened, G, 0.5),
    bite(laws.input_is_never_changed, InPlace, G.clone(), 0.5),
    bite(laws.input_is_never_changed, Shares, G.clone(), 0.5),
    bite(laws.layout_does_not_matter, ReadsMemory, G, 0.5),
    bite(laws.finite, DividesByZero, 1e200 * DENSE, 0.5),
    bite(laws.finite, ConjugateNotANumber, DENSE, 0.5),
    bite(laws.not_a_number_is_not_hidden, Hides, torch.where(DENSE > 1, torch.nan, DENSE)),
    bite(laws.conjugate_is_the_supremum, ConjugateTooSmall, PAIR),
    bite(laws.conjugate_is_the_supremum, ConjugateWithoutQuarter, PAIR),
    bite(laws.conjugate_is_the_supremum, ConjugateNeverInfinite, PAIR),
    bite(laws.biconjugate_is_the_value, ConjugateTooSmall, PAIR),
    bite(laws.biconjugate_is_the_value, ConjugateSeldomInfinite, PAIR),
]


@pytest.mark.parametrize("case", BITES, ids=lambda case: f"{case.law.__name__}-{case!r}")
def test_the_law_passes_what_is_right_and_bites_what_is_wrong(case: Bite) -> None:
    case.law(case.right)
    with pytest.raises(AssertionError):
        case.law(case.wrong)


def test_batch_mates_law_bites() -> None:
    for penalty, wrong in ((elastic(ElasticNet), False), (elastic(AcrossTheBatch), True)):
        if wrong:
            with pytest.raises(AssertionError):
                laws.batch_mates_do_not_matter(penalty, [penalty, penalty], G, 0.5)
        else:
            laws.batch_mates_do_not_matter(penalty, [penalty, penalty], G, 0.5)


def test_equality_sees_a_difference_just_over_its_tolerance() -> None:
    exact = SquaredL2(0.7)
    delta = exact.dual(DENSE)
    laws.equality(exact, DENSE, delta)
    with pytest.raises(AssertionError):
        laws.equality(exact, DENSE, delta * (1 + 1e-3))


def test_every_law_is_handed_something_wrong() -> None:
    helpers = {"dot", "close", "equality", "supremum"}
    public = {
        name
        for name, law in vars(laws).items()
        if callable(law) and law.__module__ == laws.__name__ and name[0] != "_" and name not in helpers
    }
    assert public == {case.law.__name__ for case in BITES} | {"batch_mates_do_not_matter"}
    assert G.shape[1:] == SHAPE


# Objectives.


class AlignmentWithoutHalf(LocalGradientAlignment):
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        found = super().terms_of(passes)
        return found | {"cosine_alignment": 2 * found["cosine_alignment"]}


class AlignmentWithoutSquare(LocalGradientAlignment):
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        return replace(as_given(self), squared=False).terms_of(passes)


class AlignmentWithAttachedSource(LocalGradientAlignment):
    differentiates_clean = True

    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        return replace(as_given(self), detach_source=False).terms_of(passes)


class AlignmentTooNear(LocalGradientAlignment):
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        return replace(as_given(self), eps=0.15).terms_of(passes)


class HessianWithoutSquare(HessianNorm):
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        return {name: (0.4 * value).sqrt() for name, value in super().terms_of(passes).items()}


class HessianTimesAConstant(HessianNorm):
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in super().terms_of(passes).items()}


class PenaltyOfTheSum(GradientPenalty):
    def terms_of(self, passes: Passes) -> dict[str, Tensor]:
        return {name: len(passes.x) * value for name, value in super().terms_of(passes).items()}


class EntropyOfTheOtherSign(MaxEntropy):
    def terms(self, passes: Passes) -> dict[str, Tensor]:
        return {name: -value for name, value in super().terms(passes).items()}


def as_given(alignment: LocalGradientAlignment) -> LocalGradientAlignment:
    return LocalGradientAlignment(alignment.l2, alignment.cosine, alignment.eps)


def alignment(objective: Objective) -> None:
    model, (x, y) = oracles.network(), oracles.images()
    terms = objective(model, x, y, generator=torch.Generator().manual_seed(4)).terms
    noise = oracles.uniform(x, 4)
    for name, l2, cosine in (("l2_alignment", 0.2, 0.0), ("cosine_alignment", 0.0, 0.7)):
        oracle = oracles.alignment(oracles.plain(model), x, y, lambda g, i: 0.3 * noise[i], l2=l2, cosine=cosine)
        oracles.agrees(terms[name], model, oracle)


def hessian(objective: Objective) -> None:
    model, (x, y) = oracles.network(), oracles.images()
    term = objective(model, x, y, generator=torch.Generator().manual_seed(4)).terms["hessian_norm"]
    # A term without a graph is wrong, but no error of PyTorch's.
    term = term + 0 * model.get_parameter("0.weight").sum()
    oracles.agrees(term, model, oracles.hessian_norm(oracles.plain(model), x, y, oracles.normal(x, 4), 0.4))


def penalty(objective: Objective) -> None:
    model, (x, y) = oracles.network(), oracles.images()
    term = objective(model, x, y).terms["gradient_penalty"]
    written = lambda g, i: (float(0.7 * (g * g).sum()), 2 * 0.7 * g)  # noqa: E731
    oracles.agrees(term, model, oracles.gradient_penalty(oracles.plain(model), x, y, written))


def entropy(objective: Objective) -> None:
    model, (x, y) = oracles.network(), oracles.images()
    term = objective(model, x, y).terms["negative_entropy"]
    oracles.agrees(term, model, oracles.negative_entropy(oracles.plain(model), x, y, 0.4))


ORACLES: list[tuple[Callable[[Objective], None], Objective, Objective]] = [
    *(
        (alignment, LocalGradientAlignment(0.2, 0.7, 0.3), wrong(0.2, 0.7, 0.3))
        for wrong in (
            AlignmentWithoutHalf,
            AlignmentWithoutSquare,
            AlignmentWithAttachedSource,
            AlignmentTooNear,
        )
    ),
    (hessian, HessianNorm(0.4), HessianWithoutSquare(0.4)),
    (hessian, HessianNorm(0.4), HessianTimesAConstant(0.4)),
    (penalty, GradientPenalty(SquaredL2(0.7)), PenaltyOfTheSum(SquaredL2(0.7))),
    (entropy, MaxEntropy(0.4), EntropyOfTheOtherSign(0.4)),
]


@pytest.mark.parametrize(("law", "right", "wrong"), ORACLES, ids=lambda value: type(value).__name__)
def test_the_oracle_tells_right_from_wrong(
    law: Callable[[Objective], None], right: Objective, wrong: Objective
) -> None:
    law(right)
    with pytest.raises(AssertionError):
        law(wrong)


class DropsTheLast(Sum):
    def parts(self) -> tuple[Part, ...]:
        return super().parts()[:-1]


class AddsTwice(Sum):
    def parts(self) -> tuple[Part, ...]:
        return (*super().parts(), super().parts()[0])


class ScalesEverything(Scaled):
    def __call__(self, *arguments: object, **options: object) -> Losses:
        losses = self.objective(*arguments, **options)  # type: ignore[arg-type]
        factor = cast(float, self.factor)
        terms = {name: factor * value for name, value in losses.terms.items()}
        return Losses(factor * losses.loss, losses.logits, terms)


class Forgetful(CrossEntropy):
    def __add__(self, other: object) -> Objective:
        return DropsTheLast((self, other))  # type: ignore[arg-type]


class Replaced(CrossEntropy):
    """Its own data term is lost in a sum."""

    def __add__(self, other: object) -> Objective:
        return GradientPenalty(SquaredL2(0.1)) + other


class Greedy(MaxEntropy):
    def __add__(self, other: object) -> Objective:
        return AddsTwice((self, other))  # type: ignore[arg-type]


class Deaf(MaxEntropy):
    def __mul__(self, factor: object) -> Objective:
        return self

    __rmul__ = __mul__


class Loud(MaxEntropy):
    def __mul__(self, factor: object) -> Objective:
        return ScalesEverything(self, factor)  # type: ignore[arg-type]

    __rmul__ = __mul__


class Hidden(MaxEntropy):
    """Has a part of the loss that no term tells of."""

    def __call__(self, *arguments: object, **options: object) -> Losses:
        found = super().__call__(*arguments, **options)  # type: ignore[arg-type]
        return replace(found, loss=found.loss + 0.1)


def adding(objective: Objective, model: torch.nn.Module, x: Tensor, y: Tensor) -> None:
    sums.adding_keeps_one_data_term(objective, LocalGradientAlignment(0.2, 0.7, 0.3), MaxEntropy(0.4), model, x, y)


adding.__name__ = sums.adding_keeps_one_data_term.__name__

SUMS: list[tuple[Callable[..., None], Objective, Objective]] = [
    (adding, CrossEntropy(), Forgetful()),
    (adding, CrossEntropy(), Replaced()),
    (sums.cross_entropy_is_neutral, MaxEntropy(0.4), Greedy(0.4)),
    (sums.a_factor_scales_all_but_the_cross_entropy, MaxEntropy(0.4), Deaf(0.4)),
    (sums.a_factor_scales_all_but_the_cross_entropy, MaxEntropy(0.4), Loud(0.4)),
    (sums.terms_sum_to_the_loss, MaxEntropy(0.4), Hidden(0.4)),
]


@pytest.mark.parametrize(("law", "right", "wrong"), SUMS, ids=lambda value: type(value).__name__)
def test_the_law_of_sums_bites(law: Callable[..., None], right: Objective, wrong: Objective) -> None:
    model, (x, y) = network(), batch()
    law(right, model, x, y)
    with pytest.raises(AssertionError):
        law(wrong, model, x, y)


def test_every_law_of_sums_is_handed_something_wrong() -> None:
    public = {name for name, law in vars(sums).items() if callable(law) and law.__module__ == sums.__name__}
    assert public - {"evaluate", "close"} == {law.__name__ for law, _, _ in SUMS}
