"""Train, small: a standard network and a sculpted one, the map of one image watched while they learn."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import yaml

from gradsculpt.cli.catalogue import sections
from gradsculpt.cli.folder import file_name
from gradsculpt.cli.images import pixels01
from gradsculpt.cli.known import RECIPES
from gradsculpt.cli.settings import read_settings
from gradsculpt.errors import ArgumentError, RunError
from gradsculpt.progress import Reporter
from gradsculpt.report import read_curve
from gradsculpt.report.meaning import of_map, percent
from gradsculpt.report.plots import Plot, training_plots
from gradsculpt.runs import CHECKPOINTS
from gradsculpt.viewer.archives import Limits as ArchiveLimits
from gradsculpt.viewer.archives import archive
from gradsculpt.viewer.told import without_paths
from gradsculpt.viewer.work import Done, Step, Ticket, heard
from gradsculpt.visualize import colour
from gradsculpt.wording import counted, printable

if TYPE_CHECKING:
    from gradsculpt.data import ImageSet
    from gradsculpt.data.base import Bytes
    from gradsculpt.models import Classifier
    from gradsculpt.training import TrainSettings

CELLS = ""
"""What stands for the built-in cells, where other data are an archive."""

_CELLS = "cells"

STANDARD, USUAL = "standard", "elastic-net"

EPOCHS, IMAGES, SIDE = (1, 12), (200, 4000), 64
"""Fewest and most epochs, fewest and most training images, and the side of the images in pixels."""

SECONDS = 130
"""What each of the two trainings may take; one that takes longer stops in good order, and can be used."""

KEPT = 12
"""How many pairs of trainings are kept at once."""

_COMMON = f"--model convnet --image-size {SIDE} --batch-size 64 --lr 0.005 --max-time {SECONDS}s --graphs off"
# A training of a few hundred steps on small images needs a stronger hand to change its maps than one of 200 epochs.
_STRONGER = {"elastic-net": "--objective.penalty.l1 0.03", "l1": "--objective.penalty.weight 0.03"}
_FOR_OTHERS = ("imagenet", "resnet18")  # whose weights belong to those data and networks


@dataclass(frozen=True)
class Moment:
    """The map of the image after so many epochs, 0 before the first.

    Args:
        epochs: How many there were.
        picture: The map as a picture, uint8 [S, S, 3].
        probability: That of the true class, in [0, 1].
        text: How concentrated the map is, in a sentence.
    """

    epochs: int
    picture: Bytes
    probability: float
    text: str


@dataclass(frozen=True)
class Course:
    """How one training went so far: what it is called, the map after each epoch, and the rows of its metrics.

    `held_out` is on how many images, not trained on, it was tried; `run` is its folder when it has ended.
    """

    title: str
    held_out: int = 0
    moments: tuple[Moment, ...] = ()
    rows: tuple[Mapping[str, str], ...] = ()
    run: Path | None = None

    @property
    def told(self) -> str:
        """How far it is, and how often it is right on images that it was not trained on."""
        if not self.rows:
            return "not trained yet" if not self.moments else "in its first epoch"
        accuracy = self.rows[-1].get("val_accuracy")
        others = f"{counted(self.held_out, 'images')} that it was not trained on"
        right = f", right on {percent(float(accuracy))} of {others}" if accuracy else ""
        return f"{counted(len(self.rows), 'epochs')}{right}"


@dataclass(frozen=True)
class Sculpted:
    """Two trainings beside each other, or as much of them as there is; the image, its class, and its name."""

    image: Bytes
    label: str
    courses: tuple[Course, ...]
    notes: tuple[str, ...] = ()

    def plots(self) -> list[Plot]:
        """Return the plots of the losses, the accuracies and the sparsities of the maps by epoch, as there are any."""
        shown = [course for course in self.courses if course.rows]
        return training_plots([course.title for course in shown], [course.rows for course in shown]) if shown else []


def recipes() -> list[tuple[str, str]]:
    """Return the names of recipes that fit, with a line on each: methods that train a network from nothing.

    Left out are those that name a network, start from weights, want a teacher, permute the labels, only say how long
    and on what is trained, or have weights for one set of photographs.
    """
    told = dict(sections()["recipes"])
    return [(name, told[name]) for name in sorted(told) if name != STANDARD and _fits(name)]


def _fits(name: str) -> bool:
    content = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    objective = str(content.get("objective", ""))
    other = any(part in name for part in _FOR_OTHERS) or {"model", "weights", "shuffle_labels"} & content.keys()
    return bool(objective) and "ExplanationDistillation" not in objective and not other


@dataclass(frozen=True)
class Sculpt:
    """Work: train a standard network, then a sculpted one, on the same images from the same weights.

    Args:
        place: Where the two runs, and images that were uploaded, are kept, in a new folder.
        recipe: How the sculpted one is trained.
        data: `CELLS`, or the file of an archive of class folders.
        name: What the archive is called.
        epochs: Of each training.
        images: Training images of the cells; of an archive, all are taken.
        device: Where to train.

    Yields steps with what there is so far, and in the end `Done` with two finished runs; a training that is cancelled
    or goes wrong leaves nothing.

    Raises: ArgumentError, at once, if a number is out of range or the recipe does not fit.
    """

    place: Path
    recipe: str = USUAL
    data: Path | str = CELLS
    name: str = ""
    epochs: int = 6
    images: int = 2000
    device: str = "auto"
    seed: int = 0
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)

    def __post_init__(self) -> None:
        for told, value, (low, high) in (("epochs", self.epochs, EPOCHS), ("training images", self.images, IMAGES)):
            if not low <= value <= high:
                raise ArgumentError(f"{value} {told} are not between {low} and {high}; choose fewer or more.")
        if self.recipe not in dict(recipes()):
            raise ArgumentError(f"the recipe {printable(self.recipe)} does not fit here; choose another.")

    def __call__(self, ticket: Ticket) -> Iterator[Step | Done[Sculpted]]:
        """Do the work."""
        if len(_kept(self.place)) >= KEPT:
            raise RunError(
                f"{KEPT} trainings of the page are kept already; start the page anew, or with another --out, for more."
            )
        self.place.mkdir(parents=True, exist_ok=True)
        folder, at_work = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self.place)), threading.Lock()
        try:
            made = yield from self._trained(ticket, folder, at_work)
        except BaseException:
            ticket.cancel()
            with at_work:  # until it has ended, it would write what is removed here
                shutil.rmtree(folder, ignore_errors=True)
            raise
        yield Done(made)

    def _trained(self, ticket: Ticket, folder: Path, at_work: threading.Lock) -> Generator[Step, None, Sculpted]:
        data = _CELLS
        if self.data != CELLS:
            yield Step("unpacking the images")
            data = f"folder:{archive(Path(self.data), folder / 'images', self.name, self.limits, ticket.check)}"
        yield Step("getting ready")
        settings = [self._settings(data, recipe, folder) for recipe in (STANDARD, self.recipe)]
        watch = _Watch(settings, [STANDARD, f"sculpted: {self.recipe}"], at_work)
        yield Step("reading the images")
        yield from _relayed(heard(ticket, watch.open), watch, None)
        for i in range(len(settings)):
            train = partial(watch.train, i)
            yield from _relayed(heard(ticket, train), watch, (i / len(settings), (i + 1) / len(settings)))
        return watch.seen

    def _settings(self, data: str, recipe: str, folder: Path) -> TrainSettings:
        words = [*_COMMON.split(), "--data", data, "--recipe", recipe, "--epochs", str(self.epochs)]
        words += ["--train-count", str(self.images)] if data == _CELLS else []
        words += ["--out", str(folder / file_name(recipe)), "--device", self.device, "--seed", str(self.seed)]
        words += _STRONGER.get(recipe, "").split()
        return read_settings(words)


_PREFIX = "training-"


def _kept(place: Path) -> list[Path]:
    return list(place.glob(f"{_PREFIX}*")) if place.is_dir() else []


def _relayed(steps: Generator[Step, None, None], watch: _Watch, within: tuple[float, float] | None) -> Iterator[Step]:
    """Yield steps, with what there is to be seen so far whenever that is new.

    Shares of a training are those of its part `within` the whole; lines between its steps keep the share before them.
    """
    shown, share = watch.snapshot, None if within is None else within[0]
    for step in steps:
        if within is None:
            share = step.share
        elif step.share is not None and step.text.startswith(_TRAINING):
            share = within[0] + step.share * (within[1] - within[0])
        fresh = watch.snapshot is not shown
        shown = watch.snapshot
        yield Step(_plain(step.text), share, shown if fresh else None)


def _plain(line: str) -> str:
    """Return a line of a training's log in words, without the place of its images."""
    if epoch := re.match(r"epoch (\d+)/(\d+)  train_loss (\S+)", line):
        return "epoch {} of {} is done, with a loss of {}".format(*epoch.groups())
    return without_paths(line).removeprefix("folder:")


