"""A folder of images, sorted into one folder a class."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from gradsculpt.data.attention import AttentionFolder, find_attention
from gradsculpt.data.base import TEST_SEED, Request, Skipped, Splits, stratified_cut
from gradsculpt.data.cache import Cached, Row, cached, ordered
from gradsculpt.data.decode import decode_with_size
from gradsculpt.data.gaze import GazeMaps
from gradsculpt.data.listing import Listing, find_parts, list_images, some
from gradsculpt.errors import DataError

# Enough to see that something is wrong with many; the rest need not be decoded for it.
_MOST_MISFITS = 10

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
    path, val_fraction = path.expanduser(), request.val_fraction
    if not path.is_dir():
        fact = "is not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {fact}; give the folder that holds one folder of images a class.")
    first, *others = find_parts(path)
    # Every folder is listed before any is decoded: what is wrong with test/ should not wait for train/.
    listed = [(first, list_images(first))]
    listed += [(part, list_images(part, listed[0][1].classes)) for part in others if part]
    attention, notes = find_attention(path, listed)
    read = [read_images(path, *part, maps, request) for part, maps in zip(listed, attention, strict=True)]
    train, *held_out = (part.images for part in read)
    skipped = tuple(item for part in read for item in part.skipped)
    if not held_out:
        train, *held_out = stratified_cut(train, val_fraction, TEST_SEED)
        val_fraction /= 1 - val_fraction
    if len(held_out) == 1:
        train, val = stratified_cut(train, val_fraction, request.seed)
        held_out = [val, *held_out]
    val, test = held_out
    return Splits(train, val, test, skipped, notes)


def read_images(root: Path, place: Path, listing: Listing, attention: AttentionMaps | None, request: Request) -> Cached:
    """Return listed images, named by their paths below `root`, with what could not be used.

    They come from the cache if nothing has changed; each `place` that a list is from has a set of its own there.
    """
    names = [file.relative_to(root).as_posix() for file in listing.files]
    facts = [(name, *_size_and_time(file)) for name, file in zip(names, listing.files, strict=True)]
    identity: dict[str, object] = {"files": facts, "labels": listing.labels, "size": request.size}
    if attention is not None:
        identity["attention"] = [attention.facts(file) for file in listing.files]
    # Two folders of one name must not push each other out of the cache.
    mark = hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:8]
    plain = "".join(letter if letter.isalnum() else "_" for letter in place.resolve().name)[:40]
    source = f"{plain}-{mark}-{request.size}"
    rows = partial(_rows, listing, names, attention, request)
    images = cached(request.cache_dir, source, identity, listing.classes, rows)
    if request.strict and images.skipped:
        raise DataError(images.skipped[0].reason)
    stray = (Skipped(file.relative_to(root).as_posix(), "lies outside the class folders") for file in listing.stray)
    return Cached(images.images, (*images.skipped, *stray))


def _rows(
    listing: Listing, names: list[str], attention: AttentionMaps | None, request: Request
) -> Iterator[Row | Skipped]:
    def decoded(index: int) -> Row | Skipped | DataError:
        file, name = listing.files[index], names[index]
        try:
            image, shape = decode_with_size(file, request.size)
        except DataError as error:
            return Skipped(name, str(error))
        try:
            looked = None if attention is None else attention.read(file, request.size, shape)
        except DataError as error:
            return error
        return Row(image, listing.labels[index], name, looked)

    bad = np.zeros(len(names), dtype=bool)
    misfits: list[DataError] = []
    for index, result in enumerate(ordered(decoded, range(len(names)))):
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


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        info = file.stat()
    except OSError:  # A dangling link: decoding it says so.
        return -1, -1
    return info.st_size, info.st_mtime_ns
