"""Networks that a command works on, opened: a run with its data, one that was shared, or one by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradsculpt.cli.parser import Options
from gradsculpt.cli.process import find_device
from gradsculpt.cli.settings import read_settings, unused_places
from gradsculpt.cli.sized import bounds_of
from gradsculpt.errors import ArgumentError, GradsculptError
from gradsculpt.hub import HubName
from gradsculpt.progress import Reporter
from gradsculpt.runs import CONFIG
from gradsculpt.wording import printable

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.data import Splits
    from gradsculpt.models import Classifier
    from gradsculpt.training import TrainSettings


@dataclass(frozen=True)
class NamedNetwork:
    """A classifier that a command works on, in eval mode and on the device that was asked for."""

    name: str
    """A short one: that of the run directory, or the last part of the network's."""
    classifier: Classifier
    about: str = field(default="", kw_only=True)
    """What it is, in a line: its name and weights, or what it was trained with."""

    @property
    def home(self) -> Path | None:
        """The folder of its own scores, where it has one."""
        return None

    @property
    def own_data(self) -> str | None:
        """The data that it was trained on, by name, where it brings them."""
        return None

    @property
    def without_data(self) -> str:
        """What to say of it where data are wanted, and none are named."""
        return f"{self.name} is no run with data of its own; pass --data, as folder:PHOTOS."

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The network's input for black and for white, [1, C, 1, 1] each."""
        return bounds_of(self.classifier)

    def probabilities(self, images01: Tensor) -> Tensor:
        """Return the probability of every class, [N, K], of images [N, 3, S, S] in [0, 1]."""
        return self.classifier.probabilities(images01)

    def data(self, options: Options, reporter: Reporter) -> Splits:
        """Return images at the size of the classifier; the classes are those of the data.

        Options are those of `add_data_options`, and `out`, where downloads and decoded images go by default.
        """
        from gradsculpt.training import TrainSettings, open_data

        if options["data"] is None:
            raise ArgumentError(self.without_data)
        given = {name: options[name] for name in ("out", "data", "data_dir", "cache_dir")}
        given["strict"] = options.get("strict", False)
        return open_data(TrainSettings(**given, image_size=self.classifier.image_size), reporter)


@dataclass(frozen=True)
class Run(NamedNetwork):
    """The network of a training, of which one epoch at least is whole, with the run directory and its settings."""

    path: Path
    settings: TrainSettings

    @property
    def home(self) -> Path | None:
        """The run directory."""
        return self.path

    @property
    def own_data(self) -> str | None:
        """Those of the training."""
        return self.settings.data

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return str(self.path)

    def data(self, options: Options, reporter: Reporter) -> Splits:
        """Return the run's own data, or those that are named; raise `ArgumentError` if their classes are others."""
        splits = self.splits(options, reporter)
        if splits.test.classes != self.classifier.classes:
            raise ArgumentError(
                f"{options['data'] or self.settings.data} has the classes {', '.join(splits.test.classes[:5])}... but "
                f"{self.where} was trained on {', '.join(self.classifier.classes[:5])}...; pass --data with the "
                "classes of the run."
            )
        return splits

    def splits(self, options: Options, reporter: Reporter, image_size: int | None = None) -> Splits:
        """Return the run's own data, or those that are named, whatever their classes, at its size or another."""
        from gradsculpt.training import open_data

        places: dict[str, Any] = {name: options[name] for name in ("data_dir", "cache_dir")}
        reporter.say(*unused_places(self.path, options))
        settings = replace(self.settings, **places, image_size=image_size or self.classifier.image_size)
        settings = replace(settings, strict=settings.strict or options.get("strict", False))
        if options["data"] not in (None, settings.data):
            settings = replace(settings, data=options["data"], train_count=None, swap=0, shuffle_labels=False)
        return open_data(settings, reporter)


@dataclass(frozen=True)
class Published(Run):
    """The network of a run that was shared on the Hub; its folder is of the Hub's cache, and nothing is written there.

    Args:
        source: What it goes by on the Hub.
    """

    source: HubName

    @property
    def home(self) -> Path | None:
        """None, as the cache is nobody's place for scores."""
        return None

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return str(self.source)

    @property
    def own_data(self) -> str | None:
        """Those of the training, where everybody has them."""
        return None if ":" in self.settings.data else self.settings.data

    @property
    def without_data(self) -> str:
        """What to say of it where data are wanted, and none are named."""
        return (
            f"{self.source} was trained on images of somebody's own ({self.settings.data}), which are not shared with "
            "it; pass --data, as folder:PHOTOS."
        )

    def splits(self, options: Options, reporter: Reporter, image_size: int | None = None) -> Splits:
        """Return the data that it was trained on, where it brings them, or those that are named."""
        if options["data"] is None and self.own_data is None:
            raise ArgumentError(self.without_data)
        own = replace(self, settings=replace(self.settings, out=options["out"]))
        return super(Published, own).splits(options, reporter, image_size)


def open_run(path: Path, device: str = "cpu") -> Run:
    """Open a run, finished or not, on a device; raise as `load` and `find_device` do."""
    from gradsculpt.models import load

    classifier = load(path).to(find_device(device))
    settings = _settings(path)
    return Run(printable(path.resolve().name), classifier, path, settings, about=repr(settings.objective))


def open_published(
    name: HubName, device: str = "cpu", tell: Callable[[str], object] = lambda line: None
) -> NamedNetwork:
    """Open a network of the Hub, as a stranger's run is opened; raise as `fetch` and `load` do.

    Settings that cannot be read here, as they name code of somebody's own for instance, keep nobody from the network:
    it then brings no data. Who is to `tell` hears of that, and what takes long.
    """
    from gradsculpt.hub.fetching import fetched
    from gradsculpt.models import load

    with fetched(name, tell) as path:
        classifier = load(path).to(find_device(device))
    try:
        settings = _settings(path)
    except GradsculptError as error:
        tell(f"note: what {name} was trained with cannot be read here, so it brings no data of its own: {error}")
        return NamedNetwork(name.name, classifier, about=str(name))
    return Published(name.name, classifier, path, settings, name, about=f"{name}, {settings.objective!r}")


def _settings(path: Path) -> TrainSettings:
    from gradsculpt.training.resuming import run_config

    run_config(path / CONFIG)
    return read_settings(["--config", str(path / CONFIG), "--out", str(path)])
