"""Arithmetic at its edges, against float64 NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gradsculpt.numerics import cosine, divided, dot, in_range, length, per_sample, spread, unit, unit_peak, wide


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [1e-4, 300.0])
def test_sums_over_as_many_entries_as_images_have_stay_in_range(dtype: torch.dtype, size: float) -> None:
    a = torch.full((1, 3, 224, 224), size).to(dtype)
    entry = a.double()[0, 0, 0, 0].item()
    assert per_sample(a).item() == pytest.approx(entry * 150_528, rel=1e-3)
    assert dot(a, a).item() == pytest.approx(entry**2 * 150_528, rel=1e-3)
    assert length(a).item() == pytest.approx(entry * 150_528**0.5, rel=1e-3)
    assert cosine(a, -a).item() == pytest.approx(-1.0, rel=1e-3)
    assert unit(a).dtype == dtype
    assert unit(a).double().norm().item() == pytest.approx(1.0, rel=1e-2)
    for result in (per_sample(a), dot(a, a), length(a), cosine(a, a), wide(a)):
        assert result.dtype == torch.float32


def test_types_wide_enough_stay() -> None:
    types = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    assert [in_range(each) for each in types] == [torch.float32, torch.bfloat16, torch.float32, torch.float64]
    assert [wide(torch.zeros(1, dtype=each)).dtype for each in types] == [*[torch.float32] * 3, torch.float64]
