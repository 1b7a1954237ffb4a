"""Classifiers in files, of finished trainings or not: safetensors for the weights, JSON for all else, no pickle."""

import json
import platform
import subprocess
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError, GradsculptError, ModelError, RunError, first_line
from gradsculpt.extensions import trusted
from gradsculpt.files import strict_json, whole
from gradsculpt.hub import is_hub, parse
from gradsculpt.hub.fetching import fetched
from gradsculpt.inputs import InputSpace
from gradsculpt.isolation import own_randomness
from gradsculpt.machine import free_memory
from gradsculpt.models.classifier import Classifier, found_device
from gradsculpt.models.networks import build as build_network
from gradsculpt.models.states import LARGEST_WEIGHTS, fill
from gradsculpt.reading import parsed_json, read_bytes, read_json
from gradsculpt.runs import DESCRIPTION, WEIGHTS, Reached, check_trained, described
from gradsculpt.seals import OPEN, SEAL, check, check_content, seal, sealed_json
from gradsculpt.wording import printable

FORMAT = 1

_RUN = "run"  # by which weights and their description tell that they are of one run
_TEXTS = "__metadata__"  # where a file of weights has its text entries

_MEND = "Copy the file again from where the run was made, or train again."
_WIDEST = 4096  # pixels of a side: the network is run once on an image of that size
_PATIENCE, _MOMENT = 5, 0.02  # how often files are read that are of two epochs, and after how many seconds

# What a description has to hold, and of which type.
_BUILD = {"model": str, "softplus": int | float | None, "num_classes": int, "image_size": int}
_LISTS = {"classes": str, "mean": int | float, "std": int | float}


def save(
    folder: str | Path,
    classifier: Classifier,
    *,
    build: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    reached: Reached | None = None,
) -> None:
    """Write a classifier to `model.safetensors` and `model.json` in a folder, which is made if need be.

    Each file appears whole or not at all, the description last: where it is, there are weights. Both say which epoch
    they are of, so that `load` never takes one for the other's.

    Args:
        folder: The run directory.
        classifier: What to write; it may be on any device and is not changed.
        build: How `gradsculpt.models.build` made the network: `model` (its name), `softplus`, `num_classes` and
            `image_size`.
        extra: More to note in `model.json` under "extra", the recipe for instance; what JSON cannot hold becomes text.
        reached: How far its training got; None where that is not known.

    Raises:
        ArgumentError: If `build` lacks an entry or contradicts the classifier.
        ModelError: If the network holds state that safetensors cannot store.
        RunError: If the files cannot be written.
    """
    write(folder, classifier.network, describe(classifier, build=build, extra=extra), reached)


