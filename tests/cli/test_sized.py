"""Attacks that a text names with their size, for one network; and what is wrong with an experiment before it runs."""

from typing import Any

import pytest
import torch
from torch import nn

from gradsculpt.attacks import RandomPerturbation, TargetedManipulation, TopKAttack
from gradsculpt.attributions import SmoothGrad
from gradsculpt.cli.performing import words_of
from gradsculpt.cli.sized import attack_for, attribution_for
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier

SPACE = InputSpace((0.4, 0.5, 0.6), (0.2, 0.25, 0.5))
CLASSIFIER = Classifier(nn.Flatten(), SPACE, ("a",), 4)
PIXELS = torch.tensor([5.0, 4.0, 2.0]).view(1, 3, 1, 1) / 255  # one level, in the network's units


@pytest.mark.parametrize(
    ("text", "kind", "eps"),
    [
        ("targeted:eps=4,steps=7", TargetedManipulation, 4 * PIXELS),
        ("targeted(steps=7, eps=0.5)", TargetedManipulation, 0.5 * PIXELS),
        ("topk:k=0.2,eps=2,steps=7", TopKAttack, 2 * PIXELS * 48**0.5),
        ("topk:eps=2,norm=linf,steps=7", TopKAttack, 2 * PIXELS),
        ("random:eps=8,kind=gaussian", RandomPerturbation, 8 * PIXELS * 48**0.5),
    ],
)
def test_the_size_is_in_8_bit_levels(text: str, kind: Any, eps: torch.Tensor) -> None:
    attack: Any = attack_for(text, CLASSIFIER)
    assert isinstance(attack, kind)
    torch.testing.assert_close(attack.eps, eps)
    torch.testing.assert_close(attack.bounds, SPACE.bounds)
    assert getattr(attack, "steps", 7) == 7


@pytest.mark.parametrize("text", ["targeted", "targeted:eps=-1", "targeted:eps=256", "topk:eps=nan", "topk:eps=much"])
def test_a_size_has_to_be_told(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"the attack .*; write t\w+:eps=4, in 8-bit levels from 0 to 255\."):
        attack_for(text, CLASSIFIER)


def test_attributions_are_ready_for_the_network() -> None:
    attribution = attribution_for("smoothgrad:samples=3", CLASSIFIER)
    assert isinstance(attribution, SmoothGrad)
    assert attribution.samples == 3


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("maps", {"methods": ["smothgrad"]}, r"maps: smothgrad is not known.* Did you mean smoothgrad\?"),
        ("maps", {"count": 0}, "count=0"),
        ("maps", {"number": 3}, "Maps cannot be made from .*number"),
        ("attackedmaps", {"attack": "topk:k=0.2"}, "topk:k=0.2 does not say how far images may be moved"),
        ("attackedmaps", {"attack": "topk:eps=2,kk=3"}, "has no setting 'kk'"),
        ("features", {"ascent": {"stepp": 3}}, r"no setting stepp; .* Did you mean steps\?"),
    ],
)
def test_mistakes_in_experiments_are_told_before_anything_is_trained(
    kind: str, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ArgumentError, match=told):
        words_of(kind, settings)


def test_experiments_and_commands_have_their_settings() -> None:
    settings = {"methods": ["gradient"], "count": 3}
    assert words_of("maps", settings)[1] == settings
    assert words_of("evaluate", {"limit": 8})[0] == ("--limit", "8")
