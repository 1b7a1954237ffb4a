"""A folder of images, sorted into one folder a class."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gradsculpt.data.base import Bytes, Skipped, Splits
from gradsculpt.data.cache import Cached, Progress, Row, cached
from gradsculpt.data.decode import decode
from gradsculpt.data.listing import Listing, find_parts, list_images, some
from gradsculpt.data.parallel import ordered
from gradsculpt.data.splits import TEST_SEED, stratified_cut
from gradsculpt.errors import DataError


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
        DataError: If the folders are not as above, or too many files cannot be decoded.
    """
    path = path.expanduser()
    if not path.is_dir():
        fact = "is not a folder" if path.exists() else "does not exist"
        raise DataError(f"{path} {fact}; give the folder that holds one folder of images a class.")
    reader = _Reader(path, size, cache_dir, strict, progress)
    parts = find_parts(path)
    # Every folder is listed before any is decoded: what is wrong with test/ should not wait for train/.
    listed = [(parts.train, list_images(parts.train))]
    listed += [(part, list_images(part, listed[0][1].classes)) for part in (parts.val, parts.test) if part]
    train, *others = (reader.read(folder, listing) for folder, listing in listed)
    skipped = tuple(item for part in (train, *others) for item in part.skipped)
    if len(others) == 2:
        return Splits(train.images, others[0].images, others[1].images, skipped)
    if others:
        rest, val = stratified_cut(train.images, val_fraction, seed)
        return Splits(rest, val, others[0].images, skipped)
    rest, test = stratified_cut(train.images, val_fraction, TEST_SEED)
    rest, val = stratified_cut(rest, val_fraction / (1 - val_fraction), seed)
    return Splits(rest, val, test, skipped)


@dataclass(frozen=True)
class _Reader:
    """Reads the parts of one folder of images, through the cache."""

    root: Path
    size: int
    cache_dir: Path
    strict: bool
    progress: Progress | None

    def read(self, folder: Path, listing: Listing) -> Cached:
        """Return the listed images of a folder, from the cache if nothing has changed, with what could not be used."""
        names = [self._name(file) for file in listing.files]
        facts = [(name, *_size_and_time(file)) for name, file in zip(names, listing.files, strict=True)]
        # Two folders of one name must not push each other out of the cache.
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        found = cached(
            self.cache_dir,
            f"{_plain(folder.resolve().name)}-{place}-{self.size}",
            {"files": facts, "labels": listing.labels, "size": self.size},
            listing.classes,
            lambda: self._decode_all(listing, names),
        )
        if self.strict and found.skipped:
            raise DataError(found.skipped[0].reason)
        stray = (Skipped(self._name(file), "lies outside the class folders") for file in listing.stray)
        return Cached(found.images, (*found.skipped, *stray))

    def _decode_all(self, listing: Listing, names: list[str]) -> Iterator[Row | Skipped]:
        total = len(names)
        bad = np.zeros(total, dtype=bool)

        def attempt(file: Path) -> Bytes | DataError:
            try:
                return decode(file, self.size)
            except DataError as error:
                return error

        for index, result in enumerate(ordered(attempt, listing.files)):
            if not isinstance(result, DataError):
                yield Row(result, listing.labels[index], names[index])
            elif self.strict:
                raise result
            else:
                bad[index] = True
                yield Skipped(names[index], str(result))
            if self.progress is not None:
                self.progress(index + 1, total)
        _check_enough(listing, bad, names)

    def _name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()


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
