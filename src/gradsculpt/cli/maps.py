"""A folder of maps: arrays, pictures, an index of them, and a contact sheet of the first images."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from torch import Tensor

from gradsculpt import checks
from gradsculpt.cli.images import NamedImage, plain
from gradsculpt.cli.process import make_folder
from gradsculpt.errors import ArgumentError
from gradsculpt.visualize import colour, contact_sheet, overlay, png
from gradsculpt.visualize import plain as pictures_of
from gradsculpt.visualize.render import Picture

_SHEET_ROWS = 24
_PICTURE_SIDE = 224
_OVERLAID = 4  # with this many maps a row, the sheet leaves the overlays out

_HEADINGS = ("image", "network", "method", "true", "predicted", "target", "probability", "array")


@dataclass(frozen=True)
class Rendering:
    """How maps are shown: see `gradsculpt.visualize.colour`.

    Raises:
        ArgumentError: If a number is out of range.
    """

    clip: float = 99.0
    signed: bool = False
    top: float | None = None

    def __post_init__(self) -> None:
        checks.within("--clip", self.clip, 0.0, 100.0)
        if self.top is not None and not 0.0 < self.top <= 1.0:
            raise ArgumentError(
                f"--top-k {self.top:g} is no share of the pixels; pass one above 0 and up to 1, 0.05 for 5%."
            )


@dataclass(frozen=True)
class Verdict:
    """What a network says of an image: the predicted class, the class that is explained, and its probability."""

    predicted: str
    target: str
    probability: float


class MapFolder:
    """Writes maps as they come, and the contact sheet when the block that it opens ends without an error.

    Args:
        path: The folder; made if need be.
        networks: Names of the networks, unlike each other. With several, they are part of the names of the files.
        methods: Names of the methods.
        rendering: How maps are shown.
    """

    def __init__(self, path: Path, networks: Sequence[str], methods: Sequence[str], rendering: Rendering) -> None:
        make_folder(path)
        self._path, self._networks, self._methods, self._rendering = path, networks, methods, rendering
        self._images: dict[str, list[Picture]] = {network: [] for network in networks}
        self._verdicts: dict[str, list[Verdict]] = {network: [] for network in networks}
        self._maps: dict[tuple[str, str], list[Picture]] = {}
        self._overlays: dict[tuple[str, str], list[Picture]] = {}
        self._labels: list[str] = []

    def __enter__(self) -> "MapFolder":
        """Start the index."""
        self._file = (self._path / "index.csv").open("w", newline="", encoding="utf-8")
        self._index = csv.writer(self._file)
        self._index.writerow(_HEADINGS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the index, and draw the sheet if all went well."""
        self._file.close()
        if kind is None:
            (self._path / "sheet.png").write_bytes(self._sheet())

    def add(
        self,
        network: str,
        method: str,
        images: Sequence[NamedImage],
        x01: Tensor,
        verdicts: Sequence[Verdict],
        maps: Tensor,
    ) -> None:
        """Write the maps of a few images by one method and network.

        Args:
            network: Its name.
            method: Its name.
            images: The images, in the same order for every method and network.
            x01: Their pixels, [N, 3, S, S] in [0, 1].
            verdicts: What the network says of each.
            maps: [N, C, S, S].
        """
        how = self._rendering
        heat = colour(maps, how.clip, signed=how.signed, top=how.top)
        over = overlay(x01, maps, how.clip, signed=how.signed, top=how.top)
        for image, verdict, one, hot, laid in zip(images, verdicts, maps, heat, over, strict=True):
            name = ".".join([image.name, *([plain(network)] if len(self._networks) > 1 else []), file_name(method)])
            np.save(self._path / f"{name}.npy", one.detach().float().cpu().numpy())
            (self._path / f"{name}.png").write_bytes(png(hot, _PICTURE_SIDE))
            (self._path / f"{name}.overlay.png").write_bytes(png(laid, _PICTURE_SIDE))
            said = [verdict.predicted, verdict.target, f"{verdict.probability:.4f}"]
            self._index.writerow([image.name, network, method, image.label or "", *said, f"{name}.npy"])
        self._file.flush()
        shown = _SHEET_ROWS - len(self._maps.get((network, method), ()))
        self._maps.setdefault((network, method), []).extend(heat[:shown])
        self._overlays.setdefault((network, method), []).extend(over[:shown])
        if method == self._methods[0]:
            self._images[network] += pictures_of(x01)[:shown]
            self._verdicts[network] += verdicts[:shown]
            if network == self._networks[0]:
                self._labels += [image.label or image.name for image in images[:shown]]

    def _sheet(self) -> bytes:
        """Draw the images, and for each method the maps of all networks side by side."""
        several = len(self._networks) > 1
        overlaid = len(self._networks) * len(self._methods) < _OVERLAID
        finest = max(self._networks, key=lambda network: self._images[network][0].shape[0])
        columns, headings = [self._images[finest]], ["image"]
        captions = [[""] * len(self._labels)]
        for method in self._methods:
            for network in self._networks:
                heading = method.replace(":", "\n", 1).replace(",", ", ") + (f"\n{network}" if several else "")
                columns.append(self._maps[network, method])
                headings.append(heading)
                captions.append([f"{said.target} ({said.probability:.0%})" for said in self._verdicts[network]])
                if overlaid:
                    columns.append(self._overlays[network, method])
                    headings.append(f"{heading}\non image" if "\n" in heading else f"{heading} on image")
                    captions.append([""] * len(self._labels))
        # Networks may explain different classes, so that a row then goes by its image.
        labels = self._labels if several else [said.target for said in self._verdicts[finest]]
        return contact_sheet(
            list(zip(*columns, strict=True)),
            headings,
            labels,
            captions=list(zip(*captions, strict=True)) if several else None,
            note="red: above 0, blue: below 0; each map is scaled by itself" if self._rendering.signed else "",
        )


def file_name(method: str) -> str:
    """Return a method with its settings as part of a file name.

    Example:
        >>> file_name("smoothgrad:samples=8,sigma=0.1")
        'smoothgrad-samples=8-sigma=0.1'
    """
    return plain(method.replace(":", "-").replace(",", "-"))
