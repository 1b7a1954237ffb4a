"""L1, squared L2 and the elastic net: closed values of AdvGrad, and what is refused."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError, GradsculptError
from gradsculpt.penalties import L1, ElasticNet, SquaredL2


def row(*entries: float) -> Tensor:
    return torch.tensor([entries], dtype=torch.float64)


def piecewise_quadratic(z: np.ndarray, eps1: float, eps2: float) -> float:
    """The conjugate of the elastic net as Proposition 3 prints it."""
    total = 0.0
    for entry in z.ravel():
        if entry > eps1:
            total += (entry - eps1) ** 2 / (4 * eps2)
        elif entry < -eps1:
            total += (entry + eps1) ** 2 / (4 * eps2)
    return total


def test_elastic_net_conjugate_is_the_piecewise_quadratic_of_proposition_3() -> None:
    z = np.random.default_rng(0).normal(size=(4, 3, 5, 5))
    found = ElasticNet(0.4, 0.7).conjugate(torch.from_numpy(z))
    np.testing.assert_allclose(found, [piecewise_quadratic(sample, 0.4, 0.7) for sample in z], rtol=1e-12)


def test_elastic_net_worked_by_hand() -> None:
    net = ElasticNet(l1=0.5, l2=2.0)
    g = row(3, -1, 0)
    assert net.value(g).item() == 0.5 * 4 + 2.0 * 10
    assert net.dual(g).tolist() == [[12.5, -4.5, 0.0]]
    # Beyond the box by 12, 4 and 0: (144 + 16) / 8 = 20; and <g, delta> = 37.5 + 4.5 = 22 + 20.
    assert net.conjugate(row(12.5, -4.5, 0.25)).item() == 20
    # Shrunk by step l1 = 1 and divided by 1 + 2 * 2 * 2 = 9.
    assert net.prox(row(10, -0.5, -4.6), 2.0)[0].tolist() == pytest.approx([1.0, 0.0, -0.4])
    # Of what lies beyond 0.5, 2 l2 / (step + 2 l2) = 4 / 5 is kept.
    assert net.conjugate_prox(row(0.3, 3.0, -5.5), 1.0)[0].tolist() == pytest.approx([0.3, 2.5, -4.5])


def test_one_step_perturbations_are_those_of_appendix_b3() -> None:
    g = np.array([[[[0.7, -0.0, 3e-9, -2.0]]]])
    found = ElasticNet(0.01, 0.05).dual(torch.from_numpy(g))
    np.testing.assert_allclose(found, 0.01 * np.sign(g) + 2 * 0.05 * g, rtol=1e-15)
    np.testing.assert_allclose(L1(0.1).dual(torch.from_numpy(g)), 0.1 * np.sign(g), rtol=1e-15)


def test_gradients_are_normalised_as_appendix_b4_says() -> None:
    g = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1e-300]], dtype=torch.float64)
    signs = [[1, -1, 0], [0, 0, 0], [0, 0, -1]]
    units = [[0.6, -0.8, 0], [0, 0, 0], [0, 0, -1]]
    for sharp in (L1(0.1), ElasticNet(0.1, 0.0), ElasticNet(0.1, torch.zeros(3)), 2 * L1(0.1)):
        assert sharp.ascent(g).tolist() == signs
    for smooth in (
        ElasticNet(0.1, 0.05),
        SquaredL2(0.1),
        ElasticNet(0.1, torch.tensor([0.0, 0.0, 0.1])),
        2 * SquaredL2(1),
    ):
        torch.testing.assert_close(smooth.ascent(g), torch.tensor(units, dtype=torch.float64))


def test_l1_conjugate_is_the_indicator_of_the_box() -> None:
    penalty = L1(0.3)
    assert penalty.conjugate(torch.tensor([[0.3, -0.3], [0.1, 0.0], [0.31, 0.0]])).tolist() == [0, 0, math.inf]
    # Sums and products that should be the limit may miss it by rounding, and still cost nothing.
    assert penalty.conjugate(row(0.1 + 0.2, -3 * 0.1)).item() == 0
    assert penalty.conjugate(row(0.3 * (1 + 1e-12))).item() == math.inf


def test_l1_maps() -> None:
    penalty = L1(0.5)
    assert penalty.prox(row(2, -2, 0.9, 1), 2.0).tolist() == [[1, -1, 0, 0]]
    for step in (0.1, 7.0):  # a projection has no use for the step
        assert penalty.conjugate_prox(row(2, -0.4, -9), step).tolist() == [[0.5, -0.4, -0.5]]


def test_squared_l2_with_a_weight_for_each_entry_is_proposition_4() -> None:
    rng = np.random.default_rng(1)
    weights, z = rng.uniform(0.1, 2, size=(1, 2, 3, 3)), rng.normal(size=(3, 2, 3, 3))
    penalty = SquaredL2(torch.from_numpy(0.3 * weights))
    expected = [((1 / np.sqrt(weights[0]) * sample) ** 2).sum() / (4 * 0.3) for sample in z]
    np.testing.assert_allclose(penalty.conjugate(torch.from_numpy(z)), expected, rtol=1e-12)
    np.testing.assert_allclose(penalty.dual(torch.from_numpy(z)), 2 * 0.3 * weights * z, rtol=1e-12)


def test_a_weight_of_zero_forbids_every_perturbation() -> None:
    for penalty in (L1(0.0), SquaredL2(0.0), ElasticNet(0.0, 0.0)):
        delta = torch.tensor([[0.0], [1e-300], [-2.0]], dtype=torch.float64)
        assert penalty.conjugate(delta).tolist() == [0, math.inf, math.inf]


def test_weights_in_another_precision_do_not_change_the_maps() -> None:
    weight = torch.tensor([0.5, 2.0], dtype=torch.float64).view(1, 2, 1, 1)
    assert L1(weight).dual(torch.ones(1, 2, 2, 2)).dtype == torch.float32
    assert L1(weight.float()).dual(torch.ones(1, 2, 2, 2, dtype=torch.float64)).dtype == torch.float64


def test_elastic_net_contains_the_other_two() -> None:
    g = torch.linspace(-2, 2, 9)[None]
    for special, general in ((L1(0.4), ElasticNet(0.4, 0.0)), (SquaredL2(0.4), ElasticNet(0.0, 0.4))):
        assert torch.equal(special.value(g), general.value(g))
        assert torch.equal(special.conjugate(g), general.conjugate(g))
        assert torch.equal(special.prox(g, 0.5), general.prox(g, 0.5))


def test_value_objects() -> None:
    assert repr(L1(0.01)) == "L1(0.01)"
    assert repr(SquaredL2(0.5)) == "SquaredL2(0.5)"
    assert repr(ElasticNet(0.1, 0.2)) == "ElasticNet(l1=0.1, l2=0.2)"
    assert L1(0.1) == L1(0.1) != L1(0.2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        L1(0.1).weight = 0.2  # type: ignore[misc]
    assert L1(0.1).given(torch.ones(1, 1, 2, 2)) == L1(0.1)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf, torch.tensor([0.1, -0.1])])
def test_weights_out_of_range_are_refused(weight: float | Tensor) -> None:
    for name, kind in (("weight", L1), ("weight", SquaredL2), ("l1", ElasticNet), ("l2", ElasticNet)):
        others = {"l1": 0.1, "l2": 0.1} if kind is ElasticNet else {}
        with pytest.raises(ArgumentError, match=rf"{name}=(tensor|-0\.1|nan|inf).*at least 0"):
            kind(**{**others, name: weight})


@pytest.mark.parametrize("step", [0.0, -1.0, math.nan])
def test_steps_out_of_range_are_refused(step: float) -> None:
    for operation in (L1(0.1).prox, L1(0.1).conjugate_prox):
        with pytest.raises(GradsculptError, match=f"step={step}.*greater than 0"):
            operation(row(1.0), step)
