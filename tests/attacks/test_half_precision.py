"""Attacks on networks in half precision get as far as on those in float32."""

import pytest
import torch

from gradsculpt.attacks import (
    ATTACKS,
    Attack,
    Manipulation,
    MassCenterAttack,
    RandomPerturbation,
    TargetedManipulation,
    TopKAttack,
    UntargetedManipulation,
    mass_center,
)
from gradsculpt.attributions import Gradient
from tests.networks import halved

MEMBERS: tuple[Attack, ...] = (
    TargetedManipulation(0.1, steps=5),
    TargetedManipulation(0.1, steps=5, distance="cosine", optimizer="sign"),
    UntargetedManipulation(0.1, steps=5),
    TopKAttack(10.0, steps=5),
    MassCenterAttack(0.1, steps=5),
    RandomPerturbation(0.1),
    RandomPerturbation(10.0, kind="gaussian"),
)


def test_every_attack_is_tried() -> None:
    assert {type(attack) for attack in MEMBERS} == set(ATTACKS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("attack", MEMBERS, ids=repr)
def test_every_attack(attack: Attack, dtype: torch.dtype) -> None:
    half, single, x = halved(dtype, 152, n=1)
    y = torch.tensor([1])
    if isinstance(attack, Manipulation):
        found, exact = attack.run(half, Gradient(), x, y), attack.run(single, Gradient(), x.float(), y)
        idle = attack.__class__(attack.eps, steps=0).run(single, Gradient(), x.float(), y)  # type: ignore[call-arg]
        assert float(exact.score) < float(idle.score)
        torch.testing.assert_close(found.score.double(), exact.score.double(), rtol=0.05, atol=0.01)
        attacked = found.x
    else:
        attacked = attack(half, Gradient(), x, y)
    assert attacked.dtype == dtype
    moved = (attacked - x).float()
    rounding = float(torch.finfo(dtype).eps) * float(x.float().abs().max())
    assert bool(moved.any())
    length, eps = moved.norm(), float(getattr(attack, "eps", 0.0))
    assert float(length if eps == 10 else moved.abs().max()) <= eps + 3 * rounding


def test_the_centre_of_a_large_map_is_a_number() -> None:
    centre = mass_center(torch.ones(1, 3, 224, 224).half())
    torch.testing.assert_close(centre, torch.full((1, 2), 111.5))
