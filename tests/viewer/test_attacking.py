"""Attacks of the page are those of the library, with the same figures, step by step, until they are cancelled."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradsculpt.attributions import Gradient
from gradsculpt.cli.images import pixels01
from gradsculpt.cli.parts import family, names
from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation.attacked import attacked_images, figures
from gradsculpt.viewer.attacking import TOP, AttackedMaps, AttackMap, AttackSettings, attacks, unit_of
from gradsculpt.visualize import difference
from tests.viewer.small import CLASSES, PICTURE, cancelled_after, done, pixels, shares, subject

every = pytest.mark.parametrize("name", names(family("Attack")))


def made(name: str = "targeted", count: int = 1, **settings: Any) -> AttackedMaps:
    networks = [subject(str(i), seed=i, size=12 + 2 * i) for i in range(count)]
    result: AttackedMaps = done(AttackMap(PICTURE, networks, AttackSettings(name, **{"steps": 3, **settings}), 4))
    return result


def test_the_attacks_on_offer_are_those_that_are_listed() -> None:
    assert list(attacks()) == list(names(family("Attack")))
    assert all(line.endswith(".") for line in attacks().values())


@every
def test_what_is_shown_is_what_the_command_computes(name: str) -> None:
    shown, network = made(name).maps[0], subject("0").network
    images01 = pixels01(pixels(12)[None])
    target = network.probabilities(images01).argmax(dim=1)
    attack = AttackSettings(name, steps=3).of(network)
    views, _ = attacked_images(network.classifier, Gradient(), attack, images01, target)
    assert shown.scores == pytest.approx(figures(views, TOP)[0], nan_ok=True)
    assert np.array_equal(shown.attacked_map, views["after"].maps[0].numpy())
    assert np.array_equal(shown.clean_map, views["before"].maps[0].numpy())
    assert np.array_equal(shown.attacked, (views["after"].images[0] * 255).round().permute(1, 2, 0).numpy())
    assert np.array_equal(shown.change, difference(views["before"].images, views["after"].images)[0])
    assert shown.target == CLASSES[int(target)]


@every
@pytest.mark.parametrize("eps", [0.0, 2.0, 8.0])
def test_no_picture_is_moved_further_than_it_may_be_and_its_class_is_kept(name: str, eps: float) -> None:
    shown = made(name, eps=eps)
    scores, l2 = shown.maps[0].scores, "root mean square" in shown.size
    assert l2 == ("root mean square" in unit_of(name)) == (name == "topk")
    assert scores["rms" if l2 else "linf"] <= eps + 1e-3
    assert shown.maps[0].kept
    assert f"{eps:g} of 255 levels" in shown.size
    assert ("was not changed at all" in " ".join(shown.maps[0].sentences)) == (scores["linf"] == 0)


def test_the_difference_is_as_strong_as_it_is_said_to_be() -> None:
    shown = made(eps=8.0).maps[0]
    added = (shown.attacked.astype(float) - shown.image) * shown.factor + 127.5
    assert np.abs(added.clip(0, 255) - shown.change).max() <= 0.5 * shown.factor + 1


def test_the_sentences_tell_the_figures() -> None:
    shown = made(eps=8.0).maps[0]
    text = " ".join(shown.sentences)
    assert f"{shown.scores['ssim']:.3f}" in text
    assert f"{shown.scores['topk']:.0%}" in text
    assert f"{shown.scores['linf']:.3g} of 255" in text
    assert text.count("higher is better") == 2
    assert "Softplus" in text  # of a network with ReLU


def test_a_class_that_was_lost_is_told() -> None:
    shown = made().maps[0]
    lost = replace(shown, kept=False, after=replace(shown.after, called="yak"))
    assert "changes from" in lost.sentences[0]
    assert "yak" in lost.sentences[0]


@every
def test_networks_stand_beside_each_other_each_with_an_attack_of_its_own(name: str) -> None:
    both = made(name, count=2)
    assert [each.network for each in both.maps] == ["net 0", "net 1"]
    assert [each.image.shape[0] for each in both.maps] == [12, 14]
    assert both.maps[0].scores == pytest.approx(made(name).maps[0].scores, nan_ok=True)


def test_progress_rises_by_steps_to_the_whole() -> None:
    told = shares(AttackMap(PICTURE, [subject("0"), subject("1")], AttackSettings(steps=4), 4))
    assert told == sorted(told)
    assert {0.125, 0.25, 0.375, 0.625, 1.0} <= set(told)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_cancelled_attack_ends_within_a_step(share: float) -> None:
    passes: list[int] = []
    network = subject("0")
    network.network.classifier.network.register_forward_hook(lambda *_: passes.append(1))
    work = AttackMap(PICTURE, [network], AttackSettings(steps=250), 4)
    told = cancelled_after(work, "attacking", share)
    assert not any("250 of 250" in text for text in told)
    assert len(passes) < 3 * 250 * 0.9


def test_a_target_may_be_chosen() -> None:
    shown = made(target="dog").maps[0]
    assert shown.target == "dog"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"attack": "os.system"}, "no attack"),
        ({"attack": "tests.odd.Attack"}, "no attack"),
        ({"attack": "topk:k=0.2"}, "no attack"),
        ({"attack": ["topk"]}, "no attack"),
        ({"method": "os.path"}, "no attribution"),
        ({"eps": -1}, "size -1"),
        ({"eps": 256}, "size 256"),
        ({"eps": float("nan")}, "size nan"),
        ({"eps": None}, "size None"),
        ({"eps": True}, "size True"),
        ({"steps": 0}, "steps"),
        ({"steps": 10_000}, "from 1 to 256"),
        ({"target": "yak"}, "yak"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_a_sentence(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told) as caught:
        made(**{**({"name": settings.pop("attack")} if "attack" in settings else {}), **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_and_too_many_networks_are_a_sentence(count: int) -> None:
    with pytest.raises(ArgumentError, match="from 1 to 4"):
        AttackMap(PICTURE, [subject(str(i)) for i in range(count)], AttackSettings(), 4)
