"""From where people's eyes rested on an image to a map of it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gradsculpt import checks
from gradsculpt.data.attention import check_fit
from gradsculpt.data.base import Bytes
from gradsculpt.data.decode import cut_square
from gradsculpt.errors import ArgumentError, DataError
from gradsculpt.reading import DocumentError, read_packed_text
from gradsculpt.wording import counted

Floats = npt.NDArray[np.float64]

DISPLAY = (1920, 1080)


@dataclass(frozen=True)
class Recording:
    """What one person looked at in one image.

    Args:
        image: Number of the image.
        size: Width and height of the image.
        magnification: Side of a pixel of the image on the display, in pixels of the display.
        fixations: float64 [F, 3]: x and y in pixels of the image, with 0, 0 its upper left corner, and the duration
            in ms.
    """

    image: int
    size: tuple[int, int]
    magnification: float
    fixations: Floats


def read_recordings(path: Path) -> list[Recording]:
    """Read gaze recordings in either format of CUB-GHA, plain or as .gz: one line a look at an image.

    A line of the recordings of single runs has image number, width and height, and three numbers a fixation: x and
    y in pixels of the image, and the duration in ms. A line of `Fixation.txt` has, before the fixations, also the
    width, height, left and top of the image on the display, and fixations in pixels of the display. The count of
    numbers tells them apart. Single runs do not say how large an image was shown; it is taken to fill a display of
    1920 x 1080, as the published maps do. Raises `DataError` if the file is unreadable, or a line in neither format.

    Source: Rong et al., BMVC 2021 (CUB-GHA), the public recordings and their description.
    Deviation: The last fixation of a line, which the public script leaves out, is kept.
    """
    try:
        lines = read_packed_text(path).splitlines()
    except (OSError, DocumentError) as error:
        raise DataError(f"{path} cannot be read ({error}); check that it was copied completely.") from error
    return [_recording(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def gaze_map(fixations: Floats, size: tuple[int, int], sigma: float | Floats) -> Floats:
    """Lay a Gaussian on each fixation, as heavy as it was long, and scale the sum to a peak of 1.

    Raises `ArgumentError` if a number is not finite, a duration negative, or sigma not positive.

    Units: pixels of the map, for its width and height and for `sigma`, one for all Gaussians or one a fixation.

    Returns:
        [height, width] in [0, 1]; zero where there are no fixations.
    """
    if not np.isfinite(fixations).all() or (fixations[:, 2] < 0).any():
        raise ArgumentError("a fixation has a number that is not finite or a negative duration; leave it out.")
    sigmas = np.broadcast_to(np.asarray(sigma, dtype=np.float64), len(fixations))
    if len(sigmas):
        checks.positive("sigma", float(sigmas.min()))
    # A Gaussian is a product of two, so that a whole map is one product of matrices.
    across, down = (
        np.exp(-0.5 * ((np.arange(side) + 0.5 - fixations[:, axis, None]) / sigmas[:, None]) ** 2)
        for axis, side in enumerate(size)
    )
    total: Floats = (down * fixations[:, 2, None]).T @ across
    peak = total.max(initial=0.0)
    return total / peak if peak > 0 else total


@dataclass(frozen=True)
class GazeMaps:
    """The gaze maps of images of which there are recordings, all people's fixations together.

    Args:
        sigma: Standard deviation of the Gaussians, in pixels of the display. 75, as in the published maps, is a
            fourteenth of the display's height, and two degrees of visual angle at 60 cm from one of 24 inches.

    Source: Rong et al., BMVC 2021 (CUB-GHA).
    Deviation: Published maps are scaled to a least value of 0 as well; here 0 means that nobody looked near.
    """

    recordings: Mapping[Path, tuple[Recording, ...]]
    sigma: float = 75.0

    def facts(self, file: Path) -> object:
        """Return a digest of the recordings of an image; None if there are none."""
        if not (looks := self.recordings.get(file)):
            return None
        described = [(look.size, look.magnification, look.fixations.tolist()) for look in looks]
        return hashlib.sha256(repr((self.sigma, described)).encode()).hexdigest()[:16]

    def read(self, file: Path, size: int, shape: tuple[int, int]) -> Bytes:
        """Return the gaze map of an image, cut as `decode` cuts the image; zero if there are no recordings."""
        if not (looks := self.recordings.get(file)):
            return np.zeros((size, size), dtype=np.uint8)
        check_fit(f"the gaze recording of {file.name}", looks[0].size, file, shape)
        sigmas = np.repeat([self.sigma / look.magnification for look in looks], [len(look.fixations) for look in looks])
        whole = gaze_map(np.concatenate([look.fixations for look in looks]), looks[0].size, sigmas)
        return cut_square(np.rint(255 * whole).astype(np.uint8), size, shape)


def by_image(recordings: Iterable[Recording]) -> dict[int, tuple[Recording, ...]]:
    """Gather the recordings of each image; raise `DataError` if two of them differ in its size."""
    gathered: dict[int, tuple[Recording, ...]] = {}
    for recording in recordings:
        others = gathered.get(recording.image, ())
        if others and others[0].size != recording.size:
            raise DataError(
                f"image {recording.image} is {others[0].size} in one recording and {recording.size} in another; "
                "these are recordings of different pictures: keep one of the files."
            )
        gathered[recording.image] = (*others, recording)
    return gathered


def _recording(path: Path, number: int, line: str) -> Recording:
    try:
        values = [float(word) for word in line.split(",")]
    except ValueError:
        raise DataError(f"{path}, line {number} has something that is no number; is this a gaze recording?") from None
    header = {0: 3, 1: 7}.get(len(values) % 3, 0)
    if not header or len(values) < header or min(values[1:header]) < 0 or 0 in values[1 : min(header, 5)]:
        raise DataError(
            f"{path}, line {number} has {counted(len(values), 'numbers')}, which is no gaze recording; it needs "
            "image number, "
            "width and height, then x, y and duration of each fixation."
        )
    image, size = int(values[0]), (int(values[1]), int(values[2]))
    fixations = np.array(values[header:]).reshape(-1, 3)
    if header == 3:
        return Recording(image, size, min(DISPLAY[0] / size[0], DISPLAY[1] / size[1]), fixations)
    # From pixels of the display to pixels of the image.
    shown, corner = values[3:5], values[5:7]
    fixations = (fixations - [*corner, 0]) * [size[0] / shown[0], size[1] / shown[1], 1]
    return Recording(image, size, shown[0] / size[0], fixations)
