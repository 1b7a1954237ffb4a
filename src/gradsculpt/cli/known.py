"""The names of data and networks, checked before anything is imported or read."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from gradsculpt.cli.sources import value
from gradsculpt.errors import DataError, ModelError, did_you_mean

RECIPES = Path(__file__).parent.parent / "recipes"

_REGISTERED = re.compile(r'^@register_model(?:\((?:name="(\w+)")?\))?.*?^def (\w+)', re.MULTILINE | re.DOTALL)


def likely_option(word: str, options: Sequence[str]) -> str:
    """Return the question that ends the message about a word that stands where only options do."""
    name = f"--{word.lower().partition('=')[0].replace('_', '-')}"
    kinds = [kind for kind, _ in value("gradsculpt.models.MODELS")]
    data = [source.arguments["name"] for source in value("gradsculpt.data.SOURCES")]
    readings = {
        name: name in options,
        f"--recipe {word}": (RECIPES / f"{word}.yaml").is_file(),
        f"--config {word}": word.endswith((".yaml", ".yml")),
        f"--data {word}": word in data or word.startswith("folder:"),
        f"--model {word}": word in kinds or word.partition(":")[0] in ("torchvision", "timm", "pretrained"),
        f"--data folder:{word}": Path(word).is_dir(),
    }
    meant = [text for text, holds in readings.items() if holds and text.partition(" ")[0] in options]
    return f" Did you mean {meant[0]}?" if meant else ""


def check_data(name: str, where: str) -> None:
    """Raise `DataError` if a name is none of data; `where` is what names it."""
    kinds = [source.arguments["name"] for source in value("gradsculpt.data.SOURCES")]
    prefix, colon, rest = name.partition(":")
    if (name in kinds and not colon) or (colon and any(kind.startswith(f"{prefix}:") for kind in kinds) and rest):
        return
    hint = did_you_mean(name.lower(), kinds)
    if not hint and Path(name).is_dir():
        hint = f" Did you mean folder:{name}?"
    raise DataError(f"{where} {name} is not known, so there is nothing to read; choose from {', '.join(kinds)}.{hint}")


def check_model(name: str, where: str) -> None:
    """Raise `ModelError` if a name is none of a network; `where` is what names it."""
    kinds = [kind for kind, _ in value("gradsculpt.models.MODELS")]
    weighted = [each for each, _ in value("gradsculpt.models.PRETRAINED")]
    prefix, colon, rest = name.partition(":")
    open_ended = {kind.partition(":")[0] for kind in kinds if ":" in kind}
    if (not colon and name in kinds) or (rest and prefix in open_ended - {"torchvision", "timm"}):
        return
    vision = torchvision_names()
    there = {"torchvision": not vision or rest in vision, "timm": _in_timm(rest), "pretrained": rest in weighted}
    if rest and there.get(prefix):
        return
    choices = {each: f"torchvision:{each}" for each in vision}
    if prefix == "timm":
        choices = {each: f"timm:{each}" for each in _names("timm")}
    choices |= {each: f"pretrained:{each}" for each in weighted} | {kind: kind for kind in kinds}
    near = did_you_mean(rest or name, choices, 3)
    raise ModelError(f"{where} {name} is no network that is known; choose from {', '.join(kinds)}.{near}")


@cache
def torchvision_names() -> list[str]:
    """List the image classifiers of torchvision, as its sources register them; empty if these cannot be found."""
    return _names("torchvision")


def _names(package: str) -> list[str]:
    pairs = (pair for text in _texts(package) for pair in _REGISTERED.findall(text))
    return sorted(given or name for given, name in pairs)


def _in_timm(name: str) -> bool:
    """Tell whether timm may have a network: whether its sources name it anywhere, or cannot be found."""
    base, texts = name.partition(".")[0], _texts("timm")
    return not texts or ":" in name or any(re.search(rf"\b{re.escape(base)}\b", text) for text in texts)


@cache
def _texts(package: str) -> list[str]:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return []
    files = (Path(spec.origin).parent / "models").glob("*.py")
    return [file.read_text(encoding="utf-8") for file in files]
