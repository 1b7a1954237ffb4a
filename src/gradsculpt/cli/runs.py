"""A network that a command works on, and its data; a run brings its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gradsculpt.cli.process import find_device
from gradsculpt.cli.settings import read_settings
from gradsculpt.data import Splits
from gradsculpt.errors import ArgumentError
from gradsculpt.models import Classifier, load
from gradsculpt.progress import Reporter
from gradsculpt.training import TrainSettings, open_data
from gradsculpt.training.run import CONFIG


@dataclass(frozen=True)
class NamedNetwork:
    """A classifier that a command works on, in eval mode and on the device that was asked for."""

    name: str
    """A short one: that of the run directory, or the last part of the network's."""
    classifier: Classifier

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The network's input for black and for white, [1, C, 1, 1] each."""
        low, high = self.classifier.space.bounds
        return low.to(self.classifier.device), high.to(self.classifier.device)

    def data(self, options: Mapping[str, Any], reporter: Reporter) -> Splits:
        """Return images at the size of the classifier; the classes are those of the data.

        Options are those of `add_data_options`, and `out`, where downloads and decoded images go by default.
        """
        if options["data"] is None:
            raise ArgumentError(f"{self.name} is no run with data of its own; pass --data.")
        given = {name: options[name] for name in ("out", "data", "data_dir", "cache_dir")}
        return open_data(TrainSettings(**given, image_size=self.classifier.image_size), reporter)


@dataclass(frozen=True)
class Run(NamedNetwork):
    """The network of a finished training, with the run directory and what it was trained with."""

    path: Path
    settings: TrainSettings

    def data(self, options: Mapping[str, Any], reporter: Reporter) -> Splits:
        """Return the run's own data, or those that are named; raise `ArgumentError` if their classes are others."""
        places = {name: options[name] or getattr(self.settings, name) for name in ("data_dir", "cache_dir")}
        settings = replace(self.settings, **places, image_size=self.classifier.image_size)
        if options["data"] not in (None, settings.data):
            settings = replace(settings, data=options["data"], train_count=None, shuffle_labels=False)
        splits = open_data(settings, reporter)
        if splits.test.classes != self.classifier.classes:
            raise ArgumentError(
                f"{settings.data} has the classes {', '.join(splits.test.classes[:5])}... but {self.path} was trained "
                f"on {', '.join(self.classifier.classes[:5])}...; pass --data with the classes of the run."
            )
        return splits


def open_run(path: Path, device: str = "cpu") -> Run:
    """Open a finished run, on a device; raise as `load` and `find_device` do."""
    classifier = load(path).to(find_device(device))
    settings = read_settings(["--config", str(path / CONFIG), "--out", str(path)])
    return Run(path.resolve().name, classifier, path, settings)
