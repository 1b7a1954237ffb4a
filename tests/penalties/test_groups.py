"""The group norm against loops over the groups, as AdvGrad defines them."""

import math

import numpy as np
import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.penalties import L1, GroupL21


def groups(shape: tuple[int, int, int], patch: int, per_channel: bool) -> list[tuple[slice, slice, slice]]:
    """Return the index sets S_1, ..., S_t of one map."""
    channels, height, width = shape
    return [
        (channel, slice(row, row + patch), slice(column, column + patch))
        for channel in ([slice(c, c + 1) for c in range(channels)] if per_channel else [slice(None)])
        for row in range(0, height, patch)
        for column in range(0, width, patch)
    ]


GEOMETRIES = [
    ((2, 4, 4), 2, True),
    ((2, 5, 7), 3, True),
    ((3, 5, 7), 3, False),
    ((1, 3, 2), 14, True),
    ((3, 3, 2), 14, False),
    ((2, 3, 3), 1, True),
    ((2, 3, 3), 1, False),
]
geometry = pytest.mark.parametrize(("shape", "patch", "per_channel"), GEOMETRIES)


@geometry
def test_every_operation_against_a_loop_over_groups(shape: tuple[int, int, int], patch: int, per_channel: bool) -> None:
    g = np.random.default_rng(2).normal(size=(3, *shape))
    g[1, :, :patch, :patch] = 0
    weight, step = 0.8, 1.5
    value = np.zeros(3)
    conjugate = np.zeros(3)
    dual, prox, projection = np.zeros_like(g), np.zeros_like(g), np.zeros_like(g)
    for n in range(3):
        for group in groups(shape, patch, per_channel):
            part = g[n][group]
            norm = math.sqrt((part**2).sum())
            value[n] += weight * norm
            if norm > weight:
                conjugate[n] = math.inf
            if norm > 0:
                dual[n][group] = weight * part / norm
                prox[n][group] = max(0.0, norm - step * weight) * part / norm
                projection[n][group] = part * min(1.0, weight / norm)
    penalty, t = GroupL21(weight, patch, per_channel), torch.from_numpy(g)
    np.testing.assert_allclose(penalty.value(t), value, rtol=1e-12)
    np.testing.assert_array_equal(penalty.conjugate(t), conjugate)
    np.testing.assert_allclose(penalty.dual(t), dual, atol=1e-14)
    np.testing.assert_allclose(penalty.prox(t, step), prox, atol=1e-14)
    np.testing.assert_allclose(penalty.conjugate_prox(t, step), projection, atol=1e-14)


@geometry
def test_dual_lies_on_the_sphere_of_every_group(shape: tuple[int, int, int], patch: int, per_channel: bool) -> None:
    penalty = GroupL21(0.8, patch, per_channel)
    dual = penalty.dual(torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(penalty.norms(dual), torch.full_like(penalty.norms(dual), 0.8))
    assert penalty.conjugate(dual).tolist() == [0.0] * 4  # Proposition 2; rounding on the sphere is forgiven
    assert penalty.conjugate(1.001 * dual).tolist() == [math.inf] * 4


def test_shapes_of_the_norms() -> None:
    g = torch.ones(2, 3, 5, 7)
    assert GroupL21(1.0, 3).norms(g).shape == (2, 3, 2, 3)
    assert GroupL21(1.0, 3, per_channel=False).norms(g).shape == (2, 1, 2, 3)
    # Corner groups are smaller: 2 x 1 pixels of three channels.
    assert GroupL21(1.0, 3, per_channel=False).norms(g)[0, 0, 1, 2].item() == pytest.approx(math.sqrt(6))


def test_groups_of_one_entry_are_the_l1_norm() -> None:
    g = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    group, l1 = GroupL21(0.3, patch=1), L1(0.3)
    torch.testing.assert_close(group.value(g), l1.value(g))
    torch.testing.assert_close(group.dual(g), l1.dual(g))
    torch.testing.assert_close(group.prox(g, 0.5), l1.prox(g, 0.5))
    torch.testing.assert_close(group.conjugate_prox(g, 0.5), l1.conjugate_prox(g, 0.5))


def test_norms_do_not_overflow_or_vanish() -> None:
    ones = torch.ones(1, 1, 2, 2)
    for size in (1e30, 1e-30, 1e-42):
        assert GroupL21(1.0, 2).norms(size * ones).item() == pytest.approx(2 * size, rel=1e-2 if size < 1e-38 else 1e-6)


def test_value_is_differentiable_twice() -> None:
    g = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    for per_channel in (True, False):
        penalty = GroupL21(0.7, 2, per_channel)
        assert torch.autograd.gradcheck(penalty.value, g)
        assert torch.autograd.gradgradcheck(penalty.value, g)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"weight=-1"):
        GroupL21(-1.0)
    with pytest.raises(ArgumentError, match=r"patch=0"):
        GroupL21(1.0, patch=0)
    with pytest.raises(ArgumentError, match=r"the map has shape \[2, 3\].*\[N, C, H, W\]"):
        GroupL21(1.0).value(torch.ones(2, 3))


def test_a_patch_beyond_the_image_makes_one_group_of_it() -> None:
    g = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = GroupL21(0.5, patch=4096, per_channel=False)
    length = g.flatten(1).norm(dim=1)
    torch.testing.assert_close(whole.value(g), 0.5 * length)
    torch.testing.assert_close(whole.dual(g), 0.5 * g / length.view(-1, 1, 1, 1))
