"""The groups of a scorecard: what each measures, of any module and data, and what is left out."""

import json
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from gradsculpt.attacks import TargetedManipulation, TopKAttack
from gradsculpt.attributions import Gradient, SmoothGrad, heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import (
    SCORE_GROUPS,
    Accuracy,
    Column,
    EvaluationBatch,
    Fidelity,
    GroundTruth,
    MetricGroup,
    Protocol,
    RobustnessAttack,
    RobustnessRandom,
    Sanity,
    Scorecard,
    ScoreGroup,
    Sparsity,
    evaluate,
)
from gradsculpt.evaluation.scorecard import plot
from gradsculpt.metrics import Neighbourhood, gini, insertion_curve, rps, ssim, topk_intersection
from gradsculpt.models import Classifier
from tests.evaluation.cases import (
    GROUPS,
    NAMES,
    PROTOCOL,
    SMALL,
    SPACE,
    batches,
    changes_nothing,
    does_not_look_at_batch_mates,
    gives_one_value_an_image_in_range,
    levels,
    network,
)

LAWS = (gives_one_value_an_image_in_range, does_not_look_at_batch_mates, changes_nothing)


@pytest.fixture(scope="module")
def card() -> Scorecard:
    return evaluate(network(), batches(truth=levels()), PROTOCOL, space=SPACE, name="mine")


