"""Scorecards in a folder: those of other settings stay, and one of the same is used again."""

import inspect
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from gradsculpt.cli.scored_images import ScoredImages
from gradsculpt.errors import RunError, first_line
from gradsculpt.evaluation import Protocol, Scorecard
from gradsculpt.evaluation.per_image_values import VALUES
from gradsculpt.evaluation.scorecard import FILE
from gradsculpt.files import sweep, whole
from gradsculpt.fingerprint import fingerprint
from gradsculpt.models import Classifier
from gradsculpt.reading import read_bytes

PRINTS = "fingerprints"
"""What a scorecard's settings say of what it depends on: a digest each of the network, the images and the protocol."""

_LETTERS = 8
# Packages whose code is known by their version; of all other code, nobody knows whether it is what it was.
_KNOWN = {*sys.stdlib_module_names, "gradsculpt", "torch", "torchvision", "timm", "efficientnet_lite_pytorch"}


def prints(classifier: Classifier, scored: ScoredImages, protocol: Protocol) -> dict[str, str]:
    """Return digests of all that decides scores: the network, the images with their labels, the protocol and code."""
    images = scored.images
    labels = (images.labels, images.classes, scored.class_map.members) if scored.labelled else ()
    return {
        "network": fingerprint(classifier),
        "images": fingerprint(images.images, images.names, images.attention, labels),
        "protocol": fingerprint(protocol, _code(), torch.__version__),
    }


def repeatable(classifier: Classifier, protocol: Protocol) -> bool:
    """Whether scores can be told by their digests: no code of the user's own, which may have changed, takes part."""
    kinds = [type(module) for module in classifier.network.modules()]
    return all(kind.__module__.partition(".")[0] in _KNOWN for kind in (*kinds, *_kinds(protocol)))


def find(digests: Mapping[str, str], folders: Iterable[Path]) -> Path | None:
    """Return the first scorecard with these digests, and its table of values beside it, in some folders."""
    for folder in folders:
        for path in sorted(folder.glob(f"{Path(FILE).stem}*{Path(FILE).suffix}")):
            with suppress(RunError, OSError):
                if Scorecard.load(path).settings.get(PRINTS) == digests and _table(path).is_file():
                    return path
    return None


def put(path: Path, folder: Path) -> None:
    """Copy a scorecard and its table of values into a folder under their usual names."""
    if path != folder / FILE:
        _copy(_table(path), folder / VALUES)
        _copy(path, folder / FILE)


def keep(folder: Path, digests: Mapping[str, str]) -> Path | None:
    """Copy the scorecard of a folder, if it is of other digests, to a name of its own; return that, or None."""
    path = folder / FILE
    if not path.is_file():
        return None
    with suppress(RunError):
        if Scorecard.load(path).settings.get(PRINTS) == digests:
            return None
    try:
        content = read_bytes(path)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} is no scorecard ({first_line(error, kind=False)}), and is in the way; remove it."
        ) from error
    aside = folder / f"{path.stem}-{sha256(content).hexdigest()[:_LETTERS]}{path.suffix}"
    if not aside.is_file():
        with suppress(FileNotFoundError):
            _copy(_table(path), _table(aside))
        _copy(path, aside)
    return aside


def _copy(source: Path, target: Path) -> None:
    sweep(target)
    with whole(target) as draft:
        shutil.copyfile(source, draft)


def _table(card: Path) -> Path:
    return card.with_suffix(Path(VALUES).suffix)


def _kinds(value: Any) -> Iterable[Any]:
    """Yield the classes and functions that a setting is made of, at any depth."""
    if isinstance(value, type) or inspect.isroutine(value):
        yield value
        return
    yield type(value)
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _kinds(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _kinds(each)
    elif hasattr(value, "__dict__") and not isinstance(value, torch.Tensor):
        yield from _kinds(vars(value))


@cache
def _code() -> str:
    """Return a digest of this package as it is installed: another version may score otherwise."""
    root = Path(__file__).parent.parent
    return fingerprint([(path.relative_to(root).as_posix(), path.read_bytes()) for path in sorted(root.rglob("*.py"))])
