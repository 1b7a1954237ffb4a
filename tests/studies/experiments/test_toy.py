"""Two-layer networks in the plane: points, neighbours, gradients, and what is kept of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradsculpt.evaluation import Scorecard
from gradsculpt.objectives import CrossEntropy, LocalGradientAlignment, MaxEntropy
from gradsculpt.studies.experiments.base import ARRAYS
from gradsculpt.studies.experiments.toy import Toy, cosine_of, half_circles, neighbours
from tests.studies.experiments.trained import given, named_by

SMALL: dict[str, Any] = {"steps": 30, "points": 40, "pairs": 6, "grid": 11, "hidden": 8}


def kept(folder: Path, **settings: Any) -> tuple[Scorecard, dict[str, Any]]:
    Toy(**{**SMALL, **settings}).run(given(folder, {}))
    with np.load(folder / ARRAYS) as file:
        return Scorecard.load(folder), {name: file[name] for name in file.files}


def test_points_lie_on_two_half_circles_that_interleave() -> None:
    points, labels = half_circles(200, 0.0, torch.Generator().manual_seed(1))
    centres = torch.where(labels[:, None] == 0, torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close((points - centres).norm(dim=1), torch.ones(200))
    assert (points[labels == 0, 1] >= 0).all()
    assert (points[labels == 1, 1] <= 0.5).all()
    assert labels.bincount().tolist() == [100, 100]


def test_neighbours_are_eps_apart_and_midway_between_the_classes() -> None:
    points, labels = half_circles(60, 0.1, torch.Generator().manual_seed(2))
    pairs = neighbours(points, labels, 20, 0.3, torch.Generator().manual_seed(3))
    torch.testing.assert_close((pairs[:, 1] - pairs[:, 0]).norm(dim=1), torch.full((20,), 0.3))
    middles = [(a + b) / 2 for a in points[labels == 0] for b in points[labels == 1]]
    nearest = torch.cdist(pairs[:, 0], torch.stack(middles)).amin(dim=1)
    torch.testing.assert_close(nearest, torch.zeros(20), atol=1e-5, rtol=0)


def test_what_is_kept_are_the_gradients_of_the_network_that_is_drawn(tmp_path: Path) -> None:
    card, arrays = kept(tmp_path / "a", grid=201)
    x, y, values = arrays["x"], arrays["y"], arrays["values"][0]
    for place_x, place_y, right, up in arrays["arrows"][0]:
        # The slope of the surface that is drawn, by differences between grid lines.
        i, j = np.abs(y - place_y).argmin(), np.abs(x - place_x).argmin()
        slope_x = (values[i, j + 1] - values[i, j - 1]) / (x[j + 1] - x[j - 1])
        slope_y = (values[i + 1, j] - values[i - 1, j]) / (y[i + 1] - y[i - 1])
        np.testing.assert_allclose([right, up], 0.03 * np.array([slope_x, slope_y]), rtol=0.1, atol=2e-3)
    assert card["l2_distance"].images == card["cosine_distance"].images == 6
    assert card["accuracy"].images == 40


def test_the_distances_are_those_of_the_gradients(tmp_path: Path) -> None:
    card, arrays = kept(tmp_path / "a", pairs=4)
    gradients = torch.from_numpy(arrays["arrows"][0][:, 2:]).view(4, 2, 2) / 0.03
    first, second = gradients.unbind(1)
    assert card["l2_distance"].mean == pytest.approx(float((first - second).norm(dim=1).mean()), rel=1e-4)
    cosine = torch.nn.functional.cosine_similarity(first, second)
    assert card["cosine_distance"].mean == pytest.approx(float(((1 - cosine) / 2).mean()), rel=1e-3, abs=1e-6)


def test_networks_of_other_settings_are_compared_at_the_same_pairs(tmp_path: Path) -> None:
    places = [kept(tmp_path / str(i), softplus=beta)[1]["arrows"][0, :, :2] for i, beta in enumerate((None, 1.0))]
    np.testing.assert_array_equal(*places)


def test_a_second_run_gives_the_same_and_another_seed_something_else(tmp_path: Path) -> None:
    first, second = (kept(tmp_path / name, l2=0.1, cosine=1.0)[0] for name in "ab")
    assert first.entries == second.entries
    Toy(**SMALL).run(given(tmp_path / "c", {}, seed=1))
    assert Scorecard.load(tmp_path / "c").entries != first.entries


def test_terms_without_a_weight_are_left_out() -> None:
    assert Toy().objective == CrossEntropy()
    assert [type(part) for _, part in Toy(max_entropy=0.5).objective.parts()] == [CrossEntropy, MaxEntropy]
    aligned = Toy(l2=0.1, eps=0.2).objective.parts()[-1][1]
    assert aligned == LocalGradientAlignment(l2=0.1, cosine=0.0, eps=0.2)


def test_alignment_does_what_it_is_for(tmp_path: Path) -> None:
    plain, aligned = (
        kept(tmp_path / name, steps=120, hidden=32, lr=0.03, **settings)[0]
        for name, settings in (("plain", {}), ("aligned", {"l2": 0.05, "cosine": 2.0}))
    )
    assert aligned["l2_distance"].mean < plain["l2_distance"].mean
    assert aligned["cosine_distance"].mean < plain["cosine_distance"].mean


def test_the_cosine_of_nothing_is_defined() -> None:
    a = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    b = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-6.0, -8.0], [0.0, 2.0]])
    assert cosine_of(a, b).tolist() == pytest.approx([1.0, 0.0, -1.0, 0.0])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"eps": 0.0}, "eps"), ({"softplus": -1.0}, "softplus"), ({"hidden": 0}, "hidden"), ({"l2": -0.1}, "l2")],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], named: str) -> None:
    assert named_by(wrong, Toy).startswith(named)