def describe(
    classifier: Classifier, *, build: Mapping[str, Any], extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what `model.json` holds of a classifier, but for how far its training got; as `save`, or `ArgumentError`.

    It asks for the versions and the revision of what is used, which takes some milliseconds.
    """
    if missing := sorted(set(_BUILD) - set(build)):
        raise ArgumentError(
            f"build lacks {', '.join(missing)}, without which nobody could load the run; "
            "pass the arguments that made the network."
        )
    if (len(classifier.classes), classifier.image_size) != (build["num_classes"], build["image_size"]):
        raise ArgumentError(
            f"the classifier has {len(classifier.classes)} classes and image size {classifier.image_size}, but build "
            f"says {build['num_classes']} and {build['image_size']}; pass the arguments that made the network."
        )
    return {
        "format": FORMAT,
        "build": dict(build),
        "classes": classifier.classes,
        "mean": classifier.space.mean,
        "std": classifier.space.std,
        "versions": _versions(),
        "git_revision": _git_revision(),
        "extra": dict(extra or {}),
    }


def write(
    folder: str | Path,
    network: nn.Module,
    description: Mapping[str, Any],
    reached: Reached | None = None,
    *,
    lasting: bool = True,
) -> None:
    """Write the weights of a network, and what `describe` told of it, as `save` does; `lasting` as of `whole`."""
    told = {name: value for name, value in ({} if reached is None else asdict(reached)).items() if value is not None}
    stamp = {name: str(value) for name, value in told.items() if name != "finished"}
    of = _run(description)
    weights = _bytes(_storable(network), {SEAL: OPEN, "format": "pt", _RUN: of, **stamp})
    text = sealed_json({**description, **told, _RUN: of})
    for path, content in ((Path(folder) / WEIGHTS, weights), (Path(folder) / DESCRIPTION, text)):
        try:
            with whole(path, lasting=lasting) as draft:
                draft.write_bytes(content)
                if content is weights:
                    seal(draft)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written ({error.strerror or error}), so the checkpoint is not saved. "
                "Choose a folder that can be written to and has room."
            ) from error


def load(run: str | Path, device: str | int | torch.device = "cpu", *, trust_code: Iterable[str] = ()) -> Classifier:
    """Load the classifier of a run directory, as `gradsculpt train --out` wrote it, or of the Hub, in eval mode.

    No pickle is read and no code run, so a run from a stranger can be opened. A run whose model is
    `python:MODULE:FACTORY` needs that function, which is the user's own code: it is called only if its module is among
    those to trust, and nothing is ever imported from the run directory on its account.

    Args:
        run: The run directory; or hf:NAMESPACE/NAME, with @REVISION after it, a network that `gradsculpt push` has put
            on the Hugging Face Hub, which is fetched into its cache unless it is there.
        device: Where the network shall be: "cpu", "cuda", "cuda:1", a number of PyTorch's or one of its devices; "auto"
            takes the first accelerator, or else the CPU.
        trust_code: Modules of the user's own that the run may name.

    A training may be going on in the run, or have been stopped: its network is then that of the best epoch so far, or
    of the last whole one if it keeps that, and the classifier's `reached` says of which.

    Returns:
        The classifier; PyTorch's random state is as before.

    Raises:
        ArgumentError: If the device cannot be had.
        RunError: If the run is missing, none of its epochs is whole yet, or a file of it is damaged.
        ModelError: If the network cannot be built here, the weights do not fit it, or the Hub does not hand it out.
    """
    place, text = found_device(device), str(run)
    with fetched(parse(text)) if is_hub(text) else nullcontext(Path(run)) as folder:
        return _loaded(folder, trust_code).to(place)


def _loaded(folder: Path, trust_code: Iterable[str]) -> Classifier:
    description, weights, reached = opened(folder)
    options = {key: description["build"][key] for key in _BUILD}
    name = options.pop("model")
    try:
        space = InputSpace(mean=description["mean"], std=description["std"])
        with own_randomness(), trusted(trust_code):
            network = build_network(name, **options)
    except GradsculptError as error:
        raise ModelError(f"{folder} cannot be loaded: {error}") from error
    remedy = (
        f"It was saved with {description.get('versions')}, here are {_versions()}; use those versions, and the same "
        "code for a network of your own."
    )
    fill(network, weights, what=f"the weights do not fit the network {name} of {folder}", remedy=remedy)
    classes = tuple(map(printable, description["classes"]))
    return Classifier(network, space, classes, options["image_size"], reached).eval()


def _storable(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the network's state: safetensors takes no two tensors that share memory."""
    state = network.state_dict()
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            raise ModelError(
                f"the network's state {key!r} is no ordinary tensor ({type(value).__name__}), and safetensors stores "
                "nothing else; keep it out of state_dict(), or turn it into a tensor."
            )
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}


def _bytes(state: dict[str, Tensor], texts: Mapping[str, str]) -> bytes:
    """Return the content of a file of weights, always the same for the same state and text entries."""
    from safetensors.torch import save as to_bytes

    content = to_bytes(state)
    start = 8 + int.from_bytes(content[:8], "little")
    # The library would write several text entries in the order of a table of hashes, another one each time.
    header = json.dumps({_TEXTS: dict(texts), **json.loads(content[8:start])}, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return b"".join((len(header).to_bytes(8, "little"), header, memoryview(content)[start:]))


def _run(description: Mapping[str, Any]) -> str:
    """Return what tells runs of one description from all others, whatever changes from epoch to epoch."""
    extra = {key: value for key, value in description["extra"].items() if key != "val_accuracy"}
    return f"{zlib.crc32(strict_json({**{key: description[key] for key in ('build', *_LISTS)}, 'extra': extra})):08x}"


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("gradsculpt", "torch", "torchvision", "timm"):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _git_revision() -> str | None:
    command = ["git", "rev-parse", "--verify", "HEAD"]
    try:
        # A constant command, of which nothing is anybody's.
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def opened(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], Reached | None]:
    """Return the description and the weights of a run directory, and which epoch they are of, where that is known.

    Raises as `stored` does.
    """
    description, content, reached = stored(folder)
    return description, _weights(content, folder / WEIGHTS), reached


