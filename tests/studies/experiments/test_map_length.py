"""Lengths of maps, and how many images get the same answer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradsculpt.attributions import Gradient
from gradsculpt.data import to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Scorecard
from gradsculpt.studies.experiments import MapLength
from tests.studies.experiments.standing import SPACE, photos, standing, values


def test_lengths_are_of_each_map_and_answers_are_counted(tmp_path: Path) -> None:
    tested = photos(11)
    with torch.random.fork_rng():
        torch.manual_seed(9)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(256, 3)).eval()
    MapLength().run(standing(tmp_path, network, tested))
    x = SPACE.normalize(to_float(torch.from_numpy(tested.images).permute(0, 3, 1, 2)))
    with torch.no_grad():
        answers = network(x).argmax(dim=1)
    counts = answers.bincount()
    assert counts.tolist() == [3, 8], "neither the first class, nor all images"
    maps = Gradient()(network, x, torch.from_numpy(tested.labels))
    found = values(tmp_path)
    for i, name in enumerate(tested.names):
        assert found[name]["map_length"] == pytest.approx(float(maps[i].square().sum().sqrt()), rel=1e-4)
        assert found[name]["same_answer"] == float(answers[i] == counts.argmax())
    assert Scorecard.load(tmp_path)["same_answer"].mean == pytest.approx(int(counts.max()) / 11)


def test_a_network_that_says_one_thing_has_blank_maps(tmp_path: Path) -> None:
    head = nn.Linear(300, 3)
    nn.init.zeros_(head.weight)
    flat = nn.Sequential(nn.Flatten(), head)
    MapLength(images=5).run(standing(tmp_path, flat, photos(11)))
    card = Scorecard.load(tmp_path)
    assert (card["map_length"].mean, card["same_answer"].mean, card["map_length"].images) == (0, 1, 5)


def test_settings() -> None:
    assert (MapLength().method, MapLength().images, MapLength.takes) == ("gradient", 500, "network")
    assert MapLength("vargrad").parts() == {"Attribution": ("vargrad",)}
    wrong: Any = {"images": 0}
    with pytest.raises(ArgumentError, match=r"^images"):
        MapLength(**wrong)
