"""Sparsified maps against a plain sort, and the certificate against the exact worst case of a known function."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from tests.networks import batch, network
from torch import Tensor

from gradsculpt.attributions import (
    Gradient,
    Smoothed,
    Sparsified,
    SparsifiedGradient,
    SparsifiedSmoothGrad,
)
from gradsculpt.errors import ArgumentError


def plain(row: np.ndarray, keep: int, saturated: int | None) -> np.ndarray:
    """Sparsify one flat map entry by entry."""
    order = sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))
    level = 0.0 if saturated is None else abs(row[order[saturated - 1]])
    out = np.zeros_like(row)
    for rank, i in enumerate(order[:keep]):
        if saturated is None:
            out[i] = row[i]
        elif row[i] != 0:
            out[i] = 1.0 if rank < saturated else min(1.0, abs(row[i]) / level)
    return out


def showing(maps: Tensor) -> object:
    """Return a model whose gradient is the given maps [N, C, H, W]."""
    return lambda x: (x * maps).flatten(1).sum(dim=1, keepdim=True)


@pytest.mark.parametrize(("keep", "saturated"), [(0.1, None), (0.5, 0.25), (0.3, 0.3), (1.0, None), (1e-9, None)])
def test_every_image_keeps_its_largest_entries(keep: float, saturated: float | None) -> None:
    model, (x, y) = network().eval(), batch()
    counts = [None if s is None else max(1, int(s * 108 + 0.5)) for s in (keep, saturated)]
    raw = Gradient()(model, x, y).flatten(1).numpy()
    expected = np.stack([plain(row, counts[0] or 0, counts[1]) for row in raw])
    found = Sparsified(keep=keep, saturated=saturated)(model, x, y).flatten(1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert ((found != 0).sum(axis=1) == counts[0]).all()


@pytest.mark.parametrize("saturated", [None, 0.25, 0.5])
def test_ties_zeros_and_signs(saturated: float | None) -> None:
    rows = np.array(
        [[1.0, -2, 2, 2, -1, 0, 0, 0], [0, 0, 3, 0, 0, 0, 0, 0], [0] * 8, [-1] * 8, [4, 3, -2, 1, 0, 0, 0, 0]]
    )
    maps = torch.from_numpy(rows).view(5, 1, 2, 4)
    found = Sparsified(keep=0.5, saturated=saturated)(showing(maps), torch.zeros_like(maps))  # type: ignore[arg-type]
    expected = [plain(row, 4, None if saturated is None else int(8 * saturated)) for row in rows]
    np.testing.assert_allclose(found.flatten(1).numpy(), np.stack(expected))


def test_all_entries_kept_is_the_map_itself() -> None:
    model, (x, y) = network().eval(), batch()
    assert torch.equal(Sparsified(keep=1.0)(model, x, y), Gradient()(model, x, y))


def test_named_cases_are_the_general_one() -> None:
    model, (x, y) = network().eval(), batch()
    probability = Gradient("probability")
    assert torch.equal(
        SparsifiedGradient(0.2, output="probability")(model, x, y), Sparsified(probability, 0.2)(model, x, y)
    )
    general = Smoothed(Sparsified(probability, 0.2, 0.05), 4, 0.1, seed=5)
    named = SparsifiedSmoothGrad(4, 0.1, 0.2, 0.05, output="probability", seed=5)
    assert torch.equal(named(model, x, y), general(model, x, y))
    assert repr(named).startswith("SparsifiedSmoothGrad(samples=4, sigma=0.1, keep=0.2, saturated=0.05, output=")
    assert torch.equal(SparsifiedSmoothGrad(1, 0.0)(model, x, y), Sparsified(saturated=0.01)(model, x, y))


def test_copies_are_sparsified_before_they_are_averaged() -> None:
    model, (x, y) = network().eval(), batch()
    maps = SparsifiedSmoothGrad(8, 0.3, keep=0.1, saturated=0.1)(model, x, y)
    assert torch.equal((maps * 8).round(), maps * 8)  # a share of the copies
    assert ((maps != 0).flatten(1).sum(dim=1) > 11).any()
    torch.testing.assert_close(maps.flatten(1).sum(dim=1), torch.full((4,), 11.0, dtype=x.dtype))


def bound(row: np.ndarray, sigma: float, radius: float, top: int, samples: int, confidence: float) -> float:
    """Return the certified share by trying every overlap, from the definition."""
    normal, n = NormalDist(), len(row)
    error = (np.log(2 * n / (1 - confidence)) / (2 * samples)) ** 0.5
    ranked = sorted(row, reverse=True)
    best = 0
    for overlap in range(1, top + 1):
        outsider = 2 * top - overlap + 1
        if outsider > n:
            best = overlap
            continue
        low, high = ranked[overlap - 1] - error, ranked[outsider - 1] + error
        if low > 0 and high < 1:
            least = normal.cdf(normal.inv_cdf(low) - radius / sigma)
            most = normal.cdf(normal.inv_cdf(high) + radius / sigma)
            best = overlap if least > most else best
    return best / top


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("k", [0.1, 0.25, 0.75])
def test_the_certificate_is_that_of_its_definition(radius: float, k: float) -> None:
    x, _ = batch(3, channels=1)
    x[2] *= 3
    # Means that fall off in steps, as those of many copies do.
    maps = torch.linspace(1, 0, 36, dtype=x.dtype).pow(3).repeat(3, 1)[:, torch.randperm(36)].view(3, 1, 6, 6)
    attribution = SparsifiedSmoothGrad(4000, 0.1, 0.5, 0.5)
    found = attribution.certified_overlap(x, maps, radius, k, confidence=0.9)
    for n in range(3):
        sigma = 0.1 * float(x[n].max() - x[n].min())
        expected = bound(maps[n].flatten().numpy(), sigma, radius, max(1, int(k * 36 + 0.5)), 4000, 0.9)
        assert found[n].item() == pytest.approx(expected)


def test_the_certificate_says_something_and_grows_weaker() -> None:
    x = torch.linspace(0, 1, 36, dtype=torch.float64).view(1, 1, 6, 6)
    maps = torch.zeros_like(x)
    maps[..., :2] = 1.0
    attribution = SparsifiedSmoothGrad(4000)
    shares = [attribution.certified_overlap(x, maps, r, k=1 / 3).item() for r in (0.0, 0.05, 0.1, 0.5)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0.0
    assert attribution.certified_overlap(x, maps, 100.0, k=1.0).item() == 1.0  # nothing is outside the top
    assert attribution.certified_overlap(torch.ones_like(x), maps, 0.1, k=1 / 3).item() == 0.0  # no range, no noise


def test_no_shift_of_a_worst_case_breaks_the_certificate() -> None:
    # Gradients +-1 by the sign of one coordinate: entry 0 is on top where x0 > 0, entry 1 where x0 <= 0. A step along
    # x0 moves the expected map as fast as the theorem allows.
    def model(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        side = (flat[:, 0].detach() > 0).to(x.dtype)
        return (side * flat[:, 1] + (1 - side) * flat[:, 2])[:, None]

    x = torch.tensor([[[[0.08, 1.0, 0.0, 0.5]]]], dtype=torch.float64)
    attribution = SparsifiedSmoothGrad(3000, 0.1, keep=0.25, saturated=0.25, batch_size=1000)
    maps = attribution(model, x)
    # The expected map is Phi(x0 / sigma) and 1 minus it: the top entry changes once x0 has moved by .08.
    radii = np.linspace(0, 0.2, 81)
    certified = [r for r in radii if attribution.certified_overlap(x, maps, float(r), k=0.25).item() == 1.0]
    assert 0.05 < max(certified) < 0.08


def test_wrong_settings_are_refused() -> None:
    for name, wrong in (("keep", 0.0), ("keep", 1.5), ("keep", float("nan")), ("saturated", 0.0), ("saturated", 0.2)):
        with pytest.raises(ArgumentError, match=name):
            Sparsified(**{name: wrong})  # type: ignore[arg-type]
    x, _ = batch()
    for name, wrong in (("radius", -1.0), ("k", 0.0), ("confidence", 1.0)):
        with pytest.raises(ArgumentError, match=name):
            SparsifiedSmoothGrad().certified_overlap(x, x, **{"radius": 0.1, name: wrong})
    with pytest.raises(ArgumentError, match="one shape"):
        SparsifiedSmoothGrad().certified_overlap(x, x[:1], 0.1)
