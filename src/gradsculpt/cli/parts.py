"""Attributions and attacks from a few words of a command line."""

import difflib
import inspect
import re
from typing import Any

from torch import Tensor

from gradsculpt.attacks import ATTACKS, Attack, Manipulation
from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.cli.settings import canonical, from_words
from gradsculpt.errors import ArgumentError

__all__ = ["attack_of", "attribution", "canonical", "names"]


def names(base: type) -> dict[str, type]:
    """Return the shipped classes of a family by their short names.

    Example:
        >>> list(names(Attack))
        ['targeted', 'untargeted', 'topk', 'masscenter', 'random']
    """
    return {re.sub("(manipulation|attack|perturbation)$", "", cls.__name__.lower()): cls for cls in ATTACKS}


def attack_of(text: str, *, steps: int | None, bounds: tuple[Tensor, Tensor]) -> Attack:
    """Return the attack that was typed, with 1 for its size."""
    name, rest = re.fullmatch(r"\s*(\w*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    known = names(Attack)
    cls = known.get(name.lower()) or next((c for c in ATTACKS if c.__name__.lower() == name.lower()), None)
    if cls is None:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ArgumentError(f"--attack {name} is not known; choose from {', '.join(known)}.{hint}")
    if re.search(r"\beps\s*=", rest):
        raise ArgumentError("--attack has a setting eps in the units of the network; pass --eps, in 8-bit levels.")
    given: dict[str, Any] = {"eps": 1.0, "bounds": bounds}
    if steps is not None:
        if not issubclass(cls, Manipulation):
            raise ArgumentError(f"--attack {name} takes no steps; leave --steps away.")
        given["steps"] = steps
    made: Attack = from_words(f"{cls.__name__.lower()}{rest}", Attack, "--attack", lambda _: given)
    return made


def attribution(text: str, output: str = "logit", bounds: tuple[Tensor, Tensor] | None = None) -> Attribution:
    """Return an attribution by its name in small letters, with settings as in `smoothgrad:samples=64,sigma=0.1`.

    Args:
        text: The name, and the settings if any; see `from_words`.
        output: logit, probability or log_probability, for the attributions that can choose.
        bounds: The least and the greatest input of the model, for the attributions that need them.

    Raises:
        ArgumentError: If there is none of that name, a setting does not suit, or the output cannot be chosen.
    """

    def supplied(cls: type) -> dict[str, Any]:
        takes, found = inspect.signature(cls).parameters, {}
        if "bounds" in takes and bounds is not None:
            found["bounds"] = bounds
        if "output" in takes:
            return {**found, "output": output}
        if "base" in takes:
            return {**found, "base": Gradient(output)}  # type: ignore[arg-type]
        if issubclass(cls, Attribution) and output != "logit":
            raise ArgumentError(f"{cls.__name__.lower()} reads the logit and nothing else; leave --output away.")
        return found

    made: Attribution = from_words(text, Attribution, "--method", supplied)
    return made