_TRAINING = "training "


class _Watch:
    """Trains, and keeps what is to be seen of it: the image, its maps, and the rows of metrics.

    Args:
        settings: Of the trainings; the images of the first are watched.
        titles: What each is called.
        at_work: Held while anything is read or trained.
    """

    def __init__(self, settings: Sequence[TrainSettings], titles: Sequence[str], at_work: threading.Lock) -> None:
        self._settings, self._courses, self._at_work = settings, [Course(title) for title in titles], at_work
        self._images: ImageSet | None = None
        self._at = 0
        self._notes: tuple[str, ...] = ()
        self.snapshot: Sculpted | None = None

    @property
    def images(self) -> ImageSet:
        """The images that the watched one is among. Raises `RunError` if they were not read."""
        if self._images is None:
            raise RunError("the images were not read; train again.")
        return self._images

    @property
    def seen(self) -> Sculpted:
        """All that is to be seen. Raises `RunError` if the images were not read."""
        label = printable(self.images.classes[int(self.images.labels[self._at])])
        return Sculpted(np.array(self.images.images[self._at]), label, tuple(self._courses), self._notes)

    def open(self, reporter: Reporter) -> None:
        """Read the images, refuse what cannot be trained, and choose the image whose map is watched.

        It is the first of those held out that has true regions, or of all where none is known.
        """
        from gradsculpt.data import outline_of
        from gradsculpt.training import open_data
        from gradsculpt.training.fitting import quietly
        from gradsculpt.training.preparation import prepare

        with self._at_work, quietly():
            splits = open_data(self._settings[0], reporter)
            for settings in self._settings:
                prepare(settings, outline_of(splits), reporter)
            self._images = splits.val if len(splits.val) else splits.train
            truth = self._images.attention
            marked = (i for i in range(len(self._images)) if truth is not None and bool(np.asarray(truth[i]).any()))
            self._at = next(marked, 0)
            self._courses = [replace(course, held_out=len(splits.val)) for course in self._courses]
            if splits.skipped:
                left = counted(len(splits.skipped), "images")
                self._notes = (f"{left} could not be read, and left out.",)
            self._tell()

    def train(self, i: int, reporter: Reporter) -> None:
        """Train one network; what stops the reporter stops it."""
        from gradsculpt.training import fit
        from gradsculpt.training.watching import Watcher

        settings, classes, size = self._settings[i], self.images.classes, self.images.images.shape[1]
        with self._at_work, reporter.work(f"{_TRAINING}{self._courses[i].title}", unit="steps") as tell:
            self._share_images(settings.out)
            fit(settings, reporter, callbacks=[Watcher(partial(self._look, i), tell, classes, size)])
            course = replace(self._courses[i], run=settings.out, rows=tuple(read_curve(settings.out)))
            self._courses[i] = course
            if len(course.rows) < settings.epochs:
                after = f"after {counted(len(course.rows), 'epochs')} of {settings.epochs}"
                self._notes += (f"{course.title}: its time of {SECONDS} seconds was over {after}.",)
            self._tell()

    def _share_images(self, out: Path) -> None:
        """Let a run have the images that were decoded for the first one."""
        decoded = self._settings[0].out / _CACHE
        if decoded.is_dir() and not (out / _CACHE).exists():
            shutil.copytree(decoded, out / _CACHE, copy_function=os.link, symlinks=True)

    def _look(self, i: int, classifier: Classifier, epochs: int) -> None:
        from gradsculpt.attributions import Gradient

        image = pixels01(np.array(self.images.images[self._at])[None], classifier.device)
        x, y = classifier.space.normalize(image), torch.tensor([int(self.images.labels[self._at])], device=image.device)
        maps = Gradient()(classifier.network, x, y).float().cpu()
        with torch.no_grad():
            probability = float(classifier(image).softmax(dim=1)[0, y])
        seen = Moment(epochs, colour(maps)[0], probability, of_map(maps[0])[0].text)
        course, rows = self._courses[i], tuple(read_curve(self._settings[i].out))
        self._courses[i] = replace(course, moments=(*course.moments, seen), rows=rows)
        self._tell()

    def _tell(self) -> None:
        self.snapshot = self.seen


def packed(runs: Sequence[Path], folder: Path) -> Path:
    """Return a zip of runs, without the images that they keep and what they could be resumed from, in a folder."""
    path = folder / f"{'-'.join(run.name for run in runs)}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for run in runs:
            for each in sorted(run.rglob("*")):
                inside = each.relative_to(run)
                if each.is_file() and inside.parts[0] not in (_CACHE, CHECKPOINTS):
                    file.write(each, f"{run.name}/{inside.as_posix()}")
    return path


_CACHE = "cache"
