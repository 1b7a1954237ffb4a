"""Scores in words: every one has some, none says more than its number, and somebody's own is never told as ours."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import SANITY_SCORES, Entry, MetricGroup
from gradsculpt.evaluation.readable import ODD_SCORE
from gradsculpt.evaluation.scoring import BLANK_MAPS
from gradsculpt.metrics import METRICS, Score, gini, half_weight, metric, topk_intersection
from gradsculpt.report.meaning import called, direction, of_entry, of_map, of_network, percent, sentence, sureness
from gradsculpt.report.vocabulary import words_of
from tests.evaluation.cases import GROUPS, measurable

JARGON = r"logit|softmax|saliency|attribution|perturb|conjugate|tensor|bootstrap"


def _offered() -> list[Score]:
    """Return every score that a scorecard or a metric can hold, under each name that it can have there."""
    measured = [column.score for group in GROUPS for column in group.measure(measurable()) if column.point is None]
    of_metrics = [score for each in METRICS for score in each.scores]
    # As a group of its own, a metric of several scores puts its name before theirs.
    own = [replace(s, name=f"{each.name}_{s.name}") for each in METRICS if len(each.scores) > 1 for s in each.scores]
    return [*measured, *of_metrics, *own, *SANITY_SCORES.values(), BLANK_MAPS.score, ODD_SCORE]


OFFERED = _offered()


def _values(score: Score) -> Iterator[float]:
    ends = (end for end in (score.low, score.high) if math.isfinite(end))
    yield from (*ends, 0.34, 0.999)


def law_has_words(score: Score) -> None:
    assert words_of(score) is not None


def law_every_value_is_one_plain_sentence_with_the_value_in_it(score: Score) -> None:
    for value in _values(score):
        text = sentence(score, value)
        assert re.fullmatch(r"[A-Z0-9][^{}\n]*\.", text), text
        assert not re.search(JARGON, text, re.IGNORECASE), text
        assert re.search(r"\d", text), text
        assert len(text) < 220, text


def law_a_mean_has_its_interval_and_its_images(score: Score) -> None:
    text = of_entry(Entry("group", score, 0.34, 0.2, 0.5, 32))
    assert re.match(r"(Over|On average over) 32 images, ", text), text
    assert re.search(r"\(95% interval (20%|20|0\.200) to (50%|50|0\.500)\)", text), text
    assert "this map" not in text.lower()


def law_is_called_something_with_the_name_of_the_field(score: Score) -> None:
    assert re.fullmatch(r"[a-z][^{}]*", called(score)), called(score)
    assert direction(score) == {
        "higher": "higher is better",
        "lower": "lower is better",
        None: "neither high nor low is better",
    }.get(score.better)


LAWS = (
    law_has_words,
    law_every_value_is_one_plain_sentence_with_the_value_in_it,
    law_a_mean_has_its_interval_and_its_images,
    law_is_called_something_with_the_name_of_the_field,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_score_is_told(law: object) -> None:
    for score in OFFERED:
        law(score)  # type: ignore[operator]


def test_the_law_sees_a_score_without_words() -> None:
    with pytest.raises(AssertionError):
        law_has_words(Score("forgotten", 0.0, 1.0, "higher", meaning="How much of the map nobody has told."))
    with pytest.raises(AssertionError):
        law_has_words(Score("topk_attack_", 0.0, 1.0, "higher"))


def test_different_scores_of_a_scorecard_are_not_called_the_same() -> None:
    shipped = [group for group in GROUPS if not isinstance(group, MetricGroup)]
    scores = [column.score for group in shipped for column in group.measure(measurable()) if column.point is None]
    names = [called(score) for score in scores if not score.name.endswith("_all")]  # which stand apart in the table
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("half_weight", 0.06, "This map is concentrated: half of its weight lies in 6% of the pixels"),
        ("half_weight", 0.15, "This map is fairly concentrated: half of its weight lies in 15% of the pixels"),
        ("half_weight", 0.5, "This map is spread out: half of its weight lies in 50% of the pixels"),
        (
            "attacked_topk_intersection",
            0.34,
            "After an attack the map shares 34% of its strongest pixels with the one before",
        ),
        (
            "rps_cosine_16",
            0.5,
            "After noise of 16 of 255 levels the map and the one before have a cosine of 0.500, where 1 is the same "
            "and 0 nothing in common",
        ),
        ("components", 1.0, "The strongest pixels of this map form 1 spot"),
        ("components", 12.0, "The strongest pixels of this map form 12 separate spots"),
        (
            "aopc_morf",
            -0.01,
            "Hiding the strongest regions of this map one by one adds 1 percentage point to the probability of the "
            "class, averaged on the way",
        ),
        (
            "randomized_topk_intersection",
            0.4,
            "With the learnt weights drawn anew the map shares 40% of its strongest pixels with the one before",
        ),
        (
            "five_band_recall",
            0.003,
            "This map marks 0.3% of the true regions, in five grades from against to for the class",
        ),
    ],
)
def test_values_in_words(name: str, value: float, said: str) -> None:
    score = next(score for score in OFFERED if score.name == name)
    assert sentence(score, value) == f"{said}."


def test_the_same_measure_is_told_by_what_lies_between_the_two_maps() -> None:
    told = {}
    for score in OFFERED:
        if score.name == "ssim":
            told[score.meaning] = sentence(score, 0.5)
    assert len(told) == 4  # bare, after noise, of a second training, of a randomised network
    assert len(set(told.values())) == 4


@pytest.mark.parametrize(
    ("share", "said"),
    [
        *((0.0, "0%"), (1e-9, "under 0.1%"), (0.0034, "0.3%"), (0.0149, "1%"), (0.06, "6%"), (0.5, "50%")),
        *((0.994, "99.4%"), (0.9999, "over 99.9%"), (1.0, "100%"), (-0.2, "-20%"), (math.nan, "nan")),
    ],
)
def test_what_is_not_all_or_nothing_is_not_called_so(share: float, said: str) -> None:
    assert percent(share) == said


def test_a_word_for_a_value_stands_only_where_the_whole_interval_deserves_it() -> None:
    sure = sentence(half_weight.scores[0], 0.08, low=0.07, high=0.09, images=9)
    assert "is concentrated: half of its weight lies in 8% (95% interval 7% to 9%) of the pixels" in sure
    unsure = sentence(half_weight.scores[0], 0.08, low=0.07, high=0.12, images=9)
    assert "concentrated" not in unsure
    assert "the map has half of its weight in 8%" in unsure


@pytest.mark.parametrize(
    ("low", "high", "guess", "said"),
    [
        (0.5, 0.7, 0.4, "; better than the 0.400 of random maps."),
        (0.5, 0.7, 0.8, "; worse than the 0.800 of random maps."),
        (0.5, 0.7, 0.6, "; not told apart from the 0.600 of random maps."),
        (0.5, 0.7, 0.5, "; not told apart from the 0.500 of random maps."),
    ],
)
def test_better_than_a_random_map_only_beyond_the_interval(low: float, high: float, guess: float, said: str) -> None:
    entry = Entry("sparsity", gini.scores[0], 0.6, low, high, 32, random_map=guess)
    assert of_entry(entry).endswith(said)
    lower = replace(entry, score=replace(gini.scores[0], name="mine", better="lower", meaning=""))
    turned = {"better": "worse", "worse": "better"}.get(said.split()[1], said.split()[1])
    assert f"; {turned} " in of_entry(lower)
    assert "random" not in of_entry(replace(entry, score=replace(gini.scores[0], better=None)))


def test_a_random_map_is_no_rival_of_a_sanity_check() -> None:
    score = next(score for score in OFFERED if score.name == "randomized_ssim")
    assert "random map" not in of_entry(Entry("sanity", score, 0.3, 0.2, 0.4, 16, random_map=0.0))


def test_one_image_has_no_interval() -> None:
    text = of_entry(Entry("sparsity", gini.scores[0], 0.6, 0.6, 0.6, 1))
    assert text.startswith("On average over 1 image, ")
    assert "interval" not in text


@pytest.mark.parametrize("name", ["recall", "smoothness", "residual", "bound", "ssim", "gini"])
def test_somebody_elses_score_of_a_name_of_ours_is_told_by_its_own_sentence(name: str) -> None:
    @metric(Score(name, 0.0, 10.0, "lower", "mm", "How far the lens was off."))
    def theirs(maps: torch.Tensor) -> torch.Tensor:
        """How far the lens was off."""
        return maps.flatten(1).sum(dim=1)

    assert words_of(theirs.scores[0]) is None
    assert sentence(theirs.scores[0], 2.0) == f"{name.capitalize()} is 2.000 mm: how far the lens was off."
    without = replace(theirs.scores[0], meaning="")
    assert sentence(without, 2.0) == f"{name.capitalize()} is 2.000 mm."


def test_cards_from_before_scores_had_a_sentence_are_told_by_name() -> None:
    assert "Gini index of 0.500" in sentence(Score("gini", 0.0, 1.0, "higher"), 0.5)


def test_a_value_beyond_the_range_is_not_told_as_a_probability() -> None:
    insertion = next(score for score in OFFERED if score.name == "insertion")
    assert sentence(insertion, 7.5).startswith("Insertion is 7.500: how sure")
    assert sentence(insertion, math.nan) == "What the top pixels bring (insertion) could not be measured of this map."
    assert "could not be measured" in of_entry(Entry("fidelity", insertion, math.inf, 1.0, math.inf, 3))


def test_a_map_is_told_by_the_scores_of_its_heat_map() -> None:
    one_hot = torch.zeros(3, 20, 20)
    one_hot[1, 4, 4] = -3.0
    said = {each.score.name: each for each in of_map(one_hot)}
    assert said["half_weight"].value == pytest.approx(1 / 400)
    assert said["half_weight"].text == "This map is concentrated: half of its weight lies in 0.2% of the pixels."
    assert said["gini"].value == pytest.approx(399 / 400)
    assert said["components"].text == "The strongest pixels of this map form 1 spot."
    assert said["gini"].called == "concentration (Gini index), higher is better"
    even = of_map(torch.ones(20, 20))
    assert even[0].text == "This map is spread out: half of its weight lies in 50% of the pixels."
    (empty,) = of_map(torch.zeros(3, 8, 8))
    assert empty.text == "This map is zero everywhere, so it says nothing of the image."
    with pytest.raises(ArgumentError, match="maps"):
        of_map(torch.full((3, 8, 8), torch.nan))


def test_how_sure_the_network_still_is_comes_from_the_top_pixels_alone() -> None:
    x = torch.zeros(2, 1, 4, 5)
    x[:, 0, 1, 1], x[:, 0, 2, 2] = 3.0, -1.0
    maps = torch.zeros(2, 4, 5)
    maps[0, 1, 1] = maps[1, 2, 2] = 1.0

    def model(images: torch.Tensor) -> torch.Tensor:
        total = images.flatten(1).sum(dim=1)
        return torch.stack([total, torch.zeros_like(total)], dim=1)

    first, second = of_network(model, x, torch.tensor([0, 0]), maps, share=0.05)  # one of 20 pixels
    whole = percent(float(torch.sigmoid(torch.tensor(2.0))))
    assert first == (
        f"With only the top 5% of the pixels the network is {percent(float(torch.sigmoid(torch.tensor(3.0))))} sure of "
        f"the class (insertion); it is {whole} sure of it with the whole image."
    )
    assert f"is {percent(float(torch.sigmoid(torch.tensor(-1.0))))} sure" in second
    assert "still 81% sure" in sureness(0.81, 0.97)
    assert "still" not in sureness(0.2, 0.97)
    assert "could not be measured" in sureness(math.nan, 0.97)


def test_points_and_shares_are_told_in_the_same_unit_as_their_interval() -> None:
    aopc = next(score for score in OFFERED if score.name == "aopc_morf")
    text = sentence(aopc, 0.3, low=0.25, high=0.41, images=8)
    assert "takes 30 percentage points (95% interval 25 to 41) off the probability" in text
    overlap = sentence(topk_intersection.scores[0], 0.3, low=0.25, high=0.41, images=8)
    assert "30% (95% interval 25% to 41%)" in overlap
