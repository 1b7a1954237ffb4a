"""Runs and networks as the commands see them: the classifier, its settings, its data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gradsculpt.cli.parser import Parser
from gradsculpt.cli.process import find_device
from gradsculpt.cli.train import read_settings
from gradsculpt.data import Splits
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import PRETRAINED, Classifier, load, pretrained, with_weights
from gradsculpt.models.checkpoint import DESCRIPTION
from gradsculpt.models.sources import suggestion, torchvision_names
from gradsculpt.progress import Reporter
from gradsculpt.training import TrainSettings, open_data
from gradsculpt.training.run import CONFIG

NETWORKS = "torchvision:NAME, timm:NAME or python:MODULE:FACTORY (with --weights), or pretrained:efficientnet-lite0"

_PREFIXES = ("torchvision", "timm", "python", "pretrained")


@dataclass(frozen=True)
class Run:
    """A finished training.

    Args:
        path: The run directory.
        classifier: In eval mode.
        settings: What it was trained with.
    """

    path: Path
    classifier: Classifier
    settings: TrainSettings

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name

    def data(self, options: Mapping[str, Any], console: Console | None) -> Splits:
        """Return the run's own data, or another source seen at the run's image size.

        Args:
            options: `data`, `data_dir` and `cache_dir`, each None for the run's own.
            console: Where progress goes; None for nowhere.

        Raises:
            ArgumentError: If the classes are not those of the run.
        """
        settings = replace(
            self.settings,
            data_dir=options["data_dir"] or self.settings.data_dir,
            cache_dir=options["cache_dir"] or self.settings.cache_dir,
            image_size=self.classifier.image_size,
        )
        if options["data"] not in (None, settings.data):
            settings = replace(settings, data=options["data"], train_count=None, shuffle_labels=False)
        splits = open_data(settings, Reporter(console))
        if splits.test.classes != self.classifier.classes:
            raise ArgumentError(
                f"{settings.data} has the classes {', '.join(splits.test.classes[:5])}... but {self.path} was trained "
                f"on {', '.join(self.classifier.classes[:5])}...; pass --data with the classes of the run."
            )
        return splits


@dataclass(frozen=True)
class Subject:
    """A classifier that a command works on: that of a run, or a network by name.

    Args:
        name: A short name: that of the run directory, or the last part of the network's name.
        classifier: In eval mode, on the device that was asked for.
        run: The run that it belongs to; None for a network by name.
    """

    name: str
    classifier: Classifier
    run: Run | None = None

    def data(self, options: Mapping[str, Any], folder: Path, console: Console | None) -> Splits:
        """Return images at the size of the classifier: the data that `options` name, or else those of the run.

        The classes are those of the data; only a run insists that they are its own.

        Args:
            options: `data`, `data_dir` and `cache_dir`, each of which may be None.
            folder: Where downloads and decoded images go for a network by name, unless the options say otherwise.
            console: Where progress goes; None for nowhere.

        Raises:
            ArgumentError: If no data are named for a network by name, or a run was trained on other classes.
        """
        if self.run is not None:
            return self.run.data(options, console)
        if options["data"] is None:
            raise ArgumentError(f"{self.name} is no run with data of its own; pass --data.")
        settings = TrainSettings(
            out=folder,
            data=options["data"],
            data_dir=options["data_dir"],
            cache_dir=options["cache_dir"],
            image_size=self.classifier.image_size,
        )
        return open_data(settings, Reporter(console))


def open_run(path: Path, device: str = "cpu") -> Run:
    """Open a finished run, on a device.

    Raises:
        ArgumentError: If the device cannot be had.
        RunError: If the folder is no finished run.
        ModelError: If its network cannot be built here.
    """
    classifier = load(path).to(find_device(device))
    settings = read_settings(["--config", str(path / CONFIG), "--out", str(path)])
    return Run(path, classifier, settings)


def add_network_options(parser: Parser) -> None:
    """Add the options that say what a network by name is: its weights and its input."""
    parser.add_argument(
        "--weights",
        type=str,
        action="append",
        help="For a network by name: a .safetensors or .pth state dict, or default for the weights that torchvision or "
        "timm publish (downloaded once). With several such networks, once for each in their order.",
    )
    parser.add_argument("--mean", type=float, nargs="+", default=[], help="Mean of their input; default ImageNet's.")
    parser.add_argument("--std", type=float, nargs="+", default=[], help="Standard deviation of their input.")
    parser.add_argument("--image_size", type=int | None, help="Side of their images; default 224 for most.")


def by_name(word: str) -> bool:
    """Whether a word is the name of a network, and no path."""
    prefix, colon, rest = word.partition(":")
    return bool(colon and rest) and prefix in _PREFIXES


def is_run(word: str) -> bool:
    """Whether a word is the path of a run, finished or not."""
    return any((Path(word) / file).is_file() for file in (DESCRIPTION, CONFIG))


def takes_weights(word: str) -> bool:
    """Whether a word names a network that has to be given weights."""
    return by_name(word) and not word.startswith("pretrained:")


def check_there(name: str) -> None:
    """Raise `RunError` unless a word names a network or a path that exists."""
    if by_name(name) or Path(name).exists():
        return
    known = {key: f"torchvision:{key}" for key in torchvision_names()}
    known |= {key: f"pretrained:{key}" for key, _ in PRETRAINED}
    raise RunError(
        f"there is no run directory {name}; pass the --out of a `gradsculpt train`, or the name of a network: "
        f"{NETWORKS}.{suggestion(Path(name).name, known)}"
    )


def open_classifier(
    name: str,
    *,
    weights: str | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    image_size: int | None = None,
    device: str = "cpu",
) -> Subject:
    """Open the classifier of a run, or a network by name with weights.

    Args:
        name: A run directory, `torchvision:NAME`, `timm:NAME`, `python:MODULE:FACTORY` or `pretrained:NAME`.
        weights: For the networks that have none: a file with a state dict, or "default" for the published weights.
        mean: Mean of each channel of their input; empty for what the published weights expect, or else ImageNet's.
        std: Standard deviation of each channel, likewise; given together with `mean`.
        image_size: Side of their images; None for what the published weights expect, or else 224.
        device: auto, cpu, cuda or mps.

    Raises:
        ArgumentError: If weights or settings are missing, or given to a network that has its own.
        RunError: If the folder is no finished run.
        ModelError: If the network cannot be built here, or the weights cannot be had or do not fit.
    """
    if takes_weights(name):
        if weights is None:
            raise ArgumentError(
                f"{name} has no weights, and the maps of an untrained network say nothing; pass --weights FILE with a "
                "state dict (.safetensors or .pth), or --weights default for the published ones."
            )
        if {len(mean), len(std)} not in ({0}, {3}):
            raise ArgumentError(
                f"--mean has {len(mean)} numbers and --std {len(std)}; pass both with three, for red, green and blue."
            )
        space = InputSpace(mean, std) if mean else None
        classifier = with_weights(name, weights, space=space, image_size=image_size)
        return Subject(name.rpartition(":")[2], classifier.to(find_device(device)))
    if weights is not None or mean or std or image_size is not None:
        raise ArgumentError(
            f"{name} has its own weights, mean, std and image size; leave --weights, --mean, --std and --image-size "
            "away, or name a network that has none."
        )
    if by_name(name):
        classifier = pretrained(name.partition(":")[2])
        return Subject(name.partition(":")[2], classifier.to(find_device(device)))
    check_there(name)
    run = open_run(Path(name), device)
    return Subject(run.name, run.classifier, run)
