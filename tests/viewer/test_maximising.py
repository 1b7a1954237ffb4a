"""Class features of the page are those of the library, in bounds, step by step, until they are cancelled."""

from typing import Any

import numpy as np
import pytest

from gradsculpt.errors import ArgumentError
from gradsculpt.viewer.maximising import STEPS, Classes, Features, Maximise
from gradsculpt.viewer.work import Step, Ticket
from gradsculpt.visualize import Ascent, class_features, plain
from tests.viewer.small import CLASSES, cancelled_after, classifier, done, shares, subject


def work(count: int = 1, classes: tuple[str, ...] = ("dog", "cat"), steps: Any = 4, **bounds: int) -> Maximise:
    subjects = [subject(str(i), seed=i, size=12 + 2 * i) for i in range(count)]
    return Maximise(subjects, classes, steps, **{"most": 8, "most_steps": 300, **bounds})


def test_the_pictures_are_those_of_the_library() -> None:
    made: Features = done(work())
    images, reached = class_features(classifier(), [1, 0], ascent=Ascent(steps=4))
    for each, picture, value, name in zip(made.features, plain(images), reached, ("dog", "cat"), strict=True):
        assert np.array_equal(each.picture, picture)
        assert each.reached == pytest.approx(float(value))
        assert each.called == name
        assert f"logit {float(value):.3g}" in each.sentences[0]
    probabilities = classifier().probabilities(images)
    seen = [float(probabilities[0, 1]), float(probabilities[1, 0])]
    assert [each.probability for each in made.features] == pytest.approx(seen)
    assert not made.notes


def test_as_many_steps_are_taken_as_the_command_takes() -> None:
    assert Ascent().steps == STEPS


def test_more_steps_raise_the_class_further() -> None:
    few, many = (done(work(classes=("dog",), steps=steps)).features[0].reached for steps in (1, 40))
    assert many > few


def test_networks_stand_beside_each_other_and_the_first_is_shown_at_once() -> None:
    so_far = [each.so_far for each in work(count=2)(Ticket()) if isinstance(each, Step) and each.so_far]
    assert [[each.network for each in features.features] for features in so_far] == [["net 0"] * 2]
    made = done(work(count=2))
    assert [each.network for each in made.features] == ["net 0"] * 2 + ["net 1"] * 2


def test_a_network_that_does_not_know_a_class_says_so_and_makes_the_others() -> None:
    subjects = [subject("0"), subject("1", classes=("dog", "yak"))]
    made = done(Maximise(subjects, ["yak", "dog"], 2, most=8, most_steps=8))
    assert [(each.network, each.called) for each in made.features] == [
        ("net 0", "dog"),
        ("net 1", "yak"),
        ("net 1", "dog"),
    ]
    assert len(made.notes) == 1
    assert made.notes[0].startswith("net 0: ")
    assert "yak" in made.notes[0]
    with pytest.raises(ArgumentError, match="Choose classes"):
        done(Maximise(subjects, ["owl"], 2, most=8, most_steps=8))


def test_progress_rises_by_steps_to_the_whole() -> None:
    told = shares(work(count=2))
    assert told == sorted(told)
    assert {0.125, 0.25, 0.375, 0.625, 1.0} <= set(told)


def test_cancelled_features_end_within_a_step() -> None:
    told = cancelled_after(work(steps=300), "pictures of", 0.02)
    assert not any("300 of 300" in text for text in told)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"count": 0}, "no network"),
        ({"classes": ()}, "no class"),
        ({"count": 3, "classes": CLASSES}, "9 pictures, and 8"),
        ({"steps": 301}, "from 1 to 300"),
        ({"steps": 0}, "from 1 to 300"),
        ({"steps": "many"}, "from 1 to 300"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_a_sentence(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        work(**asked)


def test_the_classes_on_offer_are_those_of_all_networks_once() -> None:
    found = done(Classes([subject("0"), subject("1", classes=("dog", "yak"))]))
    assert found == tuple((name, name) for name in (*CLASSES, "yak"))
