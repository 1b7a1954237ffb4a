"""Each law, handed a penalty that is wrong in one way, fails; handed the right one, it passes."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from gradsculpt.penalties import ElasticNet, GroupL21, SquaredL2
from gradsculpt.penalties.base import Size
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


def bite(law: Callable[..., None], wrong: type, *arguments: object, **options: object) -> Bite:
    make = group if issubclass(wrong, GroupL21) else elastic
    right = make(GroupL21 if issubclass(wrong, GroupL21) else ElasticNet)
    law_of = lambda penalty: law(penalty, *arguments, **options)  # noqa: E731
    law_of.__name__ = law.__name__
    return Bite(law_of, right, make(wrong))


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