INCLUDED = "ground-truth, images without evidence included"
ENTRIES = (
    ("accuracy", "accuracy", 0.4, 0, 0.8, 5),
    ("accuracy", "brier", 0.703749, 0.601282, 0.810555, 5),
    ("accuracy", "negative_log_likelihood", 1.15894, 0.999124, 1.33092, 5),
    ("accuracy", "confidence", 0.393331, 0.374157, 0.412341, 5),
    ("accuracy", "calibration_error", 0.0993221, 0.0772111, 0.121433, 5),
    ("sparsity", "gini", 0.261025, 0.253135, 0.267994, 5),
    ("sparsity", "half_weight", 0.33125, 0.328125, 0.3375, 5),
    ("sparsity", "components", 2.8, 2.4, 3, 5),
    ("sparsity", "largest_component", 0.6, 0.466667, 0.733333, 5),
    ("sparsity", "mean_component_size", 2.2, 2, 2.6, 5),
    ("robustness-random", "topk_intersection", 0.984615, 0.953846, 1, 5),
    ("robustness-random", "topk_dice", 0.984615, 0.953846, 1, 5),
    ("robustness-random", "ssim", 0.999176, 0.998459, 0.999618, 5),
    ("robustness-random", "cosine", 0.999907, 0.999879, 0.999933, 5),
    ("robustness-random", "rps_cosine_4", 0.999951, 0.999942, 0.99996, 5),
    ("robustness-random", "rps_pearson_4", 0.999951, 0.999942, 0.99996, 5),
    ("robustness-random", "rps_ssim_4", 0.999799, 0.9997, 0.999892, 5),
    ("robustness-random", "rps_cosine_16", 0.999241, 0.999111, 0.999372, 5),
    ("robustness-random", "rps_pearson_16", 0.999239, 0.999105, 0.999373, 5),
    ("robustness-random", "rps_ssim_16", 0.997042, 0.995569, 0.998516, 5),
    ("robustness-random", "local_lipschitz", 0.00313829, 0.00305229, 0.00322819, 5),
    ("robustness-attack", "attacked_topk_intersection", 0.987179, 0.961538, 1, 3),
    ("robustness-attack", "attacked_topk_dice", 0.987179, 0.961538, 1, 3),
    ("robustness-attack", "attacked_ssim", 0.996999, 0.996562, 0.997711, 3),
    ("robustness-attack", "attacked_cosine", 0.999764, 0.999702, 0.999812, 3),
    ("robustness-attack", "topk_attack_0.5", 1, 1, 1, 3),
    ("robustness-attack", "topk_attack_2", 1, 1, 1, 3),
    ("fidelity", "insertion", 0.326715, 0.287552, 0.366327, 5),
    ("fidelity", "deletion", 0.326123, 0.274896, 0.377304, 5),
    ("fidelity", "aopc_morf", 0.00428957, -0.00308377, 0.012037, 5),
    ("fidelity", "adv_insertion", 0.360233, 0.32789, 0.396496, 3),
    ("ground-truth", "overlap_top_5", 0, 0, 0, 4),
    ("ground-truth", "overlap_top_10", 0.291667, 0.208333, 0.333333, 4),
    ("ground-truth", "mass_on_evidence", 0.0412773, 0.0305254, 0.0520292, 4),
    ("ground-truth", "binary_pixel_accuracy", 0.878906, 0.835938, 0.921875, 4),
    ("ground-truth", "binary_recall", 0.125, 0, 0.375, 4),
    ("ground-truth", "binary_precision", 0.05, 0, 0.15, 4),
    ("ground-truth", "binary_false_positive_rate", 0.0967742, 0.0564516, 0.137097, 4),
    ("ground-truth", "five_band_pixel_accuracy", 0.496094, 0.398438, 0.5625, 4),
    ("ground-truth", "five_band_recall", 0.280556, 0.229167, 0.3625, 4),
    ("ground-truth", "five_band_precision", 0.0620362, 0.0435572, 0.0805153, 4),
    ("ground-truth", "five_band_false_positive_rate", 0.478768, 0.402773, 0.588075, 4),
    (INCLUDED, "overlap_top_5_all", 0, 0, 0, 5),
    (INCLUDED, "overlap_top_10_all", 0.233333, 0.1, 0.333333, 5),
    (INCLUDED, "mass_on_evidence_all", 0.0330219, 0.013686, 0.0484664, 5),
    (INCLUDED, "binary_pixel_accuracy_all", 0.88125, 0.84375, 0.915625, 5),
    (INCLUDED, "binary_recall_all", 0.1, 0, 0.3, 5),
    (INCLUDED, "binary_precision_all", 0.04, 0, 0.12, 5),
    (INCLUDED, "binary_false_positive_rate_all", 0.0992944, 0.0645161, 0.132258, 5),
    (INCLUDED, "five_band_pixel_accuracy_all", 0.509375, 0.421875, 0.5625, 5),
    (INCLUDED, "five_band_recall_all", 0.224444, 0.0944444, 0.334444, 5),
    (INCLUDED, "five_band_precision_all", 0.049629, 0.0210436, 0.0749766, 5),
    (INCLUDED, "five_band_false_positive_rate_all", 0.470514, 0.406965, 0.560714, 5),
    ("sanity", "randomized_ssim", -0.110841, -0.282253, 0.0448242, 3),
    ("sanity", "randomized_spearman", -0.0193529, -0.0809066, 0.0167811, 3),
    ("sanity", "randomized_topk_intersection", 0.410256, 0.384615, 0.423077, 3),
)
CURVES = {
    "noise_cosine": ((4.0, 16.0), (0.99995, 0.99924)),
    "topk_attack": ((0.5, 2.0), (100, 100)),
    "topk_attack_ssim": ((0.5, 2.0), (1, 0.99986)),
    "insertion": ((0.0, 25.0, 50.0, 75.0, 100.0), (33.068, 33.588, 32.588, 32.196, 31.917)),
    "deletion": ((0.0, 25.0, 50.0, 75.0, 100.0), (31.917, 31.701, 32.935, 33.442, 33.068)),
    "cascade_ssim": (("3", "0"), (-0.13326, -0.08842)),
}


