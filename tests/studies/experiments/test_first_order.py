"""The error of the first order, and the curvature that bounds it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gradsculpt.evaluation import Scorecard
from gradsculpt.gradients import Recording
from gradsculpt.studies.experiments.first_order import FirstOrder, smooth_network, spectral_norm
from tests.studies.experiments.trained import given, named_by


def test_the_bound_holds_and_a_quadratic_attains_it(tmp_path: Path) -> None:
    FirstOrder(eps=(1.0, 0.1), images=3, stations=2, iterations=8).run(given(tmp_path / "a", {}))
    card = Scorecard.load(tmp_path / "a")
    assert card["quadratic_share"].mean == pytest.approx(1, abs=1e-9)
    assert card["quadratic_holds"].mean == card["network_holds"].mean == 1
    assert 0 < card["network_share"].mean <= 1
    for name in ("quadratic", "network"):
        error, bound = card.curves[f"error ({name})"], card.curves[f"bound ({name})"]
        assert error.x == bound.x == (0.1, 1.0)
        assert error.title == bound.title == name
        assert all(a <= b * (1 + 1e-9) for a, b in zip(error.mean, bound.mean, strict=True))
        # To first order nothing is left that grows less than with the square.
        assert 50 < error.mean[1] / error.mean[0] < 200


def test_power_iteration_comes_to_the_largest_eigenvalue_and_never_beyond() -> None:
    drawn = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, 12, 12, generator=drawn, dtype=torch.float64)
    matrix = matrix + matrix.mT

    def quadratic(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return torch.einsum("ni,nij,nj->n", flat, matrix, flat) / 2

    wanted = torch.linalg.eigvalsh(matrix).abs().amax(dim=1)
    x = torch.randn(2, 3, 2, 2, generator=drawn, dtype=torch.float64)
    found = [spectral_norm(Recording(quadratic, x), steps, drawn) for steps in (1, 10, 500)]
    assert all((each <= wanted * (1 + 1e-12)).all() for each in found)
    torch.testing.assert_close(found[-1], wanted, rtol=1e-3, atol=0)


def test_a_linear_function_is_not_curved() -> None:
    recording = Recording(
        lambda x: x.flatten(1).sum(dim=1) + 0 * x.flatten(1).square().sum(dim=1), torch.ones(2, 1, 2, 2)
    )
    assert spectral_norm(recording, 3, torch.Generator().manual_seed(0)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("side", [16, 17, 18, 19, 20, 32])
def test_the_network_takes_every_size(side: int) -> None:
    assert smooth_network(side, 3.0)(torch.zeros(1, 3, side, side)).shape == (1, 10)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"eps": ()}, "eps"), ({"eps": (0.1, 0.0)}, "eps"), ({"images": 0}, "images"), ({"softplus": 0.0}, "softplus")],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], named: str) -> None:
    assert named_by(wrong, FirstOrder).startswith(named)
