"""The summary of the page: what was compared, gained and paid, by hand; groups count once, and costs come first."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from gradsculpt.evaluation import Entry, Scorecard
from gradsculpt.metrics import Score
from gradsculpt.report.summary import sentences, shortage, verdicts
from gradsculpt.report.table import score_groups

Better = Literal["higher", "lower"] | None


def _entry(group: str, name: str, mean: float, better: Better = "higher", images: int = 100) -> Entry:
    score = Score(name, 0.0, 1.0, better, "fraction" if name == "accuracy" else "")
    random_map = None if group == "accuracy" else 0.5
    return Entry(group, score, mean, mean - 0.01, mean + 0.01, images, random_map, chance=0.1)


def _card(name: str, /, images: int = 100, **means: Any) -> Scorecard:
    groups = {
        "accuracy": "accuracy",
        "brier": "accuracy",
        "gini": "sparsity",
        "components": "sparsity",
        "ssim": "robustness-random",
        "topk_dice": "robustness-random",
        "insertion": "fidelity",
        "mass": "ground-truth",
        "mass_all": "ground-truth, images without evidence included",
    }
    entries = {
        key: _entry(groups[key], key, mean, "lower" if key in ("brier", "components") else "higher", images)
        for key, mean in means.items()
    }
    told = {"sparsity": ["sparsity", "?"], "robustness-random": ["steadiness under noise", "?"]}
    return Scorecard(name, {"images": images, "data": "cells", "split": "test", "told": told}, entries)


FIRST: dict[str, Any] = {
    "accuracy": 0.856,
    "brier": 0.2,
    "gini": 0.6,
    "components": 0.5,
    "ssim": 0.5,
    "topk_dice": 0.5,
    "insertion": 0.5,
}


def _sentences(**means: Any) -> list[str]:
    cards = [_card("standard", **FIRST), _card("net", **{**FIRST, **means})]
    return sentences(["standard", "net"], cards, score_groups(cards))


def test_a_comparison_is_told_in_four_sentences() -> None:
    compared, gained, cost, left = _sentences(accuracy=0.796, brier=0.3, gini=0.7, ssim=0.8, topk_dice=0.8)
    assert compared == (
        "net was compared with standard on 100 images of the test part of cells; a difference counts only where the "
        "95% intervals of the two do not overlap."
    )
    assert gained == (
        "net gained sparsity (gini 0.600 to 0.700) and steadiness under noise (ssim 0.500 to 0.800): it is better in "
        "2 of 3 groups of scores of its maps."
    )
    assert cost == "It cost accuracy (85.6% to 79.6%) and calibration (brier 0.200 to 0.300)."
    assert left.startswith("What the numbers cannot say: whether a second training")
    assert "nobody has marked" in left


def test_a_folder_is_called_one() -> None:
    card = _card("net", **FIRST)
    card = replace(card, settings={**card.settings, "data": "folder:C:/my photos", "split": None})
    first, *_ = sentences(["net"], [card], score_groups([card]))
    assert first == "net was scored on 100 images of the folder C:/my photos."


def test_accuracy_is_named_first_whatever_else_is_lost() -> None:
    _, gained, cost, _ = _sentences(accuracy=0.7, insertion=0.3)
    assert gained == "net gained nothing that can be told from chance."
    assert cost == "It cost accuracy (85.6% to 70.0%) and fidelity to the network (insertion 0.500 to 0.300)."


def test_accuracy_is_told_also_where_it_costs_nothing() -> None:
    _, _, cost, _ = _sentences(accuracy=0.86, gini=0.8)
    assert cost == "It cost nothing that can be told from chance; accuracy went from 85.6% to 86.0%."
    assert _sentences(ssim=0.8)[2] == "It cost nothing that can be told from chance; accuracy stayed at 85.6%."


def test_accuracy_that_is_gained_is_a_gain_though_calibration_is_lost() -> None:
    _, gained, cost, _ = _sentences(accuracy=0.9, brier=0.4)
    assert gained == "net gained accuracy (85.6% to 90.0%)."
    assert cost == "It cost calibration (brier 0.200 to 0.400)."


def test_a_group_counts_once_and_is_mixed_where_its_scores_disagree() -> None:
    _, gained, cost, _ = _sentences(gini=0.7, components=0.7, ssim=0.8, topk_dice=0.8)
    assert "better in 1 of 3 groups" in gained
    assert gained.endswith("and both better and worse in sparsity.")
    assert "sparsity" not in cost


def test_verdicts_leave_out_scores_that_say_a_group_again() -> None:
    cards = [_card("a", mass=0.5, mass_all=0.5), _card("b", mass=0.5, mass_all=0.9)]
    assert verdicts(score_groups(cards), 1) == {"ground-truth": set()}
    cards = [_card("a", mass=0.5, mass_all=0.5), _card("b", mass=0.9, mass_all=0.9)]
    assert verdicts(score_groups(cards), 1) == {"ground-truth": {"better"}}
    told = sentences(["a", "b"], cards, score_groups(cards))
    assert "better in 1 of 1 groups" in told[1]
    assert "nobody has marked" not in told[-1]


def test_each_of_several_runs_has_its_gain_and_its_cost() -> None:
    cards = [_card("a", **FIRST), _card("b", **{**FIRST, "gini": 0.7}), _card("c", **{**FIRST, "accuracy": 0.7})]
    told = sentences(["a", "b", "c"], cards, score_groups(cards))
    assert len(told) == 2 + 2 * 2
    assert told[0].startswith("b and c were compared with a on")
    assert told[1].startswith("b gained sparsity")
    assert told[4] == "It cost accuracy (85.6% to 70.0%)."


def test_one_network_is_held_against_guessing_and_random_maps() -> None:
    card = _card("net", accuracy=0.856, gini=0.7, ssim=0.2)
    about, right, maps, left = sentences(["net"], [card], score_groups([card]))
    assert about == "net was scored on 100 images of the test part of cells."
    assert right == "It is right on 85.6% of them, where always naming the most frequent class gives 10.0%."
    assert maps == (
        "Most scores of its maps are better than those of random maps in sparsity and no better than those of random "
        "maps in steadiness under noise."
    )
    assert "second training" not in left


@pytest.mark.parametrize(("images", "told"), [(1, "1 image is too few"), (29, "29 images are too few"), (30, "")])
def test_too_few_images_are_said_to_be_too_few(images: int, told: str) -> None:
    card = _card("net", images=images, gini=0.7)
    assert "".join(shortage([card])).startswith(told)
    assert bool(shortage([card, _card("more", images=1000)])) == bool(told)


def test_a_group_is_over_few_images_only_if_all_its_scores_are() -> None:
    card = _card("net", gini=0.7, insertion=0.5)
    attacked = {"ssim": _entry("robustness-random", "ssim", 0.5, images=8)}
    game = {"adv_insertion": _entry("fidelity", "adv_insertion", 0.5, images=8)}
    card = Scorecard("net", card.settings, {**card.entries, **attacked, **game})
    few = {group.name: (group.few, group.images) for group in score_groups([card])}
    assert few == {"sparsity": (False, ""), "robustness-random": (True, "8"), "fidelity": (False, "")}
