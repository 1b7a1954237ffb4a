"""A folder of maps: arrays, pictures, an index of them, and a contact sheet of the first images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gradsculpt import checks
from gradsculpt.cli.folder import ResultFolder, Sheet
from gradsculpt.cli.images import NamedImage
from gradsculpt.cli.names import file_name, method_name
from gradsculpt.cli.predictions import Prediction
from gradsculpt.cli.runs import NamedNetwork
from gradsculpt.errors import ArgumentError
from gradsculpt.visualize import colour, overlay, plain

_SHEET_ROWS = 24
_OVERLAID = 4  # with this many maps a row, the sheet leaves the overlays out


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


class MapFolder:
    """Writes maps as they come, and the contact sheet in the end.

    Args:
        path: The folder; made if need be.
        networks: The networks, with names unlike each other; with several, these are part of the names of the files.
        methods: Names of the methods.
        rendering: How maps are shown.
    """

    def __init__(
        self, path: Path, networks: Sequence[NamedNetwork], methods: Sequence[str], rendering: Rendering
    ) -> None:
        self._folder, self._methods, self._rendering = ResultFolder(path), methods, rendering
        self._several = len(networks) > 1
        self._finest = max(networks, key=lambda network: network.classifier.image_size)
        self._overlaid = len(networks) * len(methods) < _OVERLAID
        headings = [self._headings(method, network) for method in methods for network in networks]
        self._sheet = Sheet(["image", *(each for pair in headings for each in pair)], _SHEET_ROWS)

    def add(
        self,
        network: NamedNetwork,
        method: str,
        images: Sequence[NamedImage],
        images01: Tensor,
        said: Sequence[Prediction],
        maps: Tensor,
    ) -> None:
        """Write the maps of a few images by one method and network.

        Args:
            network: The network.
            method: The name of the method.
            images: The images, in the same order for every method and network.
            images01: Their pixels, [N, 3, S, S] in [0, 1].
            said: What the network says of each.
            maps: [N, C, S, S].
        """
        shown = self._rendering
        heat = colour(maps, shown.clip, signed=shown.signed, top=shown.top)
        over = overlay(images01, maps, shown.clip, signed=shown.signed, top=shown.top)
        rows = []
        for i, (image, prediction) in enumerate(zip(images, said, strict=True)):
            name = ".".join([image.name, *([file_name(network.name)] if self._several else []), method_name(method)])
            self._folder.add_map(name, maps[i], heat[i])
            self._folder.add_picture(f"{name}.overlay", over[i])
            row = {"image": image.name, "network": network.name, "method": method, "true": image.label or ""}
            row |= {"predicted": prediction.predicted, "target": prediction.target}
            rows.append(row | {"probability": f"{prediction.probability:.4f}", "array": f"{name}.npy"})
        self._folder.add_rows(rows)
        captions = [f"{each.target} ({each.probability:.0%})" if self._several else "" for each in said]
        for heading, pictures in zip(self._headings(method, network), (heat, over), strict=False):
            self._sheet.add(heading, pictures, captions if pictures is heat else ())
        if network is self._finest and method == self._methods[0]:
            self._sheet.add("image", plain(images01))
            # Networks may explain different classes, so that a row then goes by its image.
            self._sheet.label([image.title for image in images] if self._several else [each.target for each in said])

    def finish(self) -> None:
        """Draw the images, and for each method the maps of all networks side by side."""
        self._sheet.write(
            self._folder, "red: above 0, blue: below 0; each map is scaled by itself" if self._rendering.signed else ""
        )

    def _headings(self, method: str, network: NamedNetwork) -> list[str]:
        """Return the headings of a method's maps and, where there is room for them, of the overlays."""
        heading = method.replace(":", "\n", 1).replace(",", ", ") + (f"\n{network.name}" if self._several else "")
        gap = "\n" if "\n" in heading else " "
        return [heading, f"{heading}{gap}on image"] if self._overlaid else [heading]
