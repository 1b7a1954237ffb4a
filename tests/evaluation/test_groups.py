"""The groups of a scorecard: what each measures, of any module and data, and what is left out."""

import matplotlib.figure
import numpy as np
import pytest
import torch
from torch import nn

from gradsculpt.attacks import TopKAttack
from gradsculpt.attributions import Gradient, SmoothGrad, heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Protocol, evaluate
from gradsculpt.evaluation.groups import CURVES, GROUPS
from gradsculpt.evaluation.plot import plot
from gradsculpt.evaluation.protocol import GROUP_NAMES
from gradsculpt.inputs import InputSpace
from gradsculpt.metrics import rps, ssim, topk_intersection
from gradsculpt.models import Classifier

SMALL = {
    "groups": GROUP_NAMES,
    "rps_levels": (4.0, 16.0),
    "draws": 2,
    "attack_levels": (0.5, 2.0),
    "attack_steps": 2,
    "attack_images": 3,
    "steps": 4,
    "sanity_images": 3,
}
SPACE = InputSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def network(activation=nn.Softplus):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), activation(), nn.Flatten(), nn.Linear(4 * 64, 3)).eval()


def batches(sizes=(3, 2), truth=None):
    generator = torch.Generator().manual_seed(1)
    count = sum(sizes)
    images = torch.rand(count, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    parts = (images, labels) if truth is None else (images, labels, truth)
    return list(zip(*(part.split(sizes) for part in parts), strict=True))


def levels(count=5):
    truth = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    truth[1:, :, 2:5, 2:5] = 102
    truth[1:, :, 3, 3:5] = 229
    return truth


@pytest.fixture(scope="module")
def card():
    return evaluate(network(), batches(truth=levels()), Protocol(**SMALL), space=SPACE, name="mine")


def test_every_group_is_there_in_the_order_of_the_table(card):
    assert tuple(GROUPS) == GROUP_NAMES
    groups = list(dict.fromkeys(entry.group for entry in card.entries.values()))
    assert [group for group in groups if "without" not in group] == list(GROUP_NAMES)
    assert set(card.curves) == set(CURVES)


def test_any_module_scores_as_the_classifier_that_holds_it(card):
    classifier = Classifier(network(), SPACE, ("a", "b", "c"), 8).eval()
    again = evaluate(classifier, iter(batches(truth=levels())), Protocol(**SMALL), name="mine")
    assert again.entries == card.entries
    assert again.curves == card.curves
    bare = evaluate(network(), batches(truth=levels()), Protocol(groups=("accuracy",)))
    assert bare["negative_log_likelihood"].mean != card["negative_log_likelihood"].mean


def test_nothing_of_the_module_or_the_random_state_changes():
    module = network().train()
    module[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(module, batches(), Protocol(**SMALL), space=SPACE)
    assert torch.equal(state, torch.get_rng_state())
    assert module.training
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", GROUP_NAMES)
def test_a_group_alone_gives_what_it_gives_among_all(card, name):
    alone = evaluate(network(), batches(truth=levels()), Protocol(**{**SMALL, "groups": (name,)}), space=SPACE)
    wanted = {key: entry for key, entry in card.entries.items() if entry.group.startswith(name)}
    wanted.pop("adv_insertion", None)  # costs an attack, so it comes with that group only
    assert dict(alone.entries) == wanted


def test_images_that_were_not_attacked_or_randomised_count_nowhere(card):
    counts = {name: entry.images for name, entry in card.entries.items()}
    few = {name for name in counts if name.startswith(("attacked_", "topk_attack", "randomized_", "adv_"))}
    assert {counts[name] for name in few} == {3}
    assert {counts[name] for name in ("accuracy", "gini", "insertion", "rps_ssim_4")} == {5}
    assert all(np.isfinite([e.mean, e.low, e.high]).all() for e in card.entries.values())
    assert all(np.isfinite([*c.mean, *c.low, *c.high]).all() for c in card.curves.values())
    assert all(e.low <= e.mean <= e.high for e in card.entries.values())


def test_the_first_images_are_attacked_whatever_the_batches(card):
    split = evaluate(network(), batches(sizes=(1, 1, 2, 1), truth=levels()), Protocol(**SMALL), space=SPACE)
    assert list(split.entries) == list(card.entries)
    for name, entry in card.entries.items():
        assert split[name].images == entry.images, name
        assert split[name].mean == pytest.approx(entry.mean, abs=2e-4), name


def test_the_limit_is_kept_within_a_batch():
    one, other = (
        evaluate(network(), batches(sizes), Protocol(**SMALL), space=SPACE, limit=4) for sizes in ((3, 2), (4, 1))
    )
    assert one.settings["images"] == other.settings["images"] == 4
    assert one["gini"].mean == pytest.approx(other["gini"].mean, abs=1e-5)
    with pytest.raises(ArgumentError, match="limit=0"):
        evaluate(network(), batches(), limit=0)


def test_curves_are_what_the_metrics_say():
    protocol = Protocol(**SMALL)
    [(images, labels)] = batches(sizes=(3,))
    found = evaluate(network(), [(images, labels)], protocol, space=SPACE)
    x, bounds = SPACE.normalize(images), SPACE.bounds
    noise = found.curves["noise_cosine"]
    assert noise.x == (4.0, 16.0)
    for level, mean in zip(noise.x, noise.mean, strict=True):
        told = rps(network(), Gradient(), x, labels, SPACE.pixels(level / 255), draws=2, bounds=bounds, seed=0)
        assert mean == pytest.approx(float(told["cosine"].mean()), abs=1e-6)
        assert found[f"rps_cosine_{level:g}"].mean == pytest.approx(mean)
    # A root-mean-square change of 2 levels of 3 * 8 * 8 entries.
    attack = TopKAttack(SPACE.pixels(2 / 255) * 192**0.5, steps=2, bounds=bounds)
    after = Gradient()(network(), attack(network(), Gradient(), x, labels), labels)
    before = Gradient()(network(), x, labels)
    hot = [heatmap(maps, clip=100.0) for maps in (before, after)]
    overlap = float(topk_intersection(*hot, 0.4, nonzero=True).mean())
    assert found["topk_attack_2"].mean == pytest.approx(overlap, abs=1e-6)
    assert found.curves["topk_attack"].mean[1] == pytest.approx(100 * overlap, abs=1e-4)
    assert found.curves["topk_attack_ssim"].mean[1] == pytest.approx(float(ssim(*hot).mean()), abs=1e-5)
    insertion = found.curves["insertion"]
    assert insertion.x[0] == 0
    assert insertion.x[-1] == 100
    whole = network()(x).softmax(dim=1).gather(1, labels[:, None]).mean()
    assert insertion.mean[-1] == pytest.approx(100 * whole.item(), abs=1e-3)
    assert found["insertion"].mean == pytest.approx(np.mean(insertion.mean) / 100, abs=1e-6)
    assert len(found.curves["cascade_ssim"].x) == 2


def test_maps_without_a_slope_are_attacked_through_a_smooth_twin():
    quiet = Protocol(**{**SMALL, "groups": ("robustness-attack",), "attack_levels": (0.0, 8.0), "attack_steps": 8})
    found = evaluate(network(nn.ReLU), batches(), quiet, space=SPACE)
    assert found["topk_attack_0"].mean == pytest.approx(1.0)
    assert found["topk_attack_8"].mean < 0.99


def test_no_levels_no_lines():
    found = evaluate(network(), batches(), Protocol(**{**SMALL, "rps_levels": (), "attack_levels": ()}), space=SPACE)
    assert not any(name.startswith(("rps", "topk_attack")) for name in found.entries)
    assert not {"noise_cosine", "topk_attack"} & set(found.curves)


def test_the_cascade_has_as_many_stages_as_were_asked_for():
    merged = Protocol(**{**SMALL, "groups": ("sanity",), "stages": 1})
    assert len(evaluate(network(), batches(), merged, space=SPACE).curves["cascade_ssim"].x) == 1
    with pytest.raises(ArgumentError, match="stages=0"):
        Protocol(stages=0)


def test_truth_in_levels_is_scored_in_bands_and_gaze_by_overlap():
    truth = Protocol(groups=("ground-truth",))
    gaze = (torch.linspace(0, 1, 64).view(1, 1, 8, 8) * torch.tensor([0.0, 1, 1, 1, 1]).view(5, 1, 1, 1) * 255).byte()
    found = evaluate(network(), batches(truth=gaze), truth, space=SPACE)
    assert set(found.entries) == {f"overlap_top_{k}{end}" for k in (5, 10) for end in ("", "_all")}
    # The image that nobody looked at is left out.
    assert (found["overlap_top_5"].images, found["overlap_top_5_all"].images) == (4, 5)
    known = evaluate(network(), batches(truth=levels()[:, 0]), truth, space=SPACE)
    assert {"mass_on_evidence", "binary_precision", "five_band_recall", "overlap_top_10"} <= set(known.entries)
    assert known["binary_precision"].images == 4
    assert "ground-truth" not in {e.group for e in evaluate(network(), batches(), truth, space=SPACE).entries.values()}


def test_a_set_without_any_evidence_has_no_truth_to_find():
    found = evaluate(network(), batches(truth=levels() * 0), Protocol(groups=("accuracy", "ground-truth")))
    assert {entry.group for entry in found.entries.values()} == {"accuracy"}


def test_eight_bits_and_shares_are_the_same_image():
    (images, labels), _ = batches()
    eight, found = (images * 255).round().byte(), []
    whole = Protocol(groups=("accuracy", "sparsity", "ground-truth"))
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
def test_what_does_not_fit_is_refused(batch, said):
    with pytest.raises(ArgumentError, match=said):
        evaluate(network(), [batch], Protocol(groups=("accuracy",)))


def test_another_attribution_is_what_is_scored(card):
    smooth = Protocol(groups=("sparsity",), attribution=SmoothGrad(samples=3, sigma=0.3))
    assert evaluate(network(), batches(), smooth, space=SPACE)["gini"].mean != card["gini"].mean


def test_a_card_prints_itself_and_becomes_a_data_frame(card):
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


def test_a_card_draws_itself_with_labelled_axes(card):
    figure = card.plot()
    assert isinstance(figure, matplotlib.figure.Figure)
    drawn = [axis for axis in figure.get_axes() if axis.axison]
    assert len(drawn) == 1 + len(card.curves)
    assert all(axis.get_xlabel() for axis in drawn)
    assert all(axis.get_ylabel() and axis.get_title() for axis in drawn[1:])
    assert len(drawn[0].get_yticklabels()) == len(card.entries)
    assert "insertion ↑" in [label.get_text() for label in drawn[0].get_yticklabels()]
    # Every mark lies within the range that its score can have.
    marks = [line.get_xdata() for line in drawn[0].get_lines()]
    assert all(-1e-6 <= min(mark) <= max(mark) <= 1 + 1e-6 for mark in marks)
    figure.canvas.draw()


def test_cards_with_different_scores_are_drawn_side_by_side(card):
    other = evaluate(network(nn.Tanh), batches(), Protocol(groups=("accuracy", "sparsity")), space=SPACE, name="other")
    figure = plot([card, other])
    names = [text.get_text() for text in figure.get_axes()[0].get_legend().get_texts()]
    assert names == ["mine", "other"]
    assert isinstance(other.plot(), matplotlib.figure.Figure)
