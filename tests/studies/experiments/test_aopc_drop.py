"""What fidelity a map loses, against areas of images that are perturbed square by square."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attributions import Gradient, SmoothGrad, SparsifiedGradient
from gradsculpt.data import to_float
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Scorecard
from gradsculpt.metrics.fidelity import relative_drop
from gradsculpt.studies.experiments import AopcDrop
from tests.studies.experiments.standing import SPACE, photos, standing, values

TESTED = photos(12)


class Squares(nn.Module):
    """Weighs squares of pixels: the larger a gradient, the more is lost with its pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(3, 300, generator=torch.Generator().manual_seed(0)) ** 4 / 20)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).square() @ self.weights.T


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return Squares().eval()


def at_own_class(network: nn.Module) -> Any:
    """Return the test images with the class that the network predicts, so that there is something to lose."""
    with torch.no_grad():
        answers = network(inputs()).argmax(dim=1)
    return replace(TESTED, labels=answers.numpy())


def inputs() -> Tensor:
    return SPACE.normalize(to_float(torch.from_numpy(TESTED.images).permute(0, 3, 1, 2)))


def area(network: nn.Module, x: Tensor, y: int, values: Tensor, count: int) -> float:
    """Return the area of one image: pixels are regions at this size, and 0 takes their place, the strongest first."""
    order = values.abs().sum(dim=0).flatten().argsort(descending=True, stable=True)
    with torch.no_grad():
        whole = network(x[None]).softmax(dim=1)[0, y]
        lost = [torch.tensor(0.0)]
        for step in range(1, count + 1):
            hidden = x.clone().flatten(1)
            hidden[:, order[:step]] = 0
            lost.append(whole - network(hidden.view_as(x)[None]).softmax(dim=1)[0, y])
    return float(torch.stack(lost).mean())


@pytest.mark.parametrize(
    ("method", "maps"),
    [("sparsifiedgradient:keep=0.05", SparsifiedGradient(0.05)), ("smoothgrad:samples=2", SmoothGrad(2))],
)
def test_drops_are_of_the_mean_area_of_the_base(network: nn.Module, tmp_path: Path, method: str, maps: Any) -> None:
    tested, x = at_own_class(network), inputs()
    AopcDrop(method, steps=(5, 20)).run(standing(tmp_path, network, tested))
    y = torch.from_numpy(tested.labels)
    base, mine = Gradient()(network, x, y), maps(network, x, y)
    found, card = values(tmp_path), Scorecard.load(tmp_path)
    assert sorted(found) == sorted(tested.names)
    for count in (5, 20):
        whole, part = (
            torch.tensor([area(network, x[i], int(y[i]), each[i], count) for i in range(len(x))])
            for each in (base, mine)
        )
        assert float(whole.mean()) > 0
        for i, name in enumerate(tested.names):
            assert found[name][f"aopc_{count}"] == pytest.approx(float(part[i]), abs=1e-5)
            drop = float((whole[i] - part[i]) / whole.mean())
            assert found[name][f"aopc_drop_{count}"] == pytest.approx(drop, abs=1e-4)
        assert card[f"aopc_drop_{count}"].mean == pytest.approx(float(relative_drop(whole, part)), abs=1e-4)
    assert card["fidelity_kept"].mean == pytest.approx(1 - card["aopc_drop_20"].mean, abs=1e-6)
    assert card["aopc_drop_20"].mean > 0.01


def test_the_gradient_loses_nothing_of_itself(network: nn.Module, tmp_path: Path) -> None:
    AopcDrop().run(standing(tmp_path, network, at_own_class(network)))
    card = Scorecard.load(tmp_path)
    assert [card[f"aopc_drop_{count}"].mean for count in (20, 50, 100)] == [0, 0, 0]
    assert card["fidelity_kept"].mean == 1
    assert card["fidelity_kept"].images == 12


def test_where_there_is_nothing_to_lose_no_share_of_it_is_told(tmp_path: Path) -> None:
    head = nn.Linear(300, 3)
    nn.init.zeros_(head.weight)
    flat = nn.Sequential(nn.Flatten(), head)
    AopcDrop("sparsifiedgradient", steps=(3,)).run(standing(tmp_path, flat, TESTED))
    card = Scorecard.load(tmp_path)
    assert list(card.entries) == ["aopc_3"]
    assert card.settings["notes"]["without"].startswith("the mean area of gradient is not positive at [3]")


def test_so_many_images_of_each_class_by_the_seed(network: nn.Module, tmp_path: Path) -> None:
    chosen = []
    for seed in (0, 0, 1):
        AopcDrop(steps=(1,), images=6).run(standing(tmp_path, network, TESTED, seed))
        chosen.append(set(values(tmp_path)))
        classes = [int(TESTED.labels[TESTED.names.index(name)]) for name in chosen[-1]]
        assert sorted(classes) == [0, 0, 1, 1, 2, 2]
    assert chosen[0] == chosen[1] != chosen[2]


def test_settings() -> None:
    assert AopcDrop.takes == "network"
    assert (AopcDrop().method, AopcDrop().base, AopcDrop().steps, AopcDrop().images) == (
        "gradient",
        "gradient",
        (20, 50, 100),
        500,
    )
    assert AopcDrop("vargrad", "smoothgrad").parts() == {"Attribution": ("vargrad", "smoothgrad")}
    wrong: dict[str, Any]
    for wrong in ({"images": 0}, {"steps": ()}, {"steps": (0,)}, {"steps": (2.5,)}):
        with pytest.raises(ArgumentError, match=f"^{next(iter(wrong))}"):
            AopcDrop(**wrong)