def test_scores_and_curves_are_what_they_have_always_been(card: Scorecard) -> None:
    assert [(e.group, name, e.images) for name, e in card.entries.items()] == [(g, n, i) for g, n, *_, i in ENTRIES]
    for _, name, *numbers, _ in ENTRIES:
        entry = card[name]
        assert [entry.mean, entry.low, entry.high] == pytest.approx(numbers, rel=1e-3, abs=2e-5), name
    for name, (x, mean) in CURVES.items():
        assert card.curves[name].x == x
        assert card.curves[name].mean == pytest.approx(mean, rel=1e-3, abs=2e-5), name


def test_every_group_is_there_in_the_order_of_the_table(card: Scorecard) -> None:
    assert (*map(type, SMALL), MetricGroup) == SCORE_GROUPS
    assert tuple(group.name for group in SMALL) == NAMES
    groups = list(dict.fromkeys(entry.group for entry in card.entries.values()))
    assert [group for group in groups if "without" not in group] == list(NAMES)
    assert list(card.curves) == list(CURVES)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_every_group_keeps_the_laws(group: ScoreGroup, law: Callable[[ScoreGroup], None]) -> None:
    law(group)


@pytest.mark.parametrize(
    ("kind", "law"), [("scaled", LAWS[0]), ("mean", LAWS[1]), ("drifting", LAWS[2])], ids=lambda value: str(value)[:8]
)
def test_the_laws_bite(kind: str, law: Callable[[ScoreGroup], None]) -> None:
    with pytest.raises(AssertionError):
        law(Broken(kind))
    law(Broken("nothing"))


@dataclass(frozen=True)
class Broken(ScoreGroup):
    """The Gini index, with something wrong."""

    kind: str

    def measure(self, batch: EvaluationBatch) -> Iterator[Column]:
        """Yield it."""
        values = gini(batch.heat)
        if self.kind == "drifting":
            batch.heat.mul_(0.5)
        wrong = {"scaled": 10 * values, "mean": values.mean().expand(len(values))}
        yield Column(gini.scores[0], wrong.get(self.kind, values))


def test_any_module_scores_as_the_classifier_that_holds_it(card: Scorecard) -> None:
    classifier = Classifier(network(), SPACE, ("a", "b", "c"), 8).eval()
    again = evaluate(classifier, iter(batches(truth=levels())), PROTOCOL, name="mine")
    assert again.entries == card.entries
    assert again.curves == card.curves
    bare = evaluate(network(), batches(truth=levels()), Protocol((Accuracy(),)))
    assert bare["negative_log_likelihood"].mean != card["negative_log_likelihood"].mean


