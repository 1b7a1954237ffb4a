"""What a training step costs: floors counted by hand, memory, and formulas that say what the objectives do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.configuration import made
from gradsculpt.evaluation import Scorecard
from gradsculpt.models import build
from gradsculpt.objectives import (
    AdversarialTraining,
    CrossEntropy,
    GradientPenalty,
    HessianNorm,
    LocalGradientAlignment,
    MaxEntropy,
    Objective,
)
from gradsculpt.penalties import L1, ElasticNet, Harmonization
from gradsculpt.perturbations import Iterative
from gradsculpt.studies.experiments.costs import RECIPES, Costs, recipe_settings
from gradsculpt.studies.experiments.counting import Peak, Work
from gradsculpt.studies.experiments.plain import plain, with_stock_layers
from gradsculpt.studies.experiments.training_step import TrainingStep
from tests.studies.experiments.trained import given, named_by

SMALL: dict[str, Any] = {"model": "lenet", "batch_size": 1, "image_size": 8, "rounds": 2, "pairs": 1}


def measured(folder: Path, recipe: str, **settings: Any) -> Scorecard:
    Costs(recipe, **{**SMALL, **settings}).run(given(folder, {}))
    return Scorecard.load(folder)


@pytest.mark.parametrize(
    ("recipe", "passes"),
    [
        ("standard", 3),  # forward, to the inputs of layers, to their weights
        ("elastic-net", 5),  # forward and to the inputs, then a training step
        ("aga-l2-cos", 10),  # two passes with gradients, the training step's backward, and the second order of one
        ("hessian", 12),
        ("free", 3),
        ("noise", 3),
        ("max-entropy", 3),
    ],
)
def test_the_floor_is_the_passes_that_are_counted_by_hand(tmp_path: Path, recipe: str, passes: int) -> None:
    card = measured(tmp_path / "a", recipe)
    # The first layer needs no gradient of its input in cross entropy alone.
    assert card["floor"].mean == pytest.approx(passes / 3, rel=0.03)
    assert card["time"].images == 2
    assert card["time"].mean > 0
    assert card["step_time"].mean > 0


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_has_an_objective_that_can_be_made(recipe: str) -> None:
    assert isinstance(made(recipe_settings(recipe).get("objective")) or CrossEntropy(), Objective)


@pytest.mark.parametrize("recipe", ["atex", "harmonize", "iga"])
def test_what_needs_maps_or_a_teacher_is_given_them(tmp_path: Path, recipe: str) -> None:
    card = measured(tmp_path / "a", recipe, rounds=1)
    assert card["floor"].mean > 1
    assert "plain_time" not in card.entries


def test_plain_formulas_are_measured_where_there_are_some(tmp_path: Path) -> None:
    card = measured(tmp_path / "a", "hessian")
    assert {"plain_time", "plain_memory", "speedup"} <= card.entries.keys()
    assert card["memory"].mean > 1.5
    assert card["plain_memory"].mean > 1.5


def network_and_batch() -> tuple[nn.Module, Tensor, Tensor]:
    network = build("convnet", num_classes=4, image_size=16, softplus=3.0).double().eval()
    return network, torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 3, 1])


@pytest.mark.parametrize(
    "objective",
    [
        AdversarialTraining(ElasticNet(0.01, 0.05)),
        GradientPenalty(L1(0.1)),
        LocalGradientAlignment(l2=0.3, cosine=0.7, eps=0.0),  # without noise, what is random is gone
        LocalGradientAlignment(l2=0.0, cosine=0.0, eps=0.1),
        HessianNorm(0.0),
    ],
    ids=repr,
)
def test_a_plain_formula_is_the_objective(objective: Objective) -> None:
    network, x, y = network_and_batch()
    formula = plain(objective)
    assert formula is not None
    theirs = with_stock_layers(network, third=False).eval()
    torch.testing.assert_close(formula(theirs, x, y), objective(network, x, y).loss, rtol=1e-9, atol=1e-9)


def test_random_terms_have_the_mean_that_the_objective_has() -> None:
    network, x, y = network_and_batch()
    for objective in (HessianNorm(1.0), LocalGradientAlignment(l2=1.0, cosine=1.0, eps=0.3)):
        formula = plain(objective)
        assert formula is not None
        base = CrossEntropy()(network, x, y).loss.detach()

        def mean(loss: Callable[[], Tensor], base: Tensor = base) -> float:
            return float(torch.stack([loss().detach() - base for _ in range(30)]).mean())

        theirs = mean(lambda formula=formula: formula(network, x, y))  # type: ignore[misc]
        ours = mean(lambda objective=objective: objective(network, x, y).loss)  # type: ignore[misc]
        assert theirs == pytest.approx(ours, rel=0.25)


@pytest.mark.parametrize(
    "objective",
    [
        CrossEntropy(),
        MaxEntropy(0.1),
        HessianNorm(1.0) + MaxEntropy(0.1),
        AdversarialTraining(L1(0.1), Iterative(3)),
        AdversarialTraining(Harmonization(1.0)),
        LocalGradientAlignment(l2=1.0, cosine=1.0, eps=0.1, detach_source=False),
        LocalGradientAlignment(l2=1.0, cosine=1.0, eps=0.1, squared=False),
    ],
    ids=repr,
)
def test_what_was_not_written_plainly_has_no_formula(objective: Objective) -> None:
    assert plain(objective) is None


def test_the_peak_is_that_of_tensors_that_live_together() -> None:
    peak = Peak()
    with peak:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second + 1
        del second, third
    assert peak.most == 2 * 4000


def test_a_step_moves_the_network() -> None:
    layer = nn.Linear(12, 2)
    network = nn.Sequential(nn.Flatten(), layer)
    before = layer.weight.detach().clone()
    x, y = torch.randn(4, 3, 2, 2), torch.tensor([0, 1, 0, 1])
    step = TrainingStep(
        network, lambda: nn.functional.cross_entropy(network(x), y), torch.optim.SGD(network.parameters(), lr=1.0)
    )
    assert step.run() > 0
    assert not torch.equal(layer.weight, before)
    # A matrix product forwards, and one for its weights: 2 * 4 * 12 * 2 operations each.
    assert step.work() == 2 * 192
    assert step.peak() >= layer.weight.numel() * 4


@pytest.mark.parametrize(
    ("layer", "multiplications"),
    [
        (nn.Conv2d(4, 6, 3), 6 * 6 * 6 * 4 * 9),
        (nn.Conv2d(4, 4, 3, groups=4), 6 * 6 * 4 * 1 * 9),
        (nn.Conv2d(4, 8, 3, groups=2, padding=1, stride=2), 4 * 4 * 8 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), 8 * 8 * 4 * 6 * 9),
        (nn.ConvTranspose2d(4, 4, 3, groups=4), 8 * 8 * 4 * 1 * 9),
    ],
    ids=repr,
)
def test_the_gradients_of_a_convolution_take_what_it_takes(layer: nn.Module, multiplications: int) -> None:
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    for wanted in ([x], [*layer.parameters()], [x, *layer.parameters()]):
        with Work() as work:
            torch.autograd.grad(layer(x).sum(), wanted)
        gradients = (x in {*wanted}) + (len(wanted) > 1)
        assert work.total == 2 * 2 * multiplications * (1 + gradients)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"recipe": "elastic-nut"}, "recipe='elastic-nut' is not shipped"),
        ({"rounds": 0}, "rounds"),
        ({"pairs": 0}, "pairs"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any], named: str) -> None:
    assert named_by(wrong, Costs).startswith(named)


def test_normalisation_is_written_out_where_a_third_derivative_is_taken() -> None:
    network, x, _ = network_and_batch()
    network.train()
    torch.testing.assert_close(with_stock_layers(network, third=True).double()(x), network(x), rtol=1e-9, atol=1e-9)
