"""Arithmetic at its edges, against float64 NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gradsculpt.numerics import cosine, divided, length, per_sample, spread, unit, unit_peak


def batch() -> Tensor:
    return torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_sums_lengths_and_cosines_are_those_of_numpy() -> None:
    a, b = batch(), batch().flip(0)
    rows, others = a.flatten(1).numpy(), b.flatten(1).numpy()
    np.testing.assert_allclose(per_sample(a), rows.sum(1))
    np.testing.assert_allclose(length(a), np.sqrt((rows**2).sum(1)))
    expected = (rows * others).sum(1) / np.sqrt((rows**2).sum(1) * (others**2).sum(1))
    np.testing.assert_allclose(cosine(a, b), expected)
    assert length(a, keepdim=True).shape == spread(length(a), a).shape == (3, 1, 1, 1)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_units_have_length_one_at_any_scale(scale: float) -> None:
    a = batch().float() * scale
    np.testing.assert_allclose(length(unit(a)), 1, rtol=1e-6)
    np.testing.assert_allclose(unit_peak(a).abs().amax((1, 2, 3)), 1, rtol=1e-6)


def test_nothing_is_divided_by_zero_and_no_derivative_is_nan() -> None:
    zero = torch.zeros(2, 3, requires_grad=True)
    for value in (unit(zero), unit_peak(zero), cosine(zero, zero), length(zero), divided(zero, zero)):
        (gradient,) = torch.autograd.grad(value.sum(), zero)
        assert not bool(value.any())
        assert bool(gradient.isfinite().all())
    assert divided(torch.ones(1), torch.zeros(1), empty=7.0).item() == 7.0
    assert divided(torch.ones(1), torch.full((1,), -2.0)).item() == -0.5