def test_nothing_of_the_module_or_the_random_state_changes() -> None:
    module = network().train()
    module[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(module, batches(), PROTOCOL, space=SPACE)
    assert torch.equal(state, torch.get_rng_state())
    assert module.training
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("group", SMALL, ids=NAMES)
def test_a_group_alone_gives_what_it_gives_among_all(card: Scorecard, group: ScoreGroup) -> None:
    alone = evaluate(network(), batches(truth=levels()), Protocol((group,)), space=SPACE)
    wanted = {key: entry for key, entry in card.entries.items() if entry.group.startswith(group.name)}
    wanted.pop("adv_insertion", None)  # costs an attack, so it comes with that group only
    assert dict(alone.entries) == wanted
    assert dict(alone.curves) == {name: card.curves[name] for name in group.curves}


def test_images_that_were_not_attacked_or_randomised_count_nowhere(card: Scorecard) -> None:
    counts = {name: entry.images for name, entry in card.entries.items()}
    few = {name for name in counts if name.startswith(("attacked_", "topk_attack", "randomized_", "adv_"))}
    assert {counts[name] for name in few} == {3}
    assert {counts[name] for name in ("accuracy", "gini", "insertion", "rps_ssim_4")} == {5}
    assert all(np.isfinite([e.mean, e.low, e.high]).all() for e in card.entries.values())
    assert all(np.isfinite([*c.mean, *c.low, *c.high]).all() for c in card.curves.values())
    assert all(e.low <= e.mean <= e.high for e in card.entries.values())


def test_the_first_images_are_attacked_whatever_the_batches(card: Scorecard) -> None:
    split = evaluate(network(), batches(sizes=(1, 1, 2, 1), truth=levels()), PROTOCOL, space=SPACE)
    assert list(split.entries) == list(card.entries)
    for name, entry in card.entries.items():
        assert split[name].images == entry.images, name
        assert split[name].mean == pytest.approx(entry.mean, abs=2e-4), name


def test_the_limit_is_kept_within_a_batch() -> None:
    one, other = (evaluate(network(), batches(sizes), PROTOCOL, space=SPACE, limit=4) for sizes in ((3, 2), (4, 1)))
    assert one.settings["images"] == other.settings["images"] == 4
    assert one["gini"].mean == pytest.approx(other["gini"].mean, abs=1e-5)
    with pytest.raises(ArgumentError, match="limit=0"):
        evaluate(network(), batches(), limit=0)


def test_curves_are_what_the_metrics_say() -> None:
    [(images, labels)] = batches(sizes=(3,))
    found = evaluate(network(), [(images, labels)], PROTOCOL, space=SPACE)
    x, bounds = SPACE.normalize(images), SPACE.bounds
    noise = found.curves["noise_cosine"]
    assert noise.x == (4.0, 16.0)
    for level, mean in zip(noise.x, noise.mean, strict=True):
        told = rps(
            network(), Gradient(), x, labels, SPACE.pixels(level / 255), Neighbourhood(draws=2, bounds=bounds, seed=0)
        )
        assert mean == pytest.approx(float(told["cosine"].mean()), abs=1e-6)
        assert found[f"rps_cosine_{level:g}"].mean == pytest.approx(mean)
    # A root-mean-square change of 2 levels of 3 * 8 * 8 entries.
    attack = TopKAttack(SPACE.pixels(2 / 255) * 192**0.5, steps=2, bounds=bounds)
    after = Gradient()(network(), attack(network(), Gradient(), x, labels), labels)
    before = Gradient()(network(), x, labels)
    hot, changed = (heatmap(maps, clip=100.0) for maps in (before, after))
    overlap = float(topk_intersection(hot, changed, 0.4, nonzero=True).mean())
    assert found["topk_attack_2"].mean == pytest.approx(overlap, abs=1e-6)
    assert found.curves["topk_attack"].mean[1] == pytest.approx(100 * overlap, abs=1e-4)
    assert found.curves["topk_attack_ssim"].mean[1] == pytest.approx(float(ssim(hot, changed).mean()), abs=1e-5)
    insertion = found.curves["insertion"]
    assert insertion.x[0] == 0
    assert insertion.x[-1] == 100
    whole = network()(x).softmax(dim=1).gather(1, labels[:, None]).mean()
    assert insertion.mean[-1] == pytest.approx(100 * whole.item(), abs=1e-3)
    assert found["insertion"].mean == pytest.approx(np.mean(insertion.mean) / 100, abs=1e-6)
    assert len(found.curves["cascade_ssim"].x) == 2


def test_maps_without_a_slope_are_attacked_through_a_smooth_twin() -> None:
    quiet = Protocol((RobustnessAttack(levels=(0.0, 8.0), steps=8, images=3),))
    found = evaluate(network(nn.ReLU), batches(), quiet, space=SPACE)
    assert found["topk_attack_0"].mean == pytest.approx(1.0)
    assert found["topk_attack_8"].mean < 0.99


def test_no_levels_no_lines() -> None:
    none = Protocol((RobustnessRandom(), RobustnessAttack(levels=(), steps=2)))
    found = evaluate(network(), batches(), none, space=SPACE)
    assert not any(name.startswith(("rps", "topk_attack")) for name in found.entries)
    assert not found.curves


def test_the_cascade_has_as_many_stages_as_were_asked_for() -> None:
    merged = Protocol((Sanity(images=3, stages=1),))
    assert len(evaluate(network(), batches(), merged, space=SPACE).curves["cascade_ssim"].x) == 1
    with pytest.raises(ArgumentError, match="stages=0"):
        Sanity(stages=0)


def test_truth_in_levels_is_scored_in_bands_and_gaze_by_overlap() -> None:
    truth = Protocol((GroundTruth(),))
    gaze = (torch.linspace(0, 1, 64).view(1, 1, 8, 8) * torch.tensor([0.0, 1, 1, 1, 1]).view(5, 1, 1, 1) * 255).byte()
    found = evaluate(network(), batches(truth=gaze), truth, space=SPACE)
    assert set(found.entries) == {f"overlap_top_{k}{end}" for k in (5, 10) for end in ("", "_all")}
    # The image that nobody looked at is left out.
    assert (found["overlap_top_5"].images, found["overlap_top_5_all"].images) == (4, 5)
    known = evaluate(network(), batches(truth=levels()[:, 0]), truth, space=SPACE)
    assert {"mass_on_evidence", "binary_precision", "five_band_recall", "overlap_top_10"} <= set(known.entries)
    assert known["binary_precision"].images == 4
    assert "ground-truth" not in {e.group for e in evaluate(network(), batches(), truth, space=SPACE).entries.values()}


def test_a_set_without_any_evidence_has_no_truth_to_find() -> None:
    found = evaluate(network(), batches(truth=levels() * 0), Protocol((Accuracy(), GroundTruth())))
    assert {entry.group for entry in found.entries.values()} == {"accuracy"}


def test_eight_bits_and_shares_are_the_same_image() -> None:
    (images, labels), _ = batches()
    eight, found = (images * 255).round().byte(), []
    whole = Protocol((Accuracy(), Sparsity(), GroundTruth()))
    for x, truth in ((eight, levels()[:3]), (eight.float() / 255, levels()[:3].float() / 255)):
        found.append(evaluate(network(), [(x, labels, truth)], whole, space=SPACE).entries)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((torch.rand(3, 8, 8), torch.zeros(3, dtype=torch.long)), "batch"),
        ((torch.rand(2, 3, 8, 8), torch.zeros(3, dtype=torch.long)), "class indices"),
        ((torch.rand(2, 3, 8, 8), torch.tensor([0, 3])), "class indices run from 0 to 3 but the model has 3 outputs"),
        ((torch.rand(2, 3, 8, 8), torch.tensor([0, -1])), "class indices run from -1 to 0"),
        ((torch.rand(2, 3, 8, 8) * 4 - 2, torch.tensor([0, 1])), "values from -.* to .*space=InputSpace"),
        ((torch.full((2, 3, 8, 8), torch.nan), torch.tensor([0, 1])), "values from nan"),
    ],
)
def test_what_does_not_fit_is_refused(batch: tuple[Tensor, Tensor], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        evaluate(network(), [batch], Protocol((Accuracy(),)))


def test_another_attribution_is_what_is_scored(card: Scorecard) -> None:
    smooth = Protocol((Sparsity(),), attribution=SmoothGrad(samples=3, sigma=0.3))
    assert evaluate(network(), batches(), smooth, space=SPACE)["gini"].mean != card["gini"].mean


def test_a_card_prints_itself_and_becomes_a_data_frame(card: Scorecard) -> None:
    pandas = pytest.importorskip("pandas")
    lines = str(card).splitlines()
    assert lines[0] == "mine"
    assert len(lines) == 1 + len(card.entries)
    assert any("accuracy" in line and "%" in line for line in lines)
    frame = card.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.index) == list(card.entries)
    assert frame.loc["gini", "mean"] == card["gini"].mean
    assert frame.loc["gini", "better"] == "higher"
    assert frame.loc["attacked_ssim", "images"] == 3
    assert set(frame.columns) == {"group", "mean", "low", "high", "images", "better", "unit"}


