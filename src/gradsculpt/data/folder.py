"""A folder of images, sorted into one folder a class."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gradsculpt.data.attention import AttentionFolder, find_attention
from gradsculpt.data.base import Bytes, ImageSet, Request, Skipped, Splits, cut_parts, wanted
from gradsculpt.data.building import Row
from gradsculpt.data.cache import Cached, cached, ordered, workers
from gradsculpt.data.decoders import Decoders
from gradsculpt.data.gaze import GazeMaps
from gradsculpt.data.known_listing import remembered
from gradsculpt.data.listing import Listing, find_parts, size_and_time, some
from gradsculpt.errors import DataError
from gradsculpt.fingerprint import fingerprint

# Enough to see that something is wrong with many; the rest need not be decoded for it.
_MOST_MISFITS = 10
# Images that are read together, and the bytes of those: enough that handing them over costs little.
_MOST_TOGETHER, _TOGETHER = 64, 1 << 20

AttentionMaps = AttentionFolder | GazeMaps


def load_folder(path: Path, request: Request) -> Splits:
    """Read `path`/train with `path`/val or `path`/test or both, or else one folder of class folders.

    If only one of val/ and test/ exists, it is the held-out test part, and validation is cut from train/. Of a single
    folder of class folders, `val_fraction` becomes validation and as much again test; no seed changes the test.
    Images are named by their paths below `path`. Where people looked may stand in `path`/attention (see
    `AttentionFolder`), which is neither a class nor a part; an image without a map there counts as looked at nowhere,
    and a note says how many there are. Raises `DataError` if the folders are not as above, too many files cannot be
    decoded, or attention does not fit.
    """
    folder = find_folder(path, request.cache_dir)
    train, val, test, skipped = read_parts(folder.root, folder.listed, folder.attention, request)
    return Splits(train, val, test, skipped, folder.notes)


@dataclass(frozen=True)
class Folder:
    """What lies in a folder of images, before any is decoded.

    Args:
        listed: The parts, training first, each with the folder that it is in.
        attention: The maps of each part, None where it has none.
        notes: What a user should know about the maps.
    """

    root: Path
    listed: Sequence[tuple[Path, Listing]]
    attention: Sequence[AttentionMaps | None]
    notes: tuple[str, ...]


def find_folder(path: Path, store: Path | None = None) -> Folder:
    """List a folder of images as `load_folder` reads it; what it raises is raised here.

    The listing of many files is kept in the `store`, and used again as `remembered` says.
    """
    path = Path(os.path.expanduser(path))
    if not os.path.isdir(path):
        fact = "is not a folder" if os.path.exists(path) else "does not exist"
        raise DataError(f"{path} {fact}; give the folder that holds one folder of images a class.")
    first, *others = find_parts(path)
    # Every folder is listed before any is decoded: what is wrong with test/ should not wait for train/.
    listed = [(first, remembered(first, None, store))]
    listed += [(part, remembered(part, listed[0][1].classes, store)) for part in others if part]
    attention, notes = find_attention(path, listed)
    return Folder(path, listed, attention, notes)


def cut_listings(listings: Sequence[Listing], request: Request) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Return training, validation and test images, with the listing and the place in it [N, 2] for the pixels.

    They are the images that `cut_parts` would choose of sets in which every file can be decoded.
    """
    parts = []
    for number, listing in enumerate(listings):
        places = np.stack([np.full(len(listing.files), number), np.arange(len(listing.files))], axis=1)
        names = ("",) * len(places)
        parts.append(ImageSet(places, np.asarray(listing.labels, np.int64), listing.classes, names))
    train, val, test = cut_parts(parts, request)
    return wanted(train, request), val, test


def read_parts(
    root: Path,
    listed: Sequence[tuple[Path, Listing]],
    attention: Sequence[AttentionMaps | None],
    request: Request,
) -> tuple[ImageSet, ImageSet, ImageSet, tuple[Skipped, ...]]:
    """Return the training, validation and test images of some listings, and what was left out.

    Where only some training images are wanted, no others are decoded, unless one of those cannot be: then all are, as
    without a count, since which images are cut off depends on all that there are.
    """
    if request.train_count is not None:
        with suppress(DataError):  # what is wrong with few is told of all
            if (few := _few(root, listed, attention, request)) is not None:
                return few
    read = [read_images(root, *part, maps, request) for part, maps in zip(listed, attention, strict=True)]
    train, val, test = cut_parts([part.images for part in read], request)
    return wanted(train, request), val, test, tuple(item for part in read for item in part.skipped)


def _few(
    root: Path,
    listed: Sequence[tuple[Path, Listing]],
    attention: Sequence[AttentionMaps | None],
    request: Request,
) -> tuple[ImageSet, ImageSet, ImageSet, tuple[Skipped, ...]] | None:
    """Return what `read_parts` does; None if one of the images cannot be decoded."""
    parts = [np.asarray(part.images[:]) for part in cut_listings([listing for _, listing in listed], request)]
    every = np.concatenate(parts)
    chosen = [np.unique(every[every[:, 0] == number, 1]) for number in range(len(listed))]
    read = list[Cached]()
    for (place, listing), maps, indices in zip(listed, attention, chosen, strict=True):
        whole = len(indices) == len(listing.files)
        few = listing if whole else replace(listing.picked(indices), stray=listing.stray)
        read.append(read_images(root, place, few, maps, request, "" if whole else f"-{request.train_count}"))
        if len(read[-1].images) != len(indices):
            return None
    sets = []
    for part in parts:
        number = int(part[0, 0]) if len(part) else 0
        sets.append(read[number].images.subset(np.searchsorted(chosen[number], part[:, 1])))
    return sets[0], sets[1], sets[2], tuple(item for part in read for item in part.skipped)


