"""Runs as the commands see them: the classifier, its settings, its data."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gradsculpt.attributions import ATTRIBUTIONS, Attribution, Gradient
from gradsculpt.cli.process import find_device
from gradsculpt.cli.train import read_settings
from gradsculpt.data import Splits
from gradsculpt.errors import ArgumentError
from gradsculpt.models import Classifier, load
from gradsculpt.training import TrainSettings, open_data
from gradsculpt.training.run import CONFIG


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
        splits = open_data(settings, console)
        if splits.test.classes != self.classifier.classes:
            raise ArgumentError(
                f"{settings.data} has the classes {', '.join(splits.test.classes[:5])}... but {self.path} was trained "
                f"on {', '.join(self.classifier.classes[:5])}...; pass --data with the classes of the run."
            )
        return splits


def open_run(path: Path, device: str = "cpu") -> Run:
    """Open a finished run, on a device.

    Raises:
        ArgumentError: If the device cannot be had.
        RunError: If the folder is no finished run.
        ModelError: If its network cannot be built here.
    """
    classifier = load(path).to(find_device(device))
    settings, _ = read_settings(["--config", str(path / CONFIG), "--out", str(path)])
    return Run(path, classifier, settings)


def attribution(name: str, output: str) -> Attribution:
    """Return an attribution by its name in small letters.

    Raises:
        ArgumentError: If there is none of that name.
    """
    known = {cls.__name__.lower(): cls for cls in ATTRIBUTIONS}
    if name.lower() not in known:
        raise ArgumentError(f"--method {name} is not known; choose from {', '.join(known)}.")
    cls = known[name.lower()]
    takes = inspect.signature(cls).parameters
    settings: dict[str, Any] = {}
    if "output" in takes:
        settings["output"] = output
    elif "base" in takes:
        settings["base"] = Gradient(output)  # type: ignore[arg-type]
    return cls(**settings)