def test_a_card_draws_itself_with_labelled_axes(card: Scorecard) -> None:
    figure = card.plot()
    assert isinstance(figure, matplotlib.figure.Figure)
    drawn = [axis for axis in figure.get_axes() if axis.axison]
    panels, curves = drawn[: -len(card.curves)], drawn[-len(card.curves) :]
    assert all(axis.get_xlabel() for axis in drawn)
    assert all(axis.get_ylabel() and axis.get_title() for axis in curves)
    labels = [label.get_text() for axis in panels for label in axis.get_yticklabels()]
    assert len(labels) == len(card.entries)
    assert "insertion ↑" in labels
    figure.canvas.draw()


def test_cards_with_different_scores_are_drawn_side_by_side(card: Scorecard) -> None:
    other = evaluate(network(nn.Tanh), batches(), Protocol((Accuracy(), Sparsity())), space=SPACE, name="other")
    figure = plot([card, other])
    legend = next(iter([*figure.legends, *(each for part in figure.subfigs for each in part.legends)]))
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["mine", "other"]
    assert isinstance(other.plot(), matplotlib.figure.Figure)


def group(protocol: Protocol, kind: type[ScoreGroup]) -> ScoreGroup:
    [one] = [group for group in protocol.groups if type(group) is kind]
    return one


