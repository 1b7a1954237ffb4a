"""Gaussian noise: its size, its source of randomness, and what it does not ask."""

import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.penalties import L1
from gradsculpt.perturbations import LossGradient, Noise
from tests.perturbations.losses import sought


def never(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    raise AssertionError("noise asked for a gradient")


ASK: LossGradient = never
X = torch.zeros(4, 2, 50, 50, dtype=torch.float64)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_entries_are_independent_and_normal() -> None:
    z = (sought(Noise(0.3), ASK, X, L1(0.1), generator=source()) / 0.3).flatten()
    n = len(z)
    # Five standard errors each.
    assert abs(z.mean()) < 5 / n**0.5
    assert abs(z.square().mean() - 1) < 5 * (2 / n) ** 0.5
    assert abs(z.pow(4).mean() - 3) < 5 * (96 / n) ** 0.5
    assert abs((z[1:] * z[:-1]).mean()) < 5 / n**0.5
    rows = z.view(4, -1)
    correlations = torch.corrcoef(rows) - torch.eye(4)
    assert correlations.abs().max() < 5 / rows.shape[1] ** 0.5


def test_it_depends_on_the_generator_alone() -> None:
    first = sought(Noise(0.3), ASK, X, L1(0.1), generator=source())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(sought(Noise(0.3), ASK, X + 1, L1(7.0), generator=source()), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(sought(Noise(0.3), ASK, X, L1(0.1), generator=source(1)), first)


def test_without_a_generator_pytorchs_own_is_used() -> None:
    torch.manual_seed(5)
    first, second = sought(Noise(0.3), ASK, X, L1(0.1)), sought(Noise(0.3), ASK, X, L1(0.1))
    torch.manual_seed(5)
    assert torch.equal(sought(Noise(0.3), ASK, X, L1(0.1)), first)
    assert not torch.equal(first, second)


def test_a_size_for_each_channel() -> None:
    sigma = InputSpace(mean=(0.5, 0.5), std=(0.1, 0.5)).pixels(0.05)
    spread = sought(Noise(sigma), ASK, X, L1(0.1), generator=source()).transpose(0, 1).flatten(1).std(dim=1)
    torch.testing.assert_close(spread, torch.tensor([0.5, 0.1]).double(), rtol=0.03, atol=0)


def test_no_noise_and_scaled_noise() -> None:
    assert not sought(Noise(0.0), ASK, X, L1(0.1), generator=source()).any()
    whole = sought(Noise(0.3), ASK, X, L1(0.1), generator=source())
    torch.testing.assert_close(sought(Noise(0.3).scaled(0.5), ASK, X, L1(0.1), generator=source()), whole / 2)


@pytest.mark.parametrize("sigma", [-0.1, torch.inf, torch.nan])
def test_sizes_out_of_range_are_refused(sigma: float) -> None:
    with pytest.raises(ArgumentError, match="sigma"):
        Noise(sigma)
