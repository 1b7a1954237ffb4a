"""Suprema by search, against brute force and against each other; and that the gaps see a wrong penalty."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradsculpt.evaluation import Scorecard
from gradsculpt.penalties import L1, ElasticNet
from gradsculpt.studies.experiments import duality
from gradsculpt.studies.experiments.duality import PENALTIES, Duality, Entrywise, Groupwise, relative
from tests.studies.experiments.trained import given, named_by

CASES = {"l1": (0.05,), "group": (0.5,), "elastic-net": (0.01, 0.05), "harmonization": (1.0,)}


def test_there_is_a_case_for_every_penalty() -> None:
    assert CASES.keys() == PENALTIES.keys()


@pytest.mark.parametrize("penalty", CASES)
def test_the_closed_forms_are_what_search_finds(tmp_path: Path, penalty: str) -> None:
    Duality(penalty, CASES[penalty], gradients=4, image_size=16, patch=5).run(given(tmp_path / "a", {}))
    card = Scorecard.load(tmp_path / "a")
    assert card["agreement"].mean == 1
    assert max(card[f"largest_{name}"].mean for name in ("value_gap", "dual_gap", "conjugate_gap")) < 1e-12
    assert card["value_gap"].images == 4


def test_search_over_entries_finds_what_a_fine_grid_does() -> None:
    printed = Entrywise(0.3, 0.2, ElasticNet(0.3, 0.2), "")
    g = torch.tensor([[[[2.0, -0.1]]]], dtype=torch.float64)
    grid = np.linspace(-3, 3, 600_001)
    cost = np.where(np.abs(grid) > 0.3, (np.abs(grid) - 0.3) ** 2 / (4 * 0.2), 0.0)
    wanted = sum(float((value * grid - cost).max()) for value in (2.0, -0.1))
    assert printed.over_perturbations(g).item() == pytest.approx(wanted, abs=1e-8)
    z = torch.tensor([[[[0.2, -1.0]]]], dtype=torch.float64)
    wanted = sum(float((value * grid - 0.3 * np.abs(grid) - 0.2 * grid**2).max()) for value in (0.2, -1.0))
    assert printed.over_gradients(z).item() == pytest.approx(wanted, abs=1e-8)


def test_search_over_groups_finds_what_directions_in_the_plane_do() -> None:
    printed = Groupwise(0.5, patch=2)
    g = torch.tensor([[[[3.0, -4.0]]]], dtype=torch.float64)  # a group of two entries
    angles = np.linspace(0, 2 * np.pi, 1_000_001)
    wanted = 0.5 * float((3 * np.cos(angles) - 4 * np.sin(angles)).max())
    assert printed.over_perturbations(g).item() == pytest.approx(wanted, abs=1e-9)


def test_perturbations_outside_cost_without_end_and_inside_nothing() -> None:
    for printed in (Entrywise(0.5, 0.0, L1(0.5), ""), Groupwise(0.5, patch=2)):
        z = torch.tensor([[[[0.3, 0.3]]], [[[0.3, 0.6]]]], dtype=torch.float64)
        assert printed.over_gradients(z).tolist() == [0.0, float("inf")]
        assert printed.over_gradients(printed.inside(z)).tolist() == [0.0, 0.0]
        torch.testing.assert_close(printed.inside(z)[0], z[0], atol=1e-8, rtol=0)


def test_relative_gaps_have_no_holes() -> None:
    inf = float("inf")
    a, b = torch.tensor([0.0, inf, inf, 1.0, 2.0, 0.0]), torch.tensor([0.0, inf, 5.0, 2.0, 2.0, 1.0])
    assert relative(a, b).tolist() == [0.0, 0.0, 1.0, 0.5, 0.0, 1.0]


@dataclass(frozen=True)
class Doubled(ElasticNet):
    """One of its operations is twice what it should be."""

    wrong: str = "value"

    def __getattribute__(self, name: str) -> Any:
        right = super().__getattribute__(name)
        if name in ("value", "dual", "conjugate") and name == super().__getattribute__("wrong"):
            return lambda g: 2 * right(g)
        return right


@pytest.mark.parametrize(
    ("wrong", "gap"), [("value", "value_gap"), ("dual", "dual_gap"), ("conjugate", "conjugate_gap")]
)
def test_a_wrong_closed_form_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, gap: str) -> None:
    def make(weights: tuple[float, ...], attention: Tensor, patch: int) -> Entrywise:
        return Entrywise(weights[0], weights[1], Doubled(weights[0], weights[1], wrong), "")

    monkeypatch.setattr(duality, "PENALTIES", {**PENALTIES, "elastic-net": (2, make)})
    Duality(gradients=4, image_size=16).run(given(tmp_path / "a", {}))
    card = Scorecard.load(tmp_path / "a")
    assert card[f"largest_{gap}"].mean > 0.01
    assert card["agreement"].mean < 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"penalty": "l2"}, "penalty='l2' has no printed conjugate"),
        ({"penalty": "l1"}, "weights="),
        ({"weights": (0.1, 0.0)}, "weights=0.0"),
        ({"gradients": 1}, "gradients=1"),
        ({"image_size": 8}, "image_size=8"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], named: str) -> None:
    assert named_by(wrong, Duality).startswith(named)


def test_it_can_be_changed_as_dataclasses_are() -> None:
    assert replace(Duality(), gradients=8).gradients == 8