def test_quick_and_full_have_the_published_settings() -> None:
    # Joo et al., AAAI 2023: RPS at 4, 8 and 16 levels, attacks of 100 steps; Gong et al., CVPR 2024: k = 40%, 8 / 255.
    for protocol in (Protocol.quick(), Protocol.full()):
        assert [type(group) for group in protocol.groups] == [type(group) for group in SMALL]
        assert (protocol.attribution, protocol.target, protocol.seed) == (Gradient(), "true", 0)
        assert group(protocol, Fidelity) == Fidelity(steps=20)
    noise = RobustnessRandom(eps=8.0, k=0.4, rps_levels=(4.0, 8.0, 16.0), draws=10)
    assert group(Protocol.full(), RobustnessRandom) == noise
    assert group(Protocol.quick(), RobustnessRandom) == replace(noise, draws=3)
    attack = RobustnessAttack(eps=4.0, levels=(0.25, 0.5, 1.0, 2.0, 4.0), steps=100, images=500, k=0.4)
    assert group(Protocol.full(), RobustnessAttack) == replace(attack, smooth_beta="auto")
    assert group(Protocol.quick(), RobustnessAttack) == replace(attack, levels=(0.5, 2.0), steps=20, images=8)
    assert group(Protocol.full(), Sanity) == Sanity(images=64, stages=None, k=0.4)
    assert group(Protocol.quick(), Sanity) == Sanity(images=8, stages=10, k=0.4)
    plain = (Accuracy(), Sparsity(), RobustnessRandom(eps=8.0, k=0.4, rps_levels=(), draws=10), GroundTruth())
    assert Protocol() == Protocol(plain, Gradient(), "true", 0)
    assert RobustnessAttack() == RobustnessAttack(4.0, (0.5, 1.0, 2.0), 20, 32, 0.4, "auto")
    assert (Fidelity(), Sanity()) == (Fidelity(20), Sanity(16, None, 0.4))


def test_adversarial_insertion_is_in_the_order_of_the_attacked_map() -> None:
    [(images, labels)] = batches(sizes=(3,))
    strong = Protocol((RobustnessAttack(eps=64.0, levels=(), steps=8, images=3), Fidelity(steps=8)))
    score = evaluate(network(), [(images, labels)], strong, space=SPACE)["adv_insertion"].mean
    x = SPACE.normalize(images)
    attack = TargetedManipulation(SPACE.pixels(64 / 255), steps=8, bounds=SPACE.bounds)
    attacked = Gradient()(network(), attack(network(), Gradient(), x, labels), labels)
    expected, clean = (
        float(insertion_curve(network(), x, labels, maps, 8).mean())
        for maps in (attacked, Gradient()(network(), x, labels))
    )
    assert abs(expected - clean) > 1e-3
    assert score == pytest.approx(expected, abs=1e-5)


