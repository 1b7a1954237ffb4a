"""Listings of folders with many files, kept on disk: a folder is listed once, and then only looked over."""

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from gradsculpt.data.listing import Files, Listing, list_images, size_and_time
from gradsculpt.data.names import Names
from gradsculpt.files import whole

_MANY = 10_000  # files; fewer are listed in no time
_COARSE = 2 * 10**9  # nanoseconds within which a file system may give two changes one time
_UNSURE = -2  # the time of a folder that was changed so shortly before that it may be changed again in the same moment


def remembered(folder: Path, classes: tuple[str, ...] | None, store: Path | None) -> Listing:
    """List a folder as `list_images` does; what was listed before is in the `store`, if there is one.

    It is used again where the time of no folder has changed, so that no file was added, removed or renamed; sizes and
    times of all files are looked at anew. One that is damaged is none.
    """
    if store is None:
        return list_images(folder, classes)
    mark = hashlib.sha256(f"{folder.resolve()} {classes}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    place, started = store / f"listing-{mark}.npz", time.time_ns()
    if (listing := _read(place, folder)) is not None:
        return listing
    listing = list_images(folder, classes)
    if len(listing.files) >= _MANY:
        with suppress(OSError):  # what is not kept is listed again
            _write(place, folder, listing, started)
    return listing


def _write(place: Path, root: Path, listing: Listing, started: int) -> None:
    texts = {
        "names": listing.names(root),
        "classes": Names(listing.classes),
        "folders": Names(name for name, _ in listing.folders),
        "stray": Names(file.name for file in listing.stray),
    }
    times = [each if each < started - _COARSE else _UNSURE for _, each in listing.folders]
    arrays = {"labels": np.asarray(listing.labels, np.int32), "times": np.array(times, np.int64)}
    for name, each in texts.items():
        arrays[name], arrays[f"{name} lengths"] = each.packed()
    with whole(place, lasting=False) as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, digest=_digest(arrays))  # type: ignore[arg-type]


def _read(place: Path, folder: Path) -> Listing | None:
    """Return the listing that is kept of a folder; None if there is none, or it is not what is there now."""
    try:
        with np.load(place) as file:
            held = {name: file[name] for name in file.files}
        digest = held.pop("digest")
        if not np.array_equal(digest, _digest(held)):
            return None
        names, classes, folders, stray = (
            Names.unpacked(held[name], held[f"{name} lengths"]) for name in ("names", "classes", "folders", "stray")
        )
        for name, then in zip(folders, held["times"].tolist(), strict=True):
            if size_and_time(folder / name)[1] != then:
                return None
        if any(name.startswith("/") or ".." in name.split("/") for name in names):  # a file of somebody else
            return None
        facts = np.array([size_and_time(f"{folder}/{name}") for name in names], np.int64).reshape(-1, 2)
        labels = held["labels"].astype(np.int64)
        whole_one = len(labels) == len(names) and 0 <= labels.min() <= labels.max() < len(classes)
        astray = tuple(folder / Path(name).name for name in stray)
        return Listing(tuple(classes), Files(folder, names), labels, astray, facts) if whole_one else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, TypeError, IndexError):
        return None


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(arrays[name].tobytes())
    return np.frombuffer(digest.digest(), np.uint8)
