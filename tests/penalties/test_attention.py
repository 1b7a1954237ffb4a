"""Harmonization: both weightings of AdvGrad, and how attention is bound."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gradsculpt.data.cells import draw
from gradsculpt.errors import ArgumentError
from gradsculpt.penalties import Harmonization

rng = np.random.default_rng(3)
ATTENTION = rng.uniform(size=(3, 1, 4, 5))
ATTENTION[1] *= 0.2  # the maximum differs from image to image
G = rng.normal(size=(3, 2, 4, 5))


def bound(penalty: Harmonization) -> Harmonization:
    return penalty.given(torch.from_numpy(ATTENTION))


def test_positive_weighting_is_proposition_4_image_by_image() -> None:
    penalty = bound(Harmonization(0.6, positive=True, sigma=0.05))
    for n in range(3):
        weights = ATTENTION[n].max() - ATTENTION[n] + 0.05
        g = torch.from_numpy(G)
        np.testing.assert_allclose(penalty.value(g)[n], 0.6 * ((np.sqrt(weights) * G[n]) ** 2).sum(), rtol=1e-12)
        np.testing.assert_allclose(penalty.conjugate(g)[n], ((G[n] / np.sqrt(weights)) ** 2).sum() / (4 * 0.6))
        np.testing.assert_allclose(penalty.dual(g)[n], 2 * 0.6 * weights * G[n], rtol=1e-12)
        np.testing.assert_allclose(penalty.prox(g, 0.5)[n], G[n] / (1 + 2 * 0.5 * 0.6 * weights), rtol=1e-12)


def test_default_dual_is_the_step_of_appendix_b8_image_by_image() -> None:
    dual = bound(Harmonization(0.5)).dual(torch.from_numpy(G))
    for n in range(3):
        factor = 0.5 * ATTENTION[n].max() - 2 * 0.5 * ATTENTION[n]
        np.testing.assert_allclose(dual[n], factor * G[n] / np.sqrt((G[n] ** 2).sum()), rtol=1e-12)


def test_default_dual_of_extreme_and_zero_gradients() -> None:
    penalty = bound(Harmonization(0.5))
    expected = penalty.dual(torch.from_numpy(G))
    for size in (1e200, 1e-200):
        np.testing.assert_allclose(penalty.dual(torch.from_numpy(size * G)), expected, rtol=1e-12)
    assert not penalty.dual(torch.zeros(3, 2, 4, 5)).any()
    mixed = torch.from_numpy(G) * torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    assert not penalty.dual(mixed)[1].any()
    np.testing.assert_allclose(penalty.dual(mixed)[2], expected[2], rtol=1e-12)


def test_default_value_rewards_gradients_where_a_human_looked() -> None:
    penalty = Harmonization(2.0).given(torch.tensor([[[[0.0, 1.0]]]]))
    assert penalty.value(torch.tensor([[[[3.0, 0.0]]], [[[0.0, 3.0]]]])).tolist() == [9.0, -9.0]


def test_default_has_no_conjugate() -> None:
    penalty = bound(Harmonization(0.5))
    assert penalty.conjugate(torch.from_numpy(G)).tolist() == [math.inf] * 3
    with pytest.raises(ArgumentError, match=r"infinite.*positive=True"):
        penalty.conjugate_prox(torch.from_numpy(G), 0.5)


def test_default_prox_exists_for_short_steps_only() -> None:
    penalty = Harmonization(2.0).given(torch.tensor([[[[0.0, 1.0]]]], dtype=torch.float64))
    v = torch.tensor([[[[3.0, 3.0]]]], dtype=torch.float64)
    p = penalty.prox(v, 0.25)
    np.testing.assert_allclose(p, [[[[3 / 1.5, 3 / 0.5]]]])
    # It is the minimum: every other point is worse.

    def cost(u: torch.Tensor) -> torch.Tensor:
        return penalty.value(u) + (u - v).square().flatten(1).sum(1) / (2 * 0.25)

    others = p + torch.randn(100, 1, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (cost(others) > cost(p)).all()
    for step in (0.5, 0.6):
        with pytest.raises(ArgumentError, match=rf"step={step}.*shorter step"):
            penalty.prox(v, step)


def test_attention_of_zero_everywhere() -> None:
    none = torch.zeros(1, 1, 4, 5, dtype=torch.float64)
    assert not Harmonization(0.5).given(none).dual(torch.from_numpy(G)).any()  # A~ = 0
    positive = Harmonization(0.5, positive=True, sigma=0.1).given(none)
    np.testing.assert_allclose(positive.dual(torch.from_numpy(G)), 2 * 0.5 * 0.1 * G)


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("positive", [True, False])
def test_saturated_attention_is_cut_at_a_share_of_the_maximum_of_its_image(share: float, positive: bool) -> None:
    cut = np.stack([np.minimum(each, share * each.max()) for each in ATTENTION])
    expected = Harmonization(0.6, positive, 0.05).given(torch.from_numpy(cut)).dual(torch.from_numpy(G))
    dual = bound(Harmonization(0.6, positive, 0.05, saturation=share)).dual(torch.from_numpy(G))
    np.testing.assert_allclose(dual, expected, rtol=1e-12)


def test_saturated_truth_of_the_cells_tells_the_cell_from_the_rest() -> None:
    truth = torch.from_numpy(draw(7, size=32).truth)[None, None] / 255
    g = torch.ones(1, 1, 32, 32)
    dual = Harmonization(0.5, positive=True, sigma=0.0, saturation=0.4).given(truth).dual(g)
    assert torch.equal(dual == 0, truth > 0)
    assert len(dual.unique()) == 2


def test_given_binds_the_maps_of_a_batch() -> None:
    free, g = Harmonization(0.5), torch.from_numpy(G)
    first, second = bound(free), free.given(torch.ones(3, 1, 4, 5))
    assert free.attention is None
    assert second.attention is not first.attention
    assert first.given(second.attention).attention is second.attention
    assert first.given(None).attention is first.attention  # data without maps leave what the user bound
    assert torch.equal(first.dual(g), bound(Harmonization(0.5)).dual(g))
    assert (first.weight, first.positive, first.sigma) == (free.weight, free.positive, free.sigma)


def test_attention_takes_the_precision_of_the_map() -> None:
    assert bound(Harmonization(0.5)).dual(torch.from_numpy(G).float()).dtype == torch.float32


def test_without_attention_every_operation_says_what_to_do() -> None:
    free, g = Harmonization(0.5), torch.from_numpy(G)
    operations = (free.value, free.conjugate, free.dual, lambda t: free.prox(t, 0.1))
    for operation in (*operations, lambda t: free.conjugate_prox(t, 0.1)):
        with pytest.raises(ArgumentError, match=r"needs attention maps.*given\(attention\)"):
            operation(g)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 4, 5), (2, 1, 4, 5), (3, 1, 4, 4), (4, 5)])
def test_attention_of_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    g: Tensor = torch.from_numpy(G)
    with pytest.raises(ArgumentError, match=rf"attention has shape \[{', '.join(map(str, shape))}\].*\[N, 1, H, W\]"):
        Harmonization(0.5).given(torch.ones(shape)).dual(g)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"weight=-0\.5"):
        Harmonization(-0.5)
    with pytest.raises(ArgumentError, match=r"sigma=-1"):
        Harmonization(0.5, positive=True, sigma=-1.0)
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(ArgumentError, match=rf"saturation={share} is.*pass a"):
            Harmonization(0.5, saturation=share)