def test_an_attack_is_made_once_for_all_that_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    attacked: list[str] = []
    original = TargetedManipulation.__call__

    def noted(self: TargetedManipulation, *given: Any) -> Tensor:
        attacked.append(repr(self))
        return original(self, *given)

    monkeypatch.setattr(TargetedManipulation, "__call__", noted)
    evaluate(network(), batches(sizes=(3,)), Protocol((Fidelity(steps=2), RobustnessAttack(steps=2))), space=SPACE)
    assert len(attacked) == 1


@pytest.mark.parametrize("one", SMALL, ids=NAMES)
def test_a_group_can_be_named_by_its_class_path(one: ScoreGroup) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--groups", type=tuple[ScoreGroup, ...])
    settings = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(one).items()}
    spec = {"class_path": f"gradsculpt.evaluation.{type(one).__name__}", "init_args": settings}
    options = parser.instantiate_classes(parser.parse_args([f"--groups={json.dumps([spec])}"]))
    assert tuple(options.groups) == (one,)
    with pytest.raises(FrozenInstanceError):
        one.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (RobustnessRandom, {"eps": 256.0}, "eps in 8-bit levels=256.* is out of range"),
        (RobustnessRandom, {"rps_levels": (4.0, -1.0)}, "rps_levels in 8-bit levels=-1.* is out of range"),
        (RobustnessRandom, {"k": 1.5}, "k=1.5"),
        (RobustnessRandom, {"draws": 0}, "draws=0"),
        (RobustnessAttack, {"levels": (300.0,)}, "levels in 8-bit levels=300.* is out of range"),
        (RobustnessAttack, {"steps": 0}, "steps=0"),
        (RobustnessAttack, {"images": 0}, "images=0"),
        (RobustnessAttack, {"smooth_beta": 0.0}, "smooth_beta=0"),
        (Fidelity, {"steps": 0}, "steps=0"),
        (Sanity, {"images": 0}, "images=0"),
        (Protocol, {"seed": -1}, "seed=-1"),
        (Protocol, {"target": "other"}, "target"),
        (Protocol, {"groups": ("accuracy",)}, "'accuracy' is no ScoreGroup"),
        (Protocol, {"groups": (Sanity(), Sanity(images=3))}, "two groups are called sanity"),
    ],
)
def test_settings_out_of_range_are_refused(kind: type, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        kind(**settings)


def test_the_table_keeps_its_order_whatever_that_of_the_groups(card: Scorecard) -> None:
    turned = evaluate(network(), batches(truth=levels()), Protocol(SMALL[::-1]), space=SPACE, name="mine")
    assert list(turned.entries.items()) == list(card.entries.items())


def test_a_scorecard_notes_the_settings_of_its_groups(card: Scorecard, tmp_path: Path) -> None:
    card.save(tmp_path / "scorecard.json")
    settings = Scorecard.load(tmp_path / "scorecard.json").settings
    assert list(settings["groups"]) == list(NAMES)
    assert settings["groups"]["sanity"] == {"images": 3, "stages": None, "k": 0.4}
    assert settings["groups"]["robustness-attack"]["levels"] == [0.5, 2.0]
    assert [note.split()[0] for note in settings["notes"]] == ["Robustness:", "Attacks:", "Ground-truth"]


def test_nothing_is_noted_of_a_group_that_had_nothing_to_measure() -> None:
    card = evaluate(network(), batches(), Protocol((Sparsity(), RobustnessRandom(), GroundTruth())), space=SPACE)
    assert [note.split()[0] for note in card.settings["notes"]] == ["Robustness:"]
