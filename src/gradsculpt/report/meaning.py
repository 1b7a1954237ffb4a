"""Scores in words: what each is called, which direction is better, and what a value of it says, in one sentence.

The page in the browser and the page of a comparison say the same of the same number. A sentence claims no more than its
number: it has the interval where there is one, a word such as "concentrated" stands only where both ends of it agree,
and "better than a random map" only where the interval leaves that out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt import checks
from gradsculpt.attributions import heatmap
from gradsculpt.attributions.gradient import class_output
from gradsculpt.evaluation import Entry
from gradsculpt.evaluation.results import figures
from gradsculpt.gradients import Model
from gradsculpt.isolation import undisturbed
from gradsculpt.metrics import Score, connectedness, gini, half_weight, inserted
from gradsculpt.outputs import logits_at
from gradsculpt.report.vocabulary import words_of
from gradsculpt.report.words import Words
from gradsculpt.wording import counted

_ROUNDING = 1e-4
_SANITY = "sanity"
"""The group in which a random map is as good as it gets: it depends on nothing, so not on what is taken away."""


@dataclass(frozen=True)
class Said:
    """What a score says of one map.

    Args:
        score: Its name, range and direction.
        value: Its value.
        text: The value in a sentence.
    """

    score: Score
    value: float
    text: str

    @property
    def called(self) -> str:
        """What the score is called, its direction behind it."""
        return f"{called(self.score)}, {direction(self.score)}"


def called(score: Score) -> str:
    """Return what a score is called in plain words, the field's own name in brackets.

    Example:
        >>> called(gini.scores[0])
        'concentration (Gini index)'
    """
    words = words_of(score)
    return score.name.replace("_", " ") if words is None else words.called


def direction(score: Score) -> str:
    """Return which direction of a score is better, in words.

    Example:
        >>> direction(gini.scores[0]), direction(Score("confidence", 0.0, 1.0, None))
        ('higher is better', 'neither high nor low is better')
    """
    return f"{score.better} is better" if score.better else "neither high nor low is better"


def percent(share: float) -> str:
    """Return a share in per cent, so that what is not all or nothing is never called so.

    Example:
        >>> percent(0.0624), percent(0.0034), percent(1e-6), percent(0.9999), percent(1.0)
        ('6%', '0.3%', 'under 0.1%', 'over 99.9%', '100%')
    """
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if not 0.0 < share < 1.0:
        return f"{share:.0%}" if math.isfinite(share) else str(share)
    if share < 0.001 or share > 0.999:
        return "under 0.1%" if share < 0.5 else "over 99.9%"
    return f"{share:.1%}" if share < 0.01 or share > 0.99 else f"{share:.0%}"


def sentence(
    score: Score,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    images: int = 0,
    brief: bool = False,
    group: str = "",
) -> str:
    """Return what a value of a score says, in one sentence.

    Args:
        score: What was measured; one of somebody's own is told by its name and its `meaning`.
        value: Of one map, or the mean of several.
        low: Lower end of the 95% interval of a mean, if there is one.
        high: Its upper end.
        images: Over how many images the mean is; 0 for the value of a single map.
        brief: Leave out the number of images and the interval, where both stand beside it.
        group: Under which it stands in a scorecard.

    Example:
        >>> sentence(half_weight.scores[0], 0.06)
        'This map is concentrated: half of its weight lies in 6% of the pixels.'
        >>> print(sentence(connectedness.scores[0], 12.4, low=10, high=15, images=32))
        On average over 32 images, the strongest pixels of the map form 12.4 (95% interval 10.0 to 15.0) separate spots.
    """
    words = words_of(score, group)
    if not math.isfinite(value):
        return f"{_upper(called(score))} could not be measured{' of this map' if not images else ''}."
    ends = () if low is None or high is None or low == high else (low, high)
    lead = _over(words, images, brief)
    if words is None or not score.low - _ROUNDING <= value <= score.high + _ROUNDING:
        return _of_a_stranger(score, value, () if brief else ends, lead)
    text = words.says(value) if callable(words.says) else words.says
    grade = {words.grade(end) for end in (value, *ends)} if words.grade else {""}
    told = {
        "value": _put(words, score, value) + ("" if brief else _interval(words, score, ends)),
        "map": "the map" if images else "this map",
        "is": f"is {grade.pop()}: half of its weight lies" if len(grade) == 1 else "has half of its weight",
    }
    return _upper(f"{lead}{text.format_map(told)}.")


def of_entry(entry: Entry, *, brief: bool = False) -> str:
    """Return what a line of a scorecard says, its interval in it, beside what it is held against.

    A brief one leaves out what stands beside it in a table: the number of images, the interval, and what chance gives.

    Example:
        >>> card_line = Entry("sparsity", half_weight.scores[0], 0.06, 0.05, 0.07, 32, random_map=0.3)
        >>> of_entry(card_line).partition(" of the pixels")[2]
        '; better than the 30% of random maps.'
    """
    interval = {"low": entry.low, "high": entry.high}
    said = sentence(entry.score, entry.mean, **interval, images=entry.images, brief=brief, group=entry.group)
    return f"{said.removesuffix('.')}{'' if brief else _held_against(entry)}."


def of_map(maps: Tensor) -> list[Said]:
    """Return what the map of one image looks like, in words: how concentrated it is, and into how many spots it falls.

    They are scores of its heat map, as those of a scorecard are.

    Shape: [C, H, W] or [H, W].
    Returns: A sentence for each score; of a map that is zero everywhere one alone, which says so.
    Raises: ArgumentError if it is not one finite map.
    """
    batch = checks.tensor("maps", maps).detach()[None]
    heat = heatmap(batch, clip=100.0)
    if not bool((heat > 0).any()):
        nothing = "This map is zero everywhere, so it says nothing of the image."
        return [Said(half_weight.scores[0], math.nan, nothing)]
    spots = connectedness(heat)
    values = [(half_weight.scores[0], half_weight(heat)), (gini.scores[0], gini(heat))]
    values += [(score, spots[score.name]) for score in connectedness.scores]
    return [Said(score, float(value), sentence(score, float(value))) for score, value in values]


def of_network(model: Model, x: Tensor, y: Tensor, maps: Tensor, share: float = 0.1) -> list[str]:
    """Return for each image how sure the network still is of a class when it sees the map's strongest pixels alone.

    Args:
        model: From images to logits.
        x: Images as the model takes them; what is hidden becomes 0, of normalised images the mean colour.
        y: The classes that the maps are of.
        maps: Maps of the images.
        share: Which share of the pixels is shown.

    Shape: x [N, C, H, W], y [N], maps [N, H, W] or [N, C, H, W].
    Source: Insertion, at one share (Petsiuk et al., BMVC 2018; Joo et al., AAAI 2023, Fig. 2(b)).
    """
    shown = inserted(x, maps, share)
    with undisturbed(model), torch.no_grad():
        whole, part = (class_output(logits_at(model, images), y, "probability") for images in (x, shown))
    pairs = zip(part.tolist(), whole.tolist(), strict=True)
    return [sureness(probability, full, share) for probability, full in pairs]


def sureness(probability: float, whole: float, share: float = 0.1) -> str:
    """Return how sure a network is of a class while a share of the pixels is shown, beside the whole image.

    Example:
        >>> sureness(0.81, 0.97).partition(" (insertion)")[0]
        'With only the top 10% of the pixels the network is still 81% sure of the class'
    """
    if not (math.isfinite(probability) and math.isfinite(whole)):
        return "How sure the network is of the class could not be measured (insertion)."
    still = "still " if whole >= probability >= whole / 2 and probability > 0 else ""
    return (
        f"With only the top {percent(share)} of the pixels the network is {still}{percent(probability)} sure of the "
        f"class (insertion); it is {percent(whole)} sure of it with the whole image."
    )


def _put(words: Words, score: Score, value: float) -> str:
    """Return a value as text, in the unit that the words have it in."""
    if words.unit == "points":
        points = f"{100 * abs(value):.2g}" if abs(value) < 1 else "100"
        return counted(points, "percentage points")
    if words.unit == "percent" or score.unit == "fraction":
        return percent(value)
    return _number(words, score, (value,))[0]


def _number(words: Words, score: Score, values: Sequence[float]) -> list[str]:
    if words.unit == "count" and values[0] == round(values[0]) and len(values) == 1:
        return [f"{values[0]:.0f}"]
    return figures(score, values)


def _interval(words: Words, score: Score, ends: Sequence[float]) -> str:
    if not ends:
        return ""
    if words.unit == "points":
        low, high = (f"{100 * end:.2g}" for end in ends)
    elif words.unit == "percent" or score.unit == "fraction":
        low, high = map(percent, ends)
    else:
        low, high = figures(score, ends)
    return f" (95% interval {low} to {high})"


def _over(words: Words | None, images: int, brief: bool) -> str:
    """Return over what a mean is."""
    share = words is not None and words.counts
    if not images or (brief and share):
        return ""
    return "on average, " if brief else f"{'over' if share else 'on average over'} {counted(images, 'images')}, "


def _held_against(entry: Entry) -> str:
    """Return how an entry differs from what is known to know nothing, beyond its interval."""
    guess = entry.random_map if entry.random_map is not None else entry.chance
    words = words_of(entry.score)
    if guess is None or entry.score.better is None or entry.group.startswith(_SANITY) or not math.isfinite(entry.mean):
        return ""
    against = _put(words, entry.score, guess) if words and words.unit != "points" else figures(entry.score, (guess,))[0]
    whose = "random maps" if entry.random_map is not None else "chance"
    if entry.low <= guess <= entry.high:
        return f"; not told apart from the {against} of {whose}"
    better = (entry.low > guess) == (entry.score.better == "higher")
    return f"; {'better' if better else 'worse'} than the {against} of {whose}"


def _of_a_stranger(score: Score, value: float, ends: Sequence[float], lead: str) -> str:
    """Return what can be said of a score that has no words of its own, or of a value outside of what these are for."""
    number = figures(score, (value,))[0]
    interval = f" (95% interval {' to '.join(figures(score, ends))})" if ends else ""
    unit = f" {score.unit}" if score.unit not in ("", "fraction") else ""
    meaning = score.meaning.removesuffix(".")
    meant = f": {meaning[:1].lower()}{meaning[1:]}" if meaning else ""
    what = score.name.replace("_", " ")
    return _upper(f"{lead}{what} is {number}{unit}{interval}{meant}.")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
