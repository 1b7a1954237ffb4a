"""A folder of images, sorted into one folder a class."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gradsculpt.data.attention import AttentionMaps, find_attention
from gradsculpt.data.base import Bytes, Skipped, Splits
from gradsculpt.data.cache import Cached, Progress, Row, cached
from gradsculpt.data.decode import decode_with_size
from gradsculpt.data.listing import Listing, find_parts, list_images, some
from gradsculpt.data.parallel import ordered
from gradsculpt.data.splits import TEST_SEED, stratified_cut
from gradsculpt.errors import DataError

# Enough to see that something is wrong with many; the rest need not be decoded for it.
_MOST_MISFITS = 10


def load_folder(
    path: Path,
    *,
    size: int,
    cache_dir: Path,
    val_fraction: float = 0.1,
    seed: int = 0,
    strict: bool = False,
    progress: Progress | None = None,
) -> Splits:
    """Read `path`/train with `path`/val or `path`/test or both, or else one folder of class folders.

    If only one of val/ and test/ exists, it is the held-out test part, and validation is cut from train/. Of a single
    folder of class folders, `val_fraction` becomes validation and as much again test; no seed changes the test.
    Where people looked may stand in `path`/attention (see `AttentionFolder`), which is neither a class nor a part; an
    image without a map there counts as looked at nowhere, and a note says how many there are.

    Args:
        path: The folder.
        size: Side of the images, in pixels.
        cache_dir: Where decoded images are kept.
        val_fraction: Share of each class to cut off, 0 to 0.5.
        seed: Chooses the validation images.
        strict: Raise at the first file that cannot be decoded, instead of leaving it out.
        progress: Called as `progress(done, total)` while files are decoded.

    Returns:
        The three parts; an image's name is its path below `path`.

    Raises:
        DataError: If the folders are not as above, too many files cannot be decoded, or attention does not fit.
    """
    path = path.expanduser()
    if not path.is_dir():
        fact = "is not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {fact}; give the folder that holds one folder of images a class.")
    reader = FolderReader(path, size, cache_dir, strict, progress)
    parts = find_parts(path)
    # Every folder is listed before any is decoded: what is wrong with test/ should not wait for train/.
    listed = [(parts.train, list_images(parts.train))]
    listed += [(part, list_images(part, listed[0][1].classes)) for part in (parts.val, parts.test) if part]
    attention, notes = find_attention(path, listed)
    train, *others = (reader.read(*part, maps) for part, maps in zip(listed, attention, strict=True))
    skipped = tuple(item for part in (train, *others) for item in part.skipped)
    if len(others) == 2:
        return Splits(train.images, others[0].images, others[1].images, skipped, notes)
    if others:
        rest, val = stratified_cut(train.images, val_fraction, seed)
        return Splits(rest, val, others[0].images, skipped, notes)
    rest, test = stratified_cut(train.images, val_fraction, TEST_SEED)
    rest, val = stratified_cut(rest, val_fraction / (1 - val_fraction), seed)
    return Splits(rest, val, test, skipped, notes)


@dataclass(frozen=True)
class FolderReader:
    """Reads the parts of one folder of images, through the cache.

    Args:
        root: The folder; an image's name is its path below it.
        size: Side of the images, in pixels.
        cache_dir: Where decoded images are kept.
        strict: Raise at the first file that cannot be decoded.
        progress: Called as `progress(done, total)`.
    """

    root: Path
    size: int
    cache_dir: Path
    strict: bool
    progress: Progress | None

    def read(self, place: Path, listing: Listing, attention: AttentionMaps | None = None) -> Cached:
        """Return listed images, from the cache if nothing has changed, with what could not be used.

        Args:
            place: Where the list is from; each has a place of its own in the cache.
            listing: The images.
            attention: Their attention maps, if there are any.
        """
        names = [self._name(file) for file in listing.files]
        facts = [(name, *_size_and_time(file)) for name, file in zip(names, listing.files, strict=True)]
        identity: dict[str, object] = {"files": facts, "labels": listing.labels, "size": self.size}
        if attention is not None:
            identity["attention"] = [attention.facts(file) for file in listing.files]
        # Two folders of one name must not push each other out of the cache.
        mark = hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:8]
        found = cached(
            self.cache_dir,
            f"{_plain(place.resolve().name)}-{mark}-{self.size}",
            identity,
            listing.classes,
            lambda: self._decode_all(listing, names, attention),
        )
        if self.strict and found.skipped:
            raise DataError(found.skipped[0].reason)
        stray = (Skipped(self._name(file), "lies outside the class folders") for file in listing.stray)
        return Cached(found.images, (*found.skipped, *stray))

    def _decode_all(
        self, listing: Listing, names: list[str], attention: AttentionMaps | None
    ) -> Iterator[Row | Skipped]:
        total = len(names)
        bad = np.zeros(total, dtype=bool)
        misfits: list[DataError] = []
        for index, result in enumerate(ordered(lambda file: self._decode(file, attention), listing.files)):
            if isinstance(result, _Pixels):
                yield Row(result.image, listing.labels[index], names[index], result.attention)
            elif isinstance(result, _Misfit):
                misfits.append(result.error)
                if len(misfits) == _MOST_MISFITS:
                    break
            elif self.strict:
                raise result
            else:
                bad[index] = True
                yield Skipped(names[index], str(result))
            if self.progress is not None:
                self.progress(index + 1, total)
        _check_maps(misfits)
        _check_enough(listing, bad, names)

    def _decode(self, file: Path, attention: AttentionMaps | None) -> "_Pixels | _Misfit | DataError":
        try:
            image, shape = decode_with_size(file, self.size)
        except DataError as error:
            return error
        if attention is None:
            return _Pixels(image, None)
        if attention.facts(file) is None:
            return _Pixels(image, np.zeros((self.size, self.size), dtype=np.uint8))
        try:
            return _Pixels(image, attention.read(file, self.size, shape))
        except DataError as error:
            return _Misfit(error)

    def _name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class _Pixels:
    """A decoded image, and its map if the set has maps."""

    image: Bytes
    attention: Bytes | None


@dataclass(frozen=True)
class _Misfit:
    """What is wrong with the map of an image."""

    error: DataError


def _check_maps(misfits: list[DataError]) -> None:
    # A wrong map is no reason to lose an image, and training without it is not what was asked for.
    if len(misfits) == 1:
        raise misfits[0]
    if misfits:
        more = " or more" if len(misfits) == _MOST_MISFITS else ""
        raise DataError(f"{len(misfits)}{more} attention files cannot be used. The first: {misfits[0]}")


def _check_enough(listing: Listing, bad: npt.NDArray[np.bool_], names: list[str]) -> None:
    if not bad.any():
        return
    first = names[int(np.argmax(bad))]
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


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)[:40]
