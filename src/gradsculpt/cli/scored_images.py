"""The images that networks are scored on: the same for all of them, with what their classes are to each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradsculpt.cli.class_pairs import asked_classes
from gradsculpt.cli.classes import ClassMap, class_maps, unlabelled
from gradsculpt.cli.opened import NamedNetwork, Run
from gradsculpt.cli.parser import Options
from gradsculpt.data import ImageSet, Skipped, loader, to_float
from gradsculpt.data.base import Request
from gradsculpt.data.photos import Photos, list_photos, read_photos
from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.models import Classifier
from gradsculpt.progress import Reporter
from gradsculpt.wording import counted

_ALL = "all"
SPLITS = ("test", "val", "train", _ALL)

Labels = npt.NDArray[np.int64]

_TOLD = 10


@dataclass(frozen=True)
class ScoredImages:
    """Images at the size of one network, with the labels and classes of the data.

    Args:
        labelled: Whether the data say what is on them.
        left_out: How many images of which classes are not among them, as one of the networks does not know the class.
        source: What a scorecard notes of where they are from.
    """

    images: ImageSet
    class_map: ClassMap
    labelled: bool
    left_out: Mapping[str, int]
    source: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What a scorecard notes of them."""
        told = {"classes": self.class_map.told() if self.labelled else {}, "left_out": dict(self.left_out)}
        return {**self.source, **{key: value for key, value in told.items() if value}}

    def batches(self, classifier: Classifier, size: int) -> Iterator[tuple[Any, ...]]:
        """Yield batches whose labels are classes of the network."""
        for images, labels, attention, *_ in loader(self.images, size, shuffle=False):
            yield images, self.labels(classifier, images, labels), attention

    def labels(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        """Return the network's classes of images [N, 3, S, S] of labels [N]: the likeliest, where they may be several.

        So the prediction is the label just when it is any of them.
        """
        members = [self.class_map.members[label] for label in labels.tolist()]
        if self.class_map.single:
            return torch.tensor([places[0] for places in members])
        shares = to_float(images) if images.dtype == torch.uint8 else images
        probabilities = classifier.probabilities(shares.to(classifier.device)).cpu()
        chosen = [places[int(row[list(places)].argmax())] for row, places in zip(probabilities, members, strict=True)]
        return torch.tensor(chosen)

    def notes(self, name: str) -> list[str]:
        """Return what has to be known of the labels of a network of that name, a sentence each."""
        told, left = self.class_map.sentence(), sum(self.left_out.values())
        sentences = [f"For {name}, classes of the data stand for its own: {told}."] if told and self.labelled else []
        if self.labelled and not self.class_map.single:
            sentences.append(
                "Where one stands for several, any of them is right; maps, Brier score and log-likelihood are of the "
                "likeliest of them."
            )
        if left:
            counts = ", ".join(f"{count} of {name}" for name, count in list(self.left_out.items())[:_TOLD])
            sentences.append(f"{counted(left, 'images')} left out ({counts}), as unknown to a network or as asked.")
        if not self.labelled:
            sentences.append(
                "The photos have no classes, so nothing is said of accuracy; maps are of the class that is predicted."
            )
        return sentences


def scored_images(
    networks: Sequence[NamedNetwork],
    options: Options,
    reporter: Reporter,
    folder: Path,
    check: Callable[[bool], object] = lambda labelled: None,
) -> list[ScoredImages]:
    """Return the images that networks are scored on, at the size of each.

    Options are those of `add_protocol`; decoded images go below the folder where nothing else is said. Photos that are
    in no parts are taken as a whole for networks by name; of several runs' own data, those that all of them held out.
    Before any is decoded, `check` is called with whether they have labels. Raises `ArgumentError` or `DataError` if
    there are no such images, or classes do not suit.
    """
    runs = [network for network in networks if isinstance(network, Run)]
    data = options["data"] or next(filter(None, (network.own_data for network in runs)), None)
    if data is None:
        raise ArgumentError((runs or networks)[0].without_data)
    options = {**options, "data": data, "out": folder}
    photos = _photos(data, options, bool(runs))
    check(photos is None or photos.labelled)
    scored = _of_parts(networks, options, reporter) if photos is None else _of(photos, networks, options, reporter)
    for network, each in zip(networks, scored, strict=True):
        reporter.say(*(f"note: {note}" for note in each.class_map.notes), *each.notes(network.name))
    return scored


def _of(photos: Photos, networks: Sequence[NamedNetwork], options: Options, reporter: Reporter) -> list[ScoredImages]:
    """Return photographs that are scored as a whole; those that are not wanted are not decoded either."""
    maps = _maps(networks, photos.classes if photos.labelled else None, options)
    places, left_out = _chosen(np.array(photos.listing.labels), maps[0], options)
    photos = photos.subset(places.tolist())
    scored = []
    for i, (network, class_map) in enumerate(zip(networks, maps, strict=True)):
        images, skipped = _read(photos, network, options, Reporter() if i else reporter)
        if not photos.labelled:
            # Each goes by its own name, as there is no class to call it by.
            names = tuple(images.names)
            class_map = ClassMap(names, class_map.members * len(images), class_map.classes)
            images = replace(images, labels=np.arange(len(images)), classes=names)
        settings = {"data": options["data"], "skipped_files": len(skipped)}
        scored.append(ScoredImages(images, class_map, photos.labelled, left_out, settings))
    return scored


def _of_parts(networks: Sequence[NamedNetwork], options: Options, reporter: Reporter) -> list[ScoredImages]:
    """Return a part of data that are in parts, as a run splits them if there is one."""
    split, first = options["split"] or "test", next((each for each in networks if isinstance(each, Run)), None)
    sets, skipped = list[ImageSet](), 0
    for network in networks:
        teller = Reporter() if sets else reporter
        if isinstance(network, Run):
            splits = network.splits(options, teller)
        elif first is not None:
            splits = first.splits(options, teller, network.classifier.image_size)
        else:
            splits = network.data(options, teller)
        skipped = skipped if sets else len(splits.skipped)
        sets.append(getattr(splits, split))
    maps = _maps(networks, sets[0].classes, options)
    sets = _common(sets, networks, reporter)
    places, left_out = _chosen(sets[0].labels, maps[0], options)
    settings = {"data": options["data"], "split": split, "skipped_files": skipped}
    whole = len(places) == len(sets[0])
    return [
        ScoredImages(images if whole else images.subset(places), class_map, True, left_out, settings)
        for images, class_map in zip(sets, maps, strict=True)
    ]


def _maps(networks: Sequence[NamedNetwork], names: Sequence[str] | None, options: Options) -> list[ClassMap]:
    """Return what the classes of data are to each network; of photographs without classes if there are no names."""
    asked, classes = asked_classes(options), {network.name: network.classifier.classes for network in networks}
    if names is not None:
        maps = class_maps(classes, names, *asked, skip=options["skip_unknown"])
        return [maps[name] for name in classes]
    if any(asked):
        raise ArgumentError(f"{options['data']} has no class folders, so nothing can be mapped; leave --classes away.")
    return [unlabelled(each) for each in classes.values()]


def _chosen(labels: Labels, class_map: ClassMap, options: Options) -> tuple[Labels, dict[str, int]]:
    """Return which images are scored: of classes that are known, no more than are wanted; and how many are left out."""
    known = np.array([bool(places) for places in class_map.members])
    counts = np.bincount(labels[~known[labels]], minlength=len(known))
    left_out = {name: int(count) for name, count in zip(class_map.names, counts, strict=True) if count}
    places, limit = np.flatnonzero(known[labels]), options["limit"]
    if limit is not None and limit < len(places):  # the first ones would be of one class where they are sorted by it
        places = np.sort(np.random.default_rng(options["seed"]).choice(places, limit, replace=False))
    return places, left_out


def _photos(data: str, options: Options, runs: bool) -> Photos | None:
    """Return the folder of photographs that is scored as a whole, if it is one."""
    kind, _, place = data.partition(":")
    split, loose = options["split"], options["unlabelled"]
    photos = list_photos(Path(place), labelled=False if loose else None) if kind == "folder" else None
    if photos is None and (loose or split == _ALL):
        option = "--unlabelled" if loose else "--split all"
        raise ArgumentError(f"{option} is for a folder of photos that is in no parts, and {data} is; leave it away.")
    if photos is not None and not photos.labelled:
        if split not in (None, _ALL):
            raise ArgumentError(f"the photos of {data} have no classes and no parts; leave --split {split} away.")
        return photos
    return photos if split == _ALL or (split is None and not runs) else None


def _read(
    photos: Photos, network: NamedNetwork, options: Options, reporter: Reporter
) -> tuple[ImageSet, tuple[Skipped, ...]]:
    cache = options["cache_dir"] or options["out"] / "cache"
    with reporter.work("reading images") as tell:
        told: Any = {"progress": tell, "tell": lambda line: reporter.say(f"note: {line}")}
        request = Request(network.classifier.image_size, Path(), cache, strict=options["strict"], **told)
        try:
            images, skipped, notes = read_photos(photos, request)
        except OSError as error:
            raise DataError(f"{photos.root} cannot be read ({error}); check that it may be read.") from error
    of = f"of {len(images.classes)} classes" if photos.labelled else "without classes"
    reporter.say(f"{options['data']}: {counted(len(images), 'images')} {of}")
    if skipped:
        reporter.say(
            f"skipped {counted(len(skipped), 'unreadable images')}:",
            *(f"  {s.name}: {s.reason}" for s in skipped[:_TOLD]),
        )
    reporter.say(*(f"note: {note}" for note in notes))
    return images, skipped


def _common(sets: Sequence[ImageSet], networks: Sequence[NamedNetwork], reporter: Reporter) -> list[ImageSet]:
    """Return the images that are in all sets: each run holds out some by settings of its own."""
    if all(images.names == sets[0].names and images.classes == sets[0].classes for images in sets):
        return list(sets)
    odd = next(network.name for network, images in zip(networks, sets, strict=True) if images.names != sets[0].names)
    shared = set(sets[0].names).intersection(*(images.names for images in sets))
    if not shared:
        raise ArgumentError(
            f"{networks[0].name} and {odd} hold out no image in common; pass --data with images that suit both."
        )
    reporter.say(
        f"note: scored is what neither {networks[0].name} nor {odd} has seen, {counted(len(shared), 'images')}"
    )
    places = [{name: i for i, name in enumerate(images.names)} for images in sets]
    chosen = [name for name in sets[0].names if name in shared]
    return [
        images.subset(np.array([place[name] for name in chosen], dtype=np.int64))
        for images, place in zip(sets, places, strict=True)
    ]
