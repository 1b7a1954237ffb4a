"""CUB-GHA: photographs of 200 kinds of birds, with maps of where experts looked."""

import csv
import io
import re
from pathlib import Path

from gradsculpt.data.base import Request, Splits
from gradsculpt.data.folder import read_parts
from gradsculpt.data.gaze import GazeMaps, by_image, read_recordings
from gradsculpt.data.listing import Listing
from gradsculpt.errors import DataError
from gradsculpt.reading import read_packed_text

_IMAGES, _GAZE = "CUB_200_2011", "cub_gha"
_RECORDING = re.compile(r"fixation.*\.txt(\.gz)?", re.IGNORECASE)


def load_cub_gha(request: Request) -> Splits:
    """Read CUB-200-2011 with gaze maps of CUB-GHA, split as in the study of harmonization.

    Its `data_dir` holds `CUB_200_2011/images/`, as its archive unpacks, and in `cub_gha/` the split as `train.csv` and
    `test.csv` (columns split, img, label, gaze) and the gaze recordings as `fixation*.txt`, each of these plain or
    as .gz. The recordings of all files count together. Raises `DataError` if one of these is missing or unreadable.

    Source: Wah et al. 2011 (CUB-200-2011); Rong et al., BMVC 2021 (CUB-GHA); Gong et al., CVPR 2024 (AdvGrad), B.8.
    Deviation: Images are scaled and cut as those of every source, not squeezed to 600 x 600.
    """
    root, gaze = request.data_dir / _IMAGES, request.data_dir / _GAZE
    lists = [_either(gaze / f"{part}.csv") for part in ("train", "test")]
    recordings = sorted(file for file in gaze.glob("*") if _RECORDING.fullmatch(file.name))
    wanted = {
        f"{_IMAGES}/images": (root / "images").is_dir(),
        f"{_GAZE}/train.csv": lists[0],
        f"{_GAZE}/test.csv": lists[1],
        f"{_GAZE}/fixation*.txt": recordings,
    }
    if missing := [name for name, there in wanted.items() if not there]:
        raise DataError(
            f"{request.data_dir} lacks {', '.join(missing)}, so there is no cub-gha to read; unpack CUB-200-2011 "
            f"there, put the split and the gaze recordings of CUB-GHA into {_GAZE}/, and pass --data-dir."
        )
    looks = by_image(look for file in recordings for look in read_recordings(file))
    listed = [(file, *read_list(file, root)) for file in lists if file]
    if listed[0][1].classes != listed[1][1].classes:
        raise DataError(f"{lists[0]} and {lists[1]} are of different classes; take both from one split.")
    pairs = [pair for _, listing, numbers in listed for pair in zip(listing.files, numbers, strict=True)]
    maps = GazeMaps({file: looks[number] for file, number in pairs if number in looks})
    places = [(place, listing) for place, listing, _ in listed]
    train, val, test, skipped = read_parts(root, places, [maps] * len(places), request)
    without = sum(number not in looks for _, number in pairs)
    note = f"{without} of {len(pairs)} images have no gaze recording: they count as looked at nowhere"
    return Splits(train, val, test, skipped, (note,) if without else ())


def read_list(path: Path, root: Path) -> tuple[Listing, list[int]]:
    """Return the images of a part, and the number that each has in the gaze recordings.

    Raises `DataError` if the list is in another format, or lacks whole classes.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_packed_text(path), newline="")))
        if not rows:
            raise ValueError("no lines")
        files = tuple(root / row["img"] for row in rows)
        labels = tuple(int(row["label"]) for row in rows)
        numbers = [int(Path(row["gaze"]).stem) for row in rows]
    except (OSError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no list of images with the columns img, label and gaze ({error!r}).") from error
    birds = [file.parent.name.partition(".")[2].replace("_", " ") for file in files]
    named = dict(zip(labels, birds, strict=True))
    if sorted(named) != list(range(len(named))):
        raise DataError(f"{path} lacks images of some classes, of which there are {len(named)}; take the whole list.")
    return Listing(tuple(named[label] for label in sorted(named)), files, labels, ()), numbers


def _either(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None