def read_images(
    root: Path, place: Path, listing: Listing, attention: AttentionMaps | None, request: Request, kind: str = ""
) -> Cached:
    """Return listed images, named by their paths below `root`, with what could not be used.

    They come from the cache if nothing has changed; each `place` that a list is from has a set of its own there, and
    one more for each `kind` of selection from it.
    """
    names, facts = listing.names(root), listing.facts
    if facts is None:
        facts = np.array([size_and_time(file) for file in listing.files], np.int64).reshape(-1, 2)
    listing = replace(listing, facts=facts)
    labels = np.asarray(listing.labels, np.int64)
    identity: dict[str, object] = {"files": fingerprint(names, facts, labels), "size": request.size}
    if attention is not None:
        identity["attention"] = fingerprint(*(attention.facts(file) for file in listing.files))
    # Two folders of one name must not push each other out of the cache.
    mark = hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:8]
    plain = "".join(letter if letter.isalnum() else "_" for letter in place.resolve().name)[:40]
    source = f"{plain}-{mark}-{request.size}{kind}"
    rows = partial(_rows, listing, names, attention, request)
    room = len(names) * request.size**2 * (3 if attention is None else 4)
    images = cached(request.cache_dir, source, identity, listing.classes, rows, room, request.tell, rows)
    if request.strict and images.skipped:
        raise DataError(images.skipped[0].reason)
    stray = (Skipped(file.relative_to(root).as_posix(), "lies outside the class folders") for file in listing.stray)
    return Cached(images.images, (*images.skipped, *stray))


def _rows(
    listing: Listing,
    names: Sequence[str],
    attention: AttentionMaps | None,
    request: Request,
    done: Sequence[bool] = (),
) -> Iterator[Row | Skipped]:
    """Yield what the files give, after the first ones, of which it is told whether they gave an image."""
    decoders = Decoders(len(names) - len(done), workers())

    def read(places: range) -> list[Row | Skipped | DataError]:
        files = listing.files[places.start : places.stop]
        found = decoders(files, request.size)
        _check_unchanged(files, listing.facts, places)
        return [finished(place, image) for place, image in zip(places, found, strict=True)]

    def finished(place: int, found: tuple[Bytes, tuple[int, int]] | DataError) -> Row | Skipped | DataError:
        if isinstance(found, DataError):
            return Skipped(names[place], str(found))
        image, shape = found
        try:
            looked = None if attention is None else attention.read(listing.files[place], request.size, shape)
        except DataError as error:
            return error
        return Row(image, int(listing.labels[place]), names[place], looked)

    step = min(_MOST_TOGETHER, max(1, _TOGETHER // (3 * request.size**2)))
    shares = (range(start, min(start + step, len(names))) for start in range(len(done), len(names), step))
    # Threads end before the processes that work for them, however this ends.
    with decoders, closing(ordered(read, shares, 2 * workers())) as results:
        yield from _judged(chain.from_iterable(results), listing, names, request, done)


def _check_unchanged(files: Sequence[Path], facts: npt.NDArray[np.int64] | None, places: range) -> None:
    """Raise `DataError` if one of the files is not what it was when they were listed, at these places."""
    then = [] if facts is None else facts[places.start : places.stop].tolist()
    for file, fact in zip(files, then, strict=False):
        if size_and_time(file) != tuple(fact):
            how = "was changed" if file.exists() else "vanished"
            raise DataError(
                f"{file} {how} while the images were being read, so it is not known what would be learnt from. Leave "
                "the folder as it is meanwhile, and call it again."
            )


def _judged(
    results: Iterator[Row | Skipped | DataError],
    listing: Listing,
    names: Sequence[str],
    request: Request,
    done: Sequence[bool],
) -> Iterator[Row | Skipped]:
    """Yield images and what was left out; raise `DataError` if that is too much, or maps do not fit."""
    bad = np.zeros(len(names), dtype=bool)
    bad[: len(done)] = ~np.asarray(done, dtype=bool)
    misfits: list[DataError] = []
    for index, result in enumerate(results, start=len(done)):
        if isinstance(result, DataError):
            misfits.append(result)
            if len(misfits) == _MOST_MISFITS:
                break
        else:
            bad[index] = isinstance(result, Skipped)
            if isinstance(result, Skipped) and request.strict:
                raise DataError(result.reason)
            yield result
        request.progress(index + 1, len(names))
    # A wrong map is no reason to lose an image, and training without it is not what was asked for.
    if len(misfits) == 1:
        raise misfits[0]
    if misfits:
        more = " or more" if len(misfits) == _MOST_MISFITS else ""
        raise DataError(f"{len(misfits)}{more} attention files cannot be used. The first: {misfits[0]}")
    if bad.any():
        _check_enough(listing, bad, names[int(bad.argmax())])


def _check_enough(listing: Listing, bad: np.ndarray[tuple[int], np.dtype[np.bool_]], first: str) -> None:
    if 2 * bad.sum() > len(bad):
        raise DataError(
            f"{bad.sum()} of {len(bad)} image files cannot be decoded (the first is {first}), "
            "too many to go on; check that the files were copied completely."
        )
    labels = np.asarray(listing.labels)
    lost = [listing.classes[label] for label in np.unique(labels) if bad[labels == label].all()]
    if lost:
        raise DataError(
            f"no image file of {some(lost)} can be decoded (the first is {first}), so the class has no images; "
            "replace these files or remove the class."
        )
