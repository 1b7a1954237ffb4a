"""The names of data and networks, checked before anything is imported or read."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from gradsculpt.accidents import check_kinds
from gradsculpt.cli.sources import value
from gradsculpt.errors import DataError, ModelError, RunError, did_you_mean
from gradsculpt.extensions import check_module
from gradsculpt.files import impossible
from gradsculpt.hub import is_hub, parse
from gradsculpt.hub.names import check_installed, likely
from gradsculpt.runs import is_run

RECIPES = Path(__file__).parent.parent / "recipes"

_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
_LOOKED_AT = 1000

_REGISTERED = re.compile(r'^@register_model(?:\((?:name="(\w+)")?\))?.*?^def (\w+)', re.MULTILINE | re.DOTALL)


def likely_option(word: str, options: Sequence[str]) -> str:
    """Return the question that ends the message about a word that stands where only options do."""
    name = f"--{word.lower().partition('=')[0].replace('_', '-')}"
    kinds = [kind for kind, _ in value("gradsculpt.models.MODELS")]
    data = [source.arguments["name"] for source in value("gradsculpt.data.SOURCES")]
    readings = {
        name: name in options,
        f"--recipe {word}": os.path.isfile(RECIPES / f"{word}.yaml"),
        f"--config {word}": word.endswith((".yaml", ".yml")),
        f"--data {word}": word in data or word.startswith("folder:"),
        f"--model {word}": word in kinds or word.partition(":")[0] in ("torchvision", "timm", "pretrained"),
        f"--weights {word}": is_hub(word),
        f"--resume --out {word}": is_run(word),
        f"--data folder:{word}": os.path.isdir(word),
    }
    meant = [text for text, holds in readings.items() if holds and text.partition(" ")[0] in options]
    return f" Did you mean {meant[0]}?" if meant else ""


def is_network(word: str) -> bool:
    """Tell a run directory, or the name of a network, from other words."""
    prefix, _, rest = word.partition(":")
    return is_run(word) or is_hub(word) or (bool(rest) and prefix in ("torchvision", "timm", "python", "pretrained"))


def other_than_a_run(word: str) -> str | None:
    """Return what to say of a path that stands for a network, and is an image, a folder of images, or weights."""
    path, suffixes = Path(word), value("gradsculpt.data.listing.SUFFIXES")
    if os.path.isfile(path) and path.suffix.lower() in _WEIGHTS:
        return (
            f"{word} holds weights, and not how their network is built; name the network before them: "
            f"torchvision:NAME --weights {word}, timm:NAME or python:MODULE:FACTORY likewise."
        )
    if os.path.isfile(path) and path.suffix.lower() in suffixes:
        return (
            f"no network is named, and {word} is an image; name a run directory too, RUN {word}, or a network such as "
            "pretrained:efficientnet-lite0."
        )
    if os.path.isdir(path) and any(file.suffix.lower() in suffixes for file in islice(path.rglob("*"), _LOOKED_AT)):
        return (
            f"{word} is a folder of images and no run directory; name the network, a run directory for instance, and "
            f"pass the images as --data folder:{word}, or as {word} after the network to explain or attack them."
        )
    return None


def check_data(name: str, where: str) -> None:
    """Raise `DataError` if a name is none of data; `where` is what names it."""
    kinds = [source.arguments["name"] for source in value("gradsculpt.data.SOURCES")]
    prefix, colon, rest = name.partition(":")
    if (name in kinds and not colon) or (colon and any(kind.startswith(f"{prefix}:") for kind in kinds) and rest):
        return
    hint = did_you_mean(name.lower(), kinds)
    if not hint and os.path.isdir(name):
        hint = f" Did you mean folder:{name}?"
    raise DataError(f"{where} {name} is not known, so there is nothing to read; choose from {', '.join(kinds)}.{hint}")


def _beside(path: Path) -> str:
    """Return the name of a folder that may be meant by a path, in words."""
    with suppress(OSError):
        near = did_you_mean(path.name, {each.name: str(each) for each in path.parent.iterdir() if os.path.isdir(each)})
        return near.replace(" Did you mean", ", perhaps").removesuffix("?")
    return ""


def check_model(name: str, where: str) -> None:
    """Raise `ModelError` if a name is none of a network; `where` is what names it."""
    kinds = [kind for kind, _ in value("gradsculpt.models.MODELS")]
    weighted = [each for each, _ in value("gradsculpt.models.PRETRAINED")]
    prefix, colon, rest = name.partition(":")
    open_ended = {kind.partition(":")[0] for kind in kinds if ":" in kind}
    if (not colon and name in kinds) or (rest and prefix in open_ended - {"torchvision", "timm", "pretrained"}):
        return
    if is_hub(name):
        raise ModelError(
            f"{where} {name} is a trained network, and not how one is built; to start from it, pass --weights {name}, "
            "and --model with what it is of."
        )
    there = {"torchvision": _in_torchvision, "timm": _in_timm, "pretrained": weighted.__contains__}
    listed = {"torchvision": torchvision_names(), "timm": [], "pretrained": weighted}
    if rest and prefix in there:
        if there[prefix](rest):
            return
        names = _names("timm") if prefix == "timm" else listed[prefix]
        near = did_you_mean(rest, {each: f"{prefix}:{each}" for each in names}, 3)
        fact = "there is no pretrained network" if prefix == "pretrained" else f"{prefix} has no network"
        allowed = f" The pretrained ones are {', '.join(weighted)}." if prefix == "pretrained" else ""
        raise ModelError(f"{where} {name} cannot be had: {fact} {rest!r}.{near}{allowed}")
    choices = {each: f"{kind}:{each}" for kind in ("torchvision", "pretrained") for each in listed[kind]}
    near = did_you_mean(name, choices | {kind: kind for kind in kinds}, 3)
    raise ModelError(f"{where} {name} is not known; choose from {', '.join(kinds)}.{near}")


def check_data_there(name: str) -> None:
    """Raise `DataError` if data that are typed name a folder or a module that is not there."""
    prefix, _, rest = name.partition(":")
    if prefix == "python":
        check_module(rest, DataError)
    if prefix == "folder" and not os.path.isdir(path := Path(os.path.expanduser(rest))):
        fact = "is no folder" if os.path.exists(path) else "does not exist"
        raise DataError(f"{path} {fact}; give the folder that holds one folder of images a class{_beside(path)}.")


def check_model_there(name: str) -> None:
    """Raise `ModelError` if a network that is typed is a function of a module that is not there."""
    prefix, _, rest = name.partition(":")
    if prefix == "python":
        check_module(rest, ModelError)


def check_weights_there(name: str | None) -> None:
    """Raise `ModelError` if weights that are typed are a file that is not there."""
    if name is not None and is_hub(name):
        parse(name, "the weights")
        check_installed(name)
        return
    default = str(value("gradsculpt.models.weights.DEFAULT"))
    if name not in (None, default) and not os.path.exists(name):
        near = likely(name) or did_you_mean(name, [default])
        raise ModelError(
            f"there is no file of weights {name}; pass a .safetensors file, a state dict of torch.save, a run "
            f"directory, hf:NAMESPACE/NAME, or {default} for the published ones.{near}"
        )


def check_out(folder: Path, files: Sequence[str] = (), folders: Sequence[str] = ()) -> None:
    """Raise `RunError` if a folder cannot be made, or not be written to, or its files and folders are the reverse."""
    if why := impossible(folder):
        raise RunError(f"{folder} cannot be a folder, as {why}, so nothing could be kept; pass another --out.")
    there = next((path for path in (folder, *folder.absolute().parents) if os.path.exists(path)), folder)
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        fact = "may not be written to" if os.path.isdir(there) else "is a file"
        raise RunError(f"{folder} cannot be a folder: {there} {fact}, so nothing could be kept; pass another --out.")
    check_kinds(folder, files, folders)


@cache
def torchvision_names() -> list[str]:
    """List the image classifiers of torchvision, as its sources register them; empty if these cannot be found."""
    return _names("torchvision")


def _names(package: str) -> list[str]:
    pairs = (pair for text in _texts(package) for pair in _REGISTERED.findall(text))
    return sorted(given or name for given, name in pairs)


def _in_torchvision(name: str) -> bool:
    """Tell whether torchvision may have a model, which need be no classifier: that is told when it is looked up."""
    texts = _texts("torchvision", "**/*.py")
    return not texts or any(f"def {name}(" in text for text in texts)


def _in_timm(name: str) -> bool:
    """Tell whether timm may have a network: whether its sources name it anywhere, or cannot be found."""
    base, texts = name.partition(".")[0], _texts("timm")
    return not texts or ":" in name or any(re.search(rf"\b{re.escape(base)}\b", text) for text in texts)


@cache
def _texts(package: str, files: str = "*.py") -> list[str]:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return []
    found = (Path(spec.origin).parent / "models").glob(files)
    return [file.read_text(encoding="utf-8") for file in found]
