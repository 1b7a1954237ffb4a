"""Attributions and attacks that texts name, ready for one network: its bounds, and sizes in its own units."""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gradsculpt.cli.grammar import taken_apart
from gradsculpt.cli.parts import attack_of, attribution
from gradsculpt.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.attacks import Attack
    from gradsculpt.attributions import Attribution
    from gradsculpt.models import Classifier

LEVELS = 255


def attribution_for(text: str, classifier: "Classifier") -> "Attribution":
    """Return the attribution that a text names, with the bounds of the classifier's images where it takes them."""
    return attribution(text, bounds=bounds_of(classifier))


def attack_for(text: str, classifier: "Classifier") -> "Attack":
    """Return the attack that a text names, its eps told in 8-bit levels, in the units of the classifier's network.

    Raises: ArgumentError if there is no such attack, or the text tells no eps, or none from 0 to 255.
    """
    levels = levels_of(text)
    name, arguments = taken_apart(text)
    rest = ",".join(value if key is None else f"{key}={value}" for key, value in arguments if key != "eps")
    attack = attack_of(f"{name}:{rest}" if rest else name, steps=None, bounds=bounds_of(classifier))
    return sized(attack, levels, classifier, len(classifier.space.mean) * classifier.image_size**2)


def levels_of(text: str) -> float:
    """Return the eps that the text of an attack tells; raise `ArgumentError` if it tells none from 0 to 255."""
    name, arguments = taken_apart(text)
    told = [value for key, value in arguments if key == "eps"]
    levels = -1.0
    with suppress(ValueError):
        levels = float(told[0]) if len(told) == 1 else levels
    if not 0 <= levels <= LEVELS:
        fact = f"has eps={told[0]}" if told else "does not say how far images may be moved"
        raise ArgumentError(f"the attack {text} {fact}; write {name}:eps=4, in 8-bit levels from 0 to {LEVELS}.")
    return levels


def sized(attack: "Attack", levels: float, classifier: "Classifier", entries: int) -> "Attack":
    """Give an attack its size, in 8-bit levels: of every entry, or the root mean square over all where it is in L2."""
    eps = classifier.space.pixels(levels / LEVELS).to(classifier.device)
    length = getattr(attack, "norm", None) == "l2" or getattr(attack, "kind", None) == "gaussian"
    return replace(attack, eps=eps * entries**0.5 if length else eps)  # type: ignore[type-var]


def bounds_of(classifier: "Classifier") -> "tuple[Tensor, Tensor]":
    """Return the network's input for black and for white, [1, C, 1, 1] each, where the classifier is."""
    low, high = classifier.space.bounds
    return low.to(classifier.device), high.to(classifier.device)