def stored(folder: Path) -> tuple[dict[str, Any], bytes, Reached | None]:
    """Return the description and the file of weights of a run directory, and of which epoch they are, if that is known.

    While they are read, a training may put those of another epoch in their place, one file after the other, and it may
    have been killed between the two. The weights themselves say which epoch they are of; no other entry of the
    description changes from epoch to epoch that decides what the network is. Raises `RunError` if a file is missing or
    cannot be used.
    """
    check_trained(folder)
    for patience in reversed(range(_PATIENCE)):
        content = _content(folder / WEIGHTS)
        description = _description(folder)
        texts = _stamp(content)
        stamp, said = Reached.read(texts), Reached.read(description)
        apart = _RUN in texts and _RUN in description and texts[_RUN] != description[_RUN]
        if not apart and (stamp and stamp.epoch) == (said and said.epoch):
            return description, content, stamp and said
        if patience:
            time.sleep(_MOMENT)
    if apart:
        raise RunError(
            f"{folder / WEIGHTS} and {described(folder).name} beside it are of two runs, so they do not belong "
            f"together. {_MEND}"
        )
    return description, content, stamp


def _description(folder: Path) -> dict[str, Any]:
    path = described(folder)
    try:
        check(path, f"{_MEND} If it was changed on purpose, delete its entry {SEAL}.")
        description = read_json(path)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({first_line(error)}), so nothing is known about the network. "
            "Restore the file from where the run was made, or train again."
        ) from error
    if problem := _problem(description):
        raise RunError(
            f"{path} {problem}, so the network cannot be built. Restore the file from where the run was made, "
            "train again, or upgrade gradsculpt if the run is newer."
        )
    return dict(description)


def _problem(description: Any) -> str | None:
    """Return what keeps a description from being used."""
    if not isinstance(description, dict):
        return "is not a JSON object"
    if description.get("format") != FORMAT:
        return f"has format {description.get('format')!r}, and this gradsculpt reads {FORMAT}"
    build = description.get("build")
    if not isinstance(build, dict):
        return "has no usable entry build"
    unusable = [f"build.{key}" for key, kind in _BUILD.items() if not isinstance(build.get(key, ()), kind)]
    for key, kind in _LISTS.items():
        entries = description.get(key)
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, kind) for entry in entries):
            unusable.append(key)
    if not unusable and not 1 <= build["image_size"] <= _WIDEST:
        unusable.append(f"build.image_size (from 1 to {_WIDEST})")
    if unusable:
        return f"has no usable entry {unusable[0]}"
    if len(description["classes"]) != build["num_classes"]:
        return f"names {len(description['classes'])} classes for a network with {build['num_classes']} outputs"
    return None


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise RunError(f"{path} is missing, so there are no weights to load; copy the whole run directory.")
    try:
        content = read_bytes(path, free_memory() or LARGEST_WEIGHTS)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    check_content(content, path, _MEND)
    return content


def _stamp(content: bytes) -> dict[str, Any]:
    """Return the text entries of a file of weights; nothing if it is damaged."""
    with suppress(ValueError, KeyError, TypeError):
        length = int.from_bytes(content[:8], "little")
        return dict(parsed_json(content[8 : 8 + length])[_TEXTS])
    return {}


def _weights(content: bytes, path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        return from_bytes(content)  # by its path, only one in UTF-8 could be read
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} is damaged ({first_line(error)}), so its weights cannot be trusted. {_MEND}")
