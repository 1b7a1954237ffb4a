"""Where a training starts: a network of other weights, with a head for new classes."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from gradsculpt.errors import ModelError, did_you_mean
from gradsculpt.hub import is_hub, parse
from gradsculpt.hub.fetching import fetch
from gradsculpt.inputs import InputSpace
from gradsculpt.isolation import own_randomness
from gradsculpt.models.checkpoint import opened
from gradsculpt.models.networks import build, construct
from gradsculpt.models.published import habits_of, published_state
from gradsculpt.models.states import fill, read_state
from gradsculpt.models.weights import DEFAULT, imagenet_classes

BACKBONE = "backbone"


@dataclass(frozen=True)
class Start:
    """A network as a training starts from it.

    Args:
        network: The network, in training mode, with the weights that were given and a head for the classes.
        space: How the images were normalised that the weights were trained on; None where nobody tells.
        head: The names of the tensors that depend on the number of classes.
        notes: What has to be known of the weights, in sentences.
    """

    network: nn.Module
    space: InputSpace | None
    head: frozenset[str]
    notes: tuple[str, ...]


def started(
    name: str, weights: str | Path, *, classes: Sequence[str], image_size: int, softplus: float | None = None
) -> Start:
    """Build a network that starts from given weights, for classes of one's own.

    Its head, the tensors whose shape depends on the number of classes, is drawn anew from PyTorch's random state,
    unless the weights were trained for the same classes: a run's head is kept if the run has them, that of a file if it
    has as many outputs. All else has to fit. Activations are swapped for Softplus afterwards.

    Args:
        name: A name that `build` takes.
        weights: A run directory, hf:NAMESPACE/NAME, or a file or "default", as of `with_weights`.
        classes: The names of the classes.
        image_size: Height and width of the images.
        softplus: As of `build`.

    Raises: ModelError if the network cannot be built, or the weights cannot be had or do not fit.
    """
    source = _source(name, weights)
    notes = [source.terms] if source.terms else []

    def load(network: nn.Module) -> None:
        if (state := source.state) is None:
            return
        fresh = network.state_dict()
        fits = all(key in state and state[key].shape == fresh[key].shape for key in head)
        keeps = fits and source.classes in (None, tuple(classes))
        if keeps and source.classes is None:
            notes.append(f"the head of {weights} is kept, as it has {len(classes)} outputs too")
        new = {} if keeps else {key: fresh[key] for key in head}
        remedy = "Name the network that they were trained for, at the --image-size that they were trained at."
        fill(network, {**state, **new}, what=what, remedy=remedy)

    what = f"the weights {weights} do not fit the network {name}"
    head = _head(name, len(classes), image_size)
    network = build(name, num_classes=len(classes), image_size=image_size, softplus=softplus, prepare=load)
    return Start(network, source.space, head, tuple(notes))


def freeze(network: nn.Module, parts: Sequence[str], head: Collection[str]) -> int:
    """Keep the parameters of some parts of a network from being trained; return how many are left to train.

    Args:
        network: The network; its parameters no longer ask for gradients.
        parts: What the names of the parameters begin with, such as features.0; or backbone for all but the head.
        head: The names of the head's tensors.

    Raises: ModelError if a part has no parameters, or nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    for part in parts:
        inside = [
            name
            for name in parameters
            if (name not in head if part == BACKBONE else name == part or name.startswith(f"{part}."))
        ]
        if not inside or (part == BACKBONE and not head):
            places = list(dict.fromkeys(name.rpartition(".")[0] for name in parameters))
            raise ModelError(
                f"--freeze {part} names no part of the network with parameters; its parts are {', '.join(places[:6])}, "
                f"... and {BACKBONE}, which is all but the head.{did_you_mean(part, [*places, BACKBONE])}"
            )
        for name in inside:
            parameters[name].requires_grad_(False)
    left = sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad)
    if not left:
        raise ModelError(f"--freeze {' '.join(parts)} leaves nothing to train; freeze less, backbone for instance.")
    return left


@dataclass(frozen=True)
class _Source:
    state: Mapping[str, Tensor] | None
    space: InputSpace | None
    classes: tuple[str, ...] | None
    terms: str = ""


def _source(name: str, weights: str | Path) -> _Source:
    if str(weights) == DEFAULT:
        habits, state = habits_of(name), published_state(name)
        if state is None:
            return _Source(None, None, None)
        return _Source(state, habits.space, imagenet_classes(), habits.terms)
    path = fetch(parse(str(weights))) if is_hub(str(weights)) else Path(weights)
    if os.path.isdir(path):
        description, state, reached = opened(path)
        model = description["build"]["model"]
        if model != name:
            raise ModelError(
                f"{weights} is a run of the network {model}, and its weights fit no {name}; name that one."
            )
        space = InputSpace(mean=description["mean"], std=description["std"])
        unfinished = f"the weights are of an unfinished training: {reached}" if reached and not reached.finished else ""
        return _Source(state, space, tuple(description["classes"]), unfinished)
    habits = habits_of(name)
    return _Source(read_state(path), habits.space if habits.terms else None, None)


def _head(name: str, outputs: int, image_size: int) -> frozenset[str]:
    """Return the names of the tensors whose shape depends on the number of classes."""
    with own_randomness():
        fewer, more = (construct(name, count, image_size).state_dict() for count in (outputs, outputs + 1))
    return frozenset(key for key, value in fewer.items() if key in more and value.shape != more[key].shape)
