"""The networks that a command line names: by the path of a run, by name, or by that of the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradsculpt.cli import known
from gradsculpt.cli.folder import numbered
from gradsculpt.cli.limits import at_least
from gradsculpt.cli.opened import NamedNetwork, Run, open_published, open_run
from gradsculpt.cli.parser import Options, Parser
from gradsculpt.cli.process import DEVICES, find_device
from gradsculpt.cli.sources import value
from gradsculpt.errors import ArgumentError, RunError, did_you_mean
from gradsculpt.hub import is_hub, parse
from gradsculpt.hub.names import PREFIX, check_installed, likely
from gradsculpt.progress import Reporter
from gradsculpt.runs import check_trained, is_run
from gradsculpt.wording import counted, printable

NETWORKS = (
    "torchvision:NAME, timm:NAME or python:MODULE:FACTORY (with --weights, or NAME=FILE), pretrained:NAME or "
    "hf:NAMESPACE/NAME"
)

_DEFAULT = "gradsculpt.models.weights.DEFAULT"
_WEIGHTLESS = ("torchvision", "timm", "python")
_NAMED = (*_WEIGHTLESS, "pretrained", PREFIX)


def add_network_options(parser: Parser) -> None:
    """Add the name of a network, and the options that say what one by name is: its weights and its input."""
    by_name = "networks by name"
    parser.add_argument("network", type=str, nargs="?", help=f"Run directory, or {NETWORKS}.")
    parser.add_argument(
        "--model", type=str | None, group=by_name, help="A network by name, instead of naming it first."
    )
    add_weight_options(parser)


def add_weight_options(parser: Parser) -> None:
    """Add the options that say what networks by name are: their weights and their input."""
    by_name = "networks by name"
    weights = "For a network by name: a .safetensors or .pth state dict, or default for the weights that torchvision "
    weights += "or timm publish (downloaded once); for several, once each in their order, or as NAME=FILE, such as "
    weights += "torchvision:resnet18=mine.pth."
    parser.add_argument("--weights", type=str, action="append", group=by_name, help=weights)
    parser.add_argument(
        "--mean",
        type=float,
        nargs="+",
        default=[],
        group=by_name,
        rare=True,
        help="Mean of their input; default ImageNet's.",
    )
    parser.add_argument(
        "--std", type=float, nargs="+", default=[], group=by_name, rare=True, help="Standard deviation of their input."
    )
    parser.add_argument(
        "--image_size",
        type=int | None,
        group=by_name,
        rare=True,
        limit=at_least(1),
        help="Side of their images; default 224 for most.",
    )


def add_data_options(parser: Parser, purpose: str) -> None:
    """Add the options that `NamedNetwork.data` reads, and the device; `purpose` says what the data are for."""
    where = "where, and on what"
    parser.add_argument("--data", type=str | None, group="images", help=purpose)
    parser.add_argument("--data_dir", type=Path | None, group=where, rare=True, help="Where downloaded sets live.")
    parser.add_argument(
        "--cache_dir", type=Path | None, group=where, rare=True, help="Where decoded images are cached."
    )
    parser.add_argument("--device", type=str, choices=DEVICES, default="auto", group=where, help="Where to compute.")


def read_words(parser: Parser, words: Sequence[str]) -> dict[str, Any]:
    """Read a command line where networks and images may stand among the options, and in any order."""
    return parser.read(words)


def networks_and_images(options: Options) -> tuple[list[str], list[Path]]:
    """Tell the names of the networks in front, at least one, from the images after them."""
    words = [word for word in (options["model"], options["network"], *options["images"]) if word is not None]
    if not words:
        raise ArgumentError(f"no network is named; pass a run directory, or {NETWORKS}.")
    last = 1
    while last < len(words) and (_by_name(words[last]) or is_run(words[last])):
        last += 1
    return words[:last], [Path(word) for word in words[last:]]


def _by_name(word: str, prefixes: Sequence[str] = _NAMED) -> bool:
    """Tell the name of a network from a path."""
    prefix, _, rest = word.partition(":")
    return bool(rest) and prefix in prefixes


def is_built(name: str) -> bool:
    """Tell a network that is built by its name, for images of any size, from one that has its weights and its own."""
    return _by_name(name, _WEIGHTLESS)


def _apart(name: str) -> tuple[str, str | None]:
    """Tell a network by name from the weights that it is given, as NAME=WEIGHTS."""
    network, equals, weights = name.partition("=")
    return (network, weights) if equals and _by_name(name, _WEIGHTLESS) else (name, None)


def check_named(names: Iterable[str | None], data: str | None = None, weights: Iterable[str] | None = None) -> None:
    """Raise an error if a word names no network and no run that has one, or data or weights are not there.

    Nothing is imported.
    """
    given = list(filter(None, names))
    for each in weights if weights and any(_by_name(name, _WEIGHTLESS) for name in given) else ():
        _check_weights(each)
    for name in given:
        _check_there(name)
        if is_hub(name):
            parse(name)
            check_installed(name)
        elif _by_name(name):
            network, own = _apart(name)
            known.check_model(network, "the network")
            known.check_model_there(network)
            _check_weights(own)
        elif is_run(name):
            check_trained(Path(name))
    if data is not None:
        known.check_data(data, "--data")
        known.check_data_there(data)


def _check_weights(name: str | None) -> None:
    if name is not None and is_hub(name):
        raise ArgumentError(f"{name} is a network with its weights, and not weights alone; name it by itself.")
    known.check_weights_there(name)


def _check_there(name: str) -> None:
    """Raise `RunError` unless a word names a network, or a path that exists and is nothing else."""
    if _by_name(name) or is_run(name):
        return
    if (other := known.other_than_a_run(name)) is not None:
        raise RunError(other)
    if os.path.exists(name):
        check_trained(Path(name))
    names = {key: f"torchvision:{key}" for key in known.torchvision_names()}
    names |= {key: f"pretrained:{key}" for key, _ in value("gradsculpt.models.PRETRAINED")}
    near = likely(name) or did_you_mean(Path(name).name, names, 3)
    raise RunError(
        f"there is no run directory {name}; pass the --out of a `gradsculpt train`, or the name of a network: "
        f"{NETWORKS}.{near}"
    )


def open_classifier(
    name: str,
    *,
    weights: str | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    image_size: int | None = None,
    device: str = "cpu",
    tell: Callable[[str], object] = lambda line: None,
) -> NamedNetwork:
    """Open the network of a run, or one by name; the arguments are the options of `add_network_options`.

    Who is to `tell` hears what takes long.
    Options that do not suit are an `ArgumentError`, a run without a network a `RunError`, other failures a
    `ModelError`.
    """
    _check_there(name)
    name, own = _apart(name)
    if own is not None and weights is not None:
        raise ArgumentError(f"{name} is given the weights {own} and {weights}; pass one of them.")
    weights, short = weights if own is None else own, name.rpartition(":")[2]
    from gradsculpt.inputs import InputSpace
    from gradsculpt.models import pretrained, with_weights

    if _by_name(name, _WEIGHTLESS):
        if weights is None:
            raise ArgumentError(
                f"{name} has no weights, and the maps of an untrained network say nothing; pass --weights FILE with a "
                "state dict (.safetensors or .pth), or --weights default for the published ones."
            )
        if {len(mean), len(std)} not in ({0}, {3}):
            raise ArgumentError(
                f"--mean has {counted(len(mean), 'numbers')} and --std {len(std)}; pass both with three, for "
                "red, green and blue."
            )
        space = InputSpace(tuple(mean), tuple(std)) if mean else None
        classifier = with_weights(name, weights, space=space, image_size=image_size)
        about = f"{name}, {'its published weights' if weights == value(_DEFAULT) else f'weights {Path(weights).name}'}"
        return NamedNetwork(short, classifier.to(find_device(device)), about=printable(about))
    if weights is not None or mean or std or image_size is not None:
        raise ArgumentError(
            f"{name} has its own weights, mean, std and image size; leave --weights, --mean, --std and --image-size "
            "away, or name a network that has none."
        )
    if is_hub(name):
        return open_published(parse(name), device, tell)
    if _by_name(name):
        return NamedNetwork(short, pretrained(short).to(find_device(device)), about=f"{name}, its published weights")
    return open_run(Path(name), device)


def the_name(options: Options) -> str:
    """Return the name of the one network that a command takes, of `network` and `model`."""
    names: list[str] = [name for name in (options["network"], options["model"]) if name is not None]
    if len(names) != 1:
        told = f"two networks are named, {' and '.join(names)}" if names else "no network is named"
        raise ArgumentError(f"{told}; pass one: a run directory, or {NETWORKS}.")
    return names[0]


def named_network(options: Options, reporter: Reporter | None = None) -> NamedNetwork:
    """Open the one network that a command names, by `network` or `model`, with the options of networks by name.

    It is told if its training is unfinished.
    """
    name = the_name(options)
    weights, tell = options["weights"] or [None], reporter or Reporter()
    if len(weights) > 1:
        raise ArgumentError(f"there are {len(weights)} --weights for one network; pass one.")
    its = _input_settings(options)
    network = open_classifier(name, weights=weights[0], **its, device=options["device"], tell=tell.say)
    _tell_of_unfinished([network], tell)
    return network


def check_weights_fit(names: Sequence[str], options: Options) -> list[dict[str, Any]]:
    """Return what `open_classifier` is to be told of each network: weights go to those that take any, in their order.

    Raises `RunError` if one is not there, `ArgumentError` if weights or other options suit none.
    """
    for name in names:
        _check_there(name)
    wanting = [name for name in names if _by_name(name, _WEIGHTLESS) and _apart(name)[1] is None]
    if options["weights"] and len(options["weights"]) != len(wanting):
        raise ArgumentError(
            f"there are {len(options['weights'])} --weights for {counted(len(wanting), 'networks')} without weights "
            f"({', '.join(wanting) or 'runs and pretrained networks have their own'}); pass --weights FILE once for "
            "each, in the order of the networks."
        )
    settings = _input_settings(options)
    takes = [name for name in names if _by_name(name, _WEIGHTLESS)]
    if settings and not takes:
        raise ArgumentError(f"--{next(iter(settings)).replace('_', '-')} is only for networks that --weights are for.")
    weights = iter(options["weights"] or [])
    return [
        {"weights": next(weights, None) if name in wanting else None, **(settings if name in takes else {})}
        for name in names
    ]


def named_networks(names: Sequence[str], options: Options, reporter: Reporter | None = None) -> list[NamedNetwork]:
    """Open networks, and give those of one name different ones; weights go to those that take any, in their order.

    It is told of each whose training is unfinished.
    """
    given = check_weights_fit(names, options)
    tell = reporter or Reporter()
    opened = [
        open_classifier(name, **its, device=options["device"], tell=tell.say)
        for name, its in zip(names, given, strict=True)
    ]
    _tell_of_unfinished(opened, tell)
    unlike = numbered(network.name for network in opened)
    return [replace(network, name=name) for network, name in zip(opened, unlike, strict=True)]


def _tell_of_unfinished(networks: Iterable[NamedNetwork], reporter: Reporter) -> None:
    for network in networks:
        reached = network.classifier.reached
        if isinstance(network, Run) and reached is not None and not reached.finished:
            reporter.say(f"note: {network.where} is unfinished: this is {reached}")


def _input_settings(options: Options) -> dict[str, Any]:
    return {name: options[name] for name in ("mean", "std", "image_size") if options[name]}
