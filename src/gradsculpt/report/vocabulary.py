"""The words of each score: its name for people, and the sentence that a value of it stands in."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from gradsculpt.evaluation import SANITY_SCORES
from gradsculpt.metrics import METRICS, Score
from gradsculpt.report.likeness import ALIKE, likeness
from gradsculpt.report.words import Words, after

_FEW, _MANY = 0.1, 0.2  # half of the weight of noise lies in about a quarter of the pixels


def words_of(score: Score, group: str = "") -> Words | None:
    """Return the words of a score of a scorecard or a metric; None if it is somebody's own, even of a name of ours.

    The group is the one that it stands under in a scorecard.

    Example:
        >>> words_of(Score("topk_attack_0.5", 0.0, 1.0, "higher", "fraction")).called
        'top pixels that stay, after an attack of 0.5 of 255 levels (top-k intersection)'
    """
    words = _by_name(score.name)
    if score.name in ALIKE:
        circumstances = f"{score.meaning} {group}"
        words = next((likeness(score.name, *told) for sign, told in _TOLD.items() if sign in circumstances), words)
    if words is None:
        return None
    shipped = _SHIPPED.get(words.base or score.name, [])
    return words if not shipped or any(_same(score, each) for each in shipped) else None


def _by_name(name: str) -> Words | None:
    if (whole := name.removesuffix("_all")) != name:
        words = _by_name(whole)
        return words and replace(words, says=after(words.says, ", images without evidence included"))
    if name in _WORDS:
        return _WORDS[name]
    found = ((make, re.fullmatch(pattern, name)) for pattern, make in _MEASURED)
    return next((make(*match.groups()) for make, match in found if match), None)


def _same(score: Score, shipped: Score) -> bool:
    """Whether a score is a shipped one, maybe in other circumstances; one without a sentence by direction and unit."""
    if not score.meaning:
        return score.unit == shipped.unit and score.better in (shipped.better, "lower" if shipped.better else None)
    return score.meaning.startswith(re.split(r"[,:.]", shipped.meaning)[0].partition(" slight noise")[0])


def _grade(share: float) -> str:
    """Return how concentrated a map is, half of whose weight lies in a share of the pixels."""
    return "concentrated" if share < _FEW else "fairly concentrated" if share < _MANY else "spread out"


def _spots(value: float) -> str:
    return f"the strongest pixels of {{map}} form {{value}} {'spot' if value == 1 else 'separate spots'}"


def _hidden(value: float) -> str:
    change, end = ("takes", "off") if value >= 0 else ("adds", "to")
    return (
        f"hiding the strongest regions of {{map}} one by one {change} {{value}} {end} the probability of the class, "
        "averaged on the way"
    )


_UP_TO = "within the noise that was tried"

_WORDS: Mapping[str, Words] = {
    # Predictions
    "accuracy": Words(
        "right answers (accuracy)",
        "the first answer of the network is right for {value} of the images",
        counts=True,
    ),
    "confidence": Words("sureness (confidence)", "the network says that it is {value} sure of its first answer"),
    "calibration_error": Words(
        "gap between sureness and rightness (calibration error)",
        "how sure the network says it is and how often it is right lie {value} apart",
        unit="points",
        counts=True,
    ),
    "brier": Words(
        "distance of the probabilities from the truth (Brier score)",
        "the probabilities have a Brier score of {value}, where 0 is sure and right and 2 is sure and wrong",
    ),
    "negative_log_likelihood": Words(
        "surprise by the true class (negative log likelihood)",
        "the true class surprises the network by {value} nats, where 0 is sure and right",
    ),
    # The map by itself
    "half_weight": Words("concentration (half of the weight)", "{map} {is} in {value} of the pixels", grade=_grade),
    "gini": Words(
        "concentration (Gini index)",
        "{map} has a Gini index of {value}, where 0 is spread evenly and close to 1 is all in one pixel",
    ),
    "components": Words("spots (connected components)", _spots, unit="count"),
    "largest_component": Words(
        "top pixels in one spot (largest component)",
        "{value} of the strongest pixels of {map} hang together in one spot",
    ),
    "mean_component_size": Words(
        "size of a spot (mean component size)",
        "an average spot of the strongest pixels of {map} has {value} pixels",
        unit="count",
    ),
    "zero_map": Words("empty maps (zero maps)", "{value} of the maps are zero everywhere", counts=True),
    "not_finite": Words(
        "images without finite numbers (not finite)", "{value} of the images have no finite answer or map", counts=True
    ),
    **{name: likeness(name, other="the other map") for name in ALIKE},
    # The map and the truth
    "pixel_accuracy": Words(
        "agreement with the truth (pixel accuracy)", "{map} agrees with the truth at {value} of the pixels"
    ),
    "recall": Words("true regions found (recall)", "{map} marks {value} of the true regions"),
    "precision": Words("marks that are true (precision)", "{value} of what {map} marks is in the true regions"),
    "false_positive_rate": Words("false alarms (false positive rate)", "{map} marks {value} of the rest of the image"),
    "gaze_overlap": Words(
        "top pixels where people look (gaze overlap)",
        "{value} of the strongest pixels of {map} lie where people looked most",
    ),
    "mass_on_evidence": Words(
        "weight on what decides (mass on evidence)",
        "{value} of the weight of {map} lies on the regions that decide the class",
    ),
    # The map and the network
    "insertion": Words(
        "what the top pixels bring (insertion)",
        "the network is {value} sure of the class while pixels are shown, the strongest of {map} first, averaged from "
        "none to all",
        unit="percent",
    ),
    "adv_insertion": Words(
        "what the top pixels bring, in the order of an attacked map (adversarial insertion)",
        "the network is {value} sure of the class while pixels are shown, the strongest in the map of an attacked "
        "image first, averaged from none to all",
        unit="percent",
        base="insertion",
    ),
    "deletion": Words(
        "what is left without the top pixels (deletion)",
        "the network is still {value} sure of the class while pixels are hidden, the strongest of {map} first, "
        "averaged from none to all",
        unit="percent",
    ),
    "aopc_morf": Words("what hiding the top regions costs (AOPC)", _hidden, unit="points"),
    "magnitude": Words(
        "strength after randomisation (magnitude)",
        "{map} of the network with weights drawn anew has {value} times the strength of the one before",
    ),
    "blank": Words(
        "empty pixels after randomisation (blank)",
        "{map} of the network with weights drawn anew is zero at {value} of the pixels",
    ),
    # The map near the image
    "local_lipschitz": Words(
        "speed of the map (local Lipschitz estimate)",
        f"{{map}} changes by {{value}} for each step of 1 of the image, {_UP_TO}",
    ),
    "max_sensitivity": Words(
        "largest move of the map (max-sensitivity)", f"{{map}} moves by up to {{value}}, {_UP_TO}"
    ),
    "cosine_criterion": Words(
        "turn of the map under noise (cosine criterion)",
        "under slight noise {map} turns by {value}, where 0 is not at all and 1 is into its opposite",
    ),
    "bound": Words(
        "bound on the turn of the map",
        "by the curvature of the network {map} turns by no more than about {value} under slight noise, whichever it is",
    ),
    "directional_bound": Words(
        "bound on the turn of the map, in one direction",
        "by the curvature of the network {map} turns by no more than about {value} under the noise that was tried",
    ),
    # The network near the image
    "hessian_norm": Words(
        "curvature (Hessian norm)", "around the image the network has a curvature of {value}, where 0 is straight"
    ),
    "squared_hessian_norm": Words(
        "curvature, squared (squared Hessian norm)",
        "around the image the network has a curvature whose square is {value}, where 0 is straight",
    ),
    "standard_error": Words(
        "uncertainty of the curvature (standard error)",
        "the estimate of the curvature has a standard error of {value}",
    ),
    "top_eigenvalue": Words(
        "curvature where it is largest (top eigenvalue)",
        "where it is curved most, the network has a curvature of {value}, above 0 upwards and below 0 downwards",
    ),
    "spectral_norm": Words(
        "curvature where it is largest, without sign (spectral norm)",
        "where it is curved most, the network has a curvature of {value}, upwards or downwards",
    ),
    "residual": Words(
        "uncertainty of the largest curvature (residual)",
        "the largest curvature may be off by {value} of itself",
    ),
    "linearization_error": Words(
        "bend of the loss (linearisation error)",
        "at a small distance the loss is {value} away from where a straight line puts it",
    ),
    "relative_error": Words(
        "bend of the loss, relative (relative error)",
        "a straight line does not foresee {value} of the change of the loss",
    ),
    "smoothness": Words(
        "change of the slope of the loss (smoothness)",
        "on the way to a small distance the slope of the loss changes by {value} for each step of 1",
    ),
}


def _graded(kind: str, name: str) -> Words:
    """Return the words of a score of a map beside the truth, in two classes of pixels or in five grades."""
    words, told = _WORDS[name], {"binary": "only what decides counts", "five_band": "in five grades"}[kind]
    plain, _, term = words.called.partition(" (")
    grades = "where only what decides counts" if kind == "binary" else "in five grades from against to for the class"
    return replace(words, called=f"{plain}, {told} ({term}", says=after(words.says, f", {grades}"), base=name)


def _near(name: str, level: str | None) -> Words:
    """Return the words of the likeness of maps after noise of a level."""
    return likeness(name, f"after noise of {level} of 255 levels" if level else "after slight noise")


def _top(share: str) -> Words:
    return Words(
        f"top {share}% of the pixels where it matters (overlap)",
        f"{{value}} of the strongest {share}% of the pixels of {{map}} lie where it matters most",
    )


_LEVEL = r"([\d.e+-]+)"
_TOLD = {
    "slight noise": ("after slight noise",),
    "robustness-random": ("after slight noise",),
    "randomised": ("with the learnt weights drawn anew",),
    "taken away": ("with the learnt weights drawn anew",),
    "two trainings": ("", "that of a second training"),
}
"""What its sentence and its group tell of a score whose name does not say it: when, and which the other map is."""

_ANY = f"({'|'.join(ALIKE)})"
_MEASURED: tuple[tuple[str, Callable[..., Words]], ...] = (
    (rf"attacked_{_ANY}", lambda name: likeness(name, "after an attack")),
    (
        rf"topk_attack_{_LEVEL}",
        lambda level: likeness("topk_intersection", f"after an attack of {level} of 255 levels"),
    ),
    (rf"rps_{_ANY}(?:_{_LEVEL})?", _near),
    (rf"stability_{_ANY}", lambda name: likeness(name, other="that of a second training")),
    (rf"randomized_{_ANY}", lambda name: likeness(name, "with the learnt weights drawn anew")),
    (rf"overlap_top_{_LEVEL}", _top),
    (r"(binary|five_band)(?:_scores)?_(pixel_accuracy|recall|precision|false_positive_rate)", _graded),
    # A metric of several scores, taken as a group of its own, puts its name before theirs.
    *(
        (f"{metric.name}_({'|'.join(score.name for score in metric.scores)})", lambda name: _WORDS[name])
        for metric in METRICS
        if len(metric.scores) > 1
    ),
)
"""Scores that are measured in some circumstances, by their names."""

_SHIPPED: dict[str, list[Score]] = {}
for _score in (*(score for metric in METRICS for score in metric.scores), *SANITY_SCORES.values()):
    _SHIPPED.setdefault(_score.name, []).append(_score)
