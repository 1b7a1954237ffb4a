"""Yardsticks: scores of random maps and of chance, against what can be derived by hand."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attributions import Attribution
from gradsculpt.evaluation import (
    Accuracy,
    Column,
    EvaluationBatch,
    Fidelity,
    GroundTruth,
    MetricGroup,
    Protocol,
    RobustnessAttack,
    RobustnessRandom,
    Scorecard,
    ScoreGroup,
    Sparsity,
    evaluate,
)
from gradsculpt.evaluation.yardsticks import TRIALS, guessing
from gradsculpt.metrics import Score, brier, metric
from tests.evaluation.cases import PROTOCOL, batches, levels, network

SIDE = 48


class _Wide(nn.Module):
    """A network whose gradient is dense and differs from pixel to pixel, for images of any side."""

    def forward(self, x: Tensor) -> Tensor:
        grid = torch.linspace(0.2, 2.0, x[0].numel(), dtype=x.dtype).view(x.shape[1:])
        heard = (x.square() * grid).flatten(1).sum(dim=1) / 1000
        return torch.stack([heard, -heard], dim=1)


def _images(count: int) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, SIDE, SIDE, generator=generator)
    truth = torch.zeros(count, 1, SIDE, SIDE)
    truth[:, :, 10:22, 8:20] = 0.9
    return [(images, torch.arange(count) % 2, truth)]


def _card(*groups: ScoreGroup, count: int = 8) -> Scorecard:
    return evaluate(_Wide(), _images(count), Protocol(groups))


@pytest.mark.parametrize("k", [0.1, 0.4])
def test_by_chance_a_share_k_of_the_top_is_shared(k: float) -> None:
    # Two sets of a share k each, put anywhere: of the one, a share k falls into the other.
    card = _card(RobustnessRandom(k=k), RobustnessAttack(k=k, steps=1, levels=(1.0,)))
    for name in ("topk_intersection", "topk_dice", "attacked_topk_intersection", "attacked_topk_dice", "topk_attack_1"):
        assert card[name].chance == pytest.approx(k, abs=0.02), name
        assert card[name].random_map == pytest.approx(k, abs=0.02), name


def test_by_chance_a_map_finds_as_much_as_there_is() -> None:
    # The evidence is 12 x 12 of 48 x 48 pixels, a sixteenth: of the values in random places, that share lies there.
    card = _card(GroundTruth())
    for name in ("mass_on_evidence", "overlap_top_10"):
        share = 1 / 16
        assert card[name].chance == pytest.approx(share, abs=0.015), name
        assert card[name].random_map == pytest.approx(share, abs=0.015), name


def test_by_chance_maps_of_magnitudes_have_the_cosine_of_their_means() -> None:
    # For values in random places, the mean of <a, b> is n mean(a) mean(b). For noise, sums of three half-normal values
    # each have the mean 3 sqrt(2 / pi) and the variance 3 (1 - 2 / pi).
    mean, variance = 3 * math.sqrt(2 / math.pi), 3 * (1 - 2 / math.pi)
    card = _card(RobustnessRandom())
    assert card["cosine"].random_map == pytest.approx(mean**2 / (mean**2 + variance), abs=0.01)
    (images, _, _) = _images(8)[0]
    heat = (images * torch.linspace(0.2, 2.0, images[0].numel()).view(images.shape[1:])).sum(dim=1).flatten(1)
    expected = (heat.mean(dim=1) ** 2 / heat.square().mean(dim=1)).mean()
    assert card["cosine"].chance == pytest.approx(float(expected), abs=0.05)


def test_the_gini_index_of_noise_is_that_of_its_distribution() -> None:
    class Grey(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return _Wide()(x)

    images = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    card = evaluate(Grey(), [(images, torch.zeros(4, dtype=torch.long))], Protocol((Sparsity(),)))
    assert card["gini"].random_map == pytest.approx(math.sqrt(2) - 1, abs=0.01)  # of a half-normal distribution
    assert card["gini"].chance is None  # other places make no difference to it
    assert card["components"].chance is not None


def test_predictions_are_held_against_the_frequencies_of_the_classes() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    expected = {
        "accuracy": 0.75,
        "confidence": 0.75,
        "brier": 0.75 * (0.25**2 + 0.25**2) + 0.25 * (0.75**2 + 0.75**2),
        "negative_log_likelihood": -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)),
        "calibration_error": 0.0,
    }
    assert guessing(labels) == pytest.approx(expected)
    images = torch.rand(4, 3, 8, 8)
    card = evaluate(network(), [(images, labels)], Protocol((Accuracy(),)))
    assert {name: entry.chance for name, entry in card.entries.items()} == pytest.approx(expected)
    assert all(entry.random_map is None for entry in card.entries.values())
    alone = evaluate(network(), [(images, labels)], Protocol((MetricGroup(brier),)))
    assert alone["brier"].chance == pytest.approx(expected["brier"])


def test_every_score_of_a_map_has_a_sentence_and_what_random_maps_score() -> None:
    card = evaluate(network(), batches((5,), levels()), PROTOCOL)
    for name, entry in card.entries.items():
        if entry.group == "accuracy":
            assert entry.chance is not None, name
        else:
            assert entry.random_map is not None, name
            assert entry.score.low - 1e-6 <= entry.random_map <= entry.score.high + 1e-6, name


def test_groups_and_metrics_of_ones_own_have_yardsticks_too() -> None:
    @dataclass(frozen=True)
    class Bright(ScoreGroup):
        """Asks for maps that can be differentiated, and for one of the network."""

        def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
            x = batch.x.clone().requires_grad_()
            maps = batch.attribution(batch.network, x, batch.target, create_graph=True)
            (slope,) = torch.autograd.grad(maps.sum(), x)
            yield Column(Score("slope", 0.0, math.inf, "lower"), slope.flatten(1).abs().sum(dim=1))
            yield Column(Score("side", 0.0, math.inf, None), torch.full((len(batch),), float(x.shape[-1])))

    @metric(Score("peak", 0.0, math.inf, None))
    def peak(maps: Tensor) -> Tensor:
        return maps.abs().flatten(1).amax(dim=1)

    card = _card(Bright(), MetricGroup(peak))
    assert card["slope"].random_map == 0.0  # maps that know nothing of the image do not change with it
    assert card["side"].random_map is None  # it is not of the map
    # Noise is as strong as the map, so that the units agree; and a map's values in other places have the same peak.
    assert card["peak"].random_map is not None
    assert card["peak"].mean < card["peak"].random_map < 10 * card["peak"].mean
    assert card["peak"].chance is None


def test_a_group_that_such_maps_do_not_suit_is_scored_without() -> None:
    @dataclass(frozen=True)
    class Choosy(ScoreGroup):
        def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
            told = batch.attribution.output  # type: ignore[attr-defined]
            yield Column(Score("letters", 0.0, math.inf, None), torch.full((len(batch),), float(len(told))))

    card = _card(Choosy(), Sparsity())
    assert (card["letters"].mean, card["letters"].random_map) == (5.0, None)
    assert card["gini"].random_map is not None


def test_yardsticks_do_not_depend_on_batches_and_cost_few_images() -> None:
    counted = []

    @dataclass(frozen=True)
    class Counting(Attribution):
        def __call__(self, model, x, target=None, *, create_graph=False):  # type: ignore[no-untyped-def]
            counted.append(len(x))
            return x * 1.5

    protocol = Protocol((Sparsity(), RobustnessRandom()), Counting())
    images = torch.rand(TRIALS + 8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(len(images), dtype=torch.long)
    whole = evaluate(network(), [(images, labels)], protocol)
    assert sum(counted) == 2 * len(images)  # clean and noisy, once each: yardsticks ask the network for no map
    parts = [(images[:7], labels[:7]), (images[7:], labels[7:])]
    split = evaluate(network(), parts, protocol)
    for name, entry in whole.entries.items():
        assert split[name].random_map == pytest.approx(entry.random_map, abs=1e-5), name
        assert split[name].chance == pytest.approx(entry.chance, abs=1e-5), name


def test_a_yardstick_that_takes_passes_through_the_network_is_of_few_images() -> None:
    asked = list[int]()

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            asked.append(len(x))
            return x.flatten(1)[:, :3]

    images = torch.rand(TRIALS, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    given = [(images, torch.zeros(TRIALS, dtype=torch.long))]
    card = evaluate(Counted(), given, Protocol((Fidelity(steps=2),)))
    once = TRIALS * (2 * 3 + 3)  # shares 0, .5 and 1 of insertion and deletion, and 0, 1 and 2 regions
    assert Fidelity.trials == 8
    assert once * (1 + 2 * 8 / TRIALS) <= sum(asked) < once * (1 + 2 * 8 / TRIALS) + 4 * TRIALS
    assert card["insertion"].random_map is not None


def test_yardsticks_are_kept_with_the_card_and_left_out_of_the_table_of_values(tmp_path: Path) -> None:
    images, labels = batches((5,))[0]
    card = evaluate(network(), [(images, labels)], Protocol((Sparsity(),)), folder=tmp_path)
    card.save(tmp_path / "card.json")
    assert Scorecard.load(tmp_path / "card.json").entries == card.entries
    heading = (tmp_path / "scorecard.csv").read_text().splitlines()[0]
    assert (
        heading.partition(",checksum ")[0]
        == "image,gini,half_weight,components,largest_component,mean_component_size,zero_map"
    )


def test_an_interrupted_evaluation_has_the_yardsticks_of_a_whole_one(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if done == 3:
            raise StopError

    given = (network(), batches((3, 2), levels()), Protocol((Sparsity(), GroundTruth())))
    with pytest.raises(StopError):
        evaluate(*given, folder=tmp_path, progress=stop)
    assert evaluate(*given, folder=tmp_path).entries == evaluate(*given).entries


def test_maps_of_zeros_are_no_obstacle() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 3)

    card = evaluate(Constant(), batches((5,)), replace(Protocol(), groups=(Sparsity(), RobustnessRandom())))
    assert card["gini"].mean == 0.0
    assert card["gini"].random_map == pytest.approx(0.26, abs=0.05)
