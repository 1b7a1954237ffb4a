"""A folder of maps by several methods and networks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gradsculpt.cli.folder import ResultFolder, file_name
from gradsculpt.cli.images import NamedImage
from gradsculpt.cli.predictions import Prediction
from gradsculpt.cli.runs import NamedNetwork
from gradsculpt.visualize import colour, overlay, plain

_SHEET_ROWS = 24
_OVERLAID = 4  # with this many maps a row, the sheet leaves the overlays out


class MapFolder(ResultFolder):
    """A folder of maps; its sheet has, for each method, the maps of all networks side by side.

    With several networks, names are in those of the files. Keywords of `colour` say how maps are shown.
    """

    def __init__(
        self, path: Path, networks: Sequence[NamedNetwork], methods: Sequence[str], rendering: Mapping[str, Any]
    ) -> None:
        self._first, self._rendering, self._several = methods[0], rendering, len(networks) > 1
        self._finest = max(networks, key=lambda network: network.classifier.image_size)
        self._overlaid = len(networks) * len(methods) < _OVERLAID
        headings = [self._headings(method, network) for method in methods for network in networks]
        super().__init__(path, _SHEET_ROWS, ["image", *(heading for pair in headings for heading in pair)])

    def add(
        self,
        network: NamedNetwork,
        method: str,
        images: Sequence[NamedImage],
        images01: Tensor,
        said: Sequence[Prediction],
        maps: Tensor,
    ) -> None:
        """Write the maps [N, C, S, S] of a few images, in one order for all methods and networks.

        `images01` are their pixels [N, 3, S, S] in [0, 1], and `said` is what the network says of each.
        """
        heat, over = colour(maps, **self._rendering), overlay(images01, maps, **self._rendering)
        inner = [file_name(network.name)] if self._several else []
        rows = []
        for i, (image, prediction) in enumerate(zip(images, said, strict=True)):
            name = ".".join([image.name, *inner, file_name(re.sub("[:,]", "-", method))])
            self.save(name, heat[i], maps[i])
            self.save(f"{name}.overlay", over[i])
            row = {"image": image.name, "network": network.name, "method": method, "true": image.label or ""}
            row |= {"predicted": prediction.predicted, "target": prediction.target}
            rows.append(row | {"probability": f"{prediction.probability:.4f}", "array": f"{name}.npy"})
        self.index(rows)
        heading, *overlaid = self._headings(method, network)
        self.show(heading, heat, [str(each) for each in said] if self._several else ())
        for heading in overlaid:
            self.show(heading, over)
        if network is self._finest and method == self._first:
            self.show("image", plain(images01))
            # Networks may explain different classes, so that a row then goes by its image.
            self.label([image.title for image in images] if self._several else [each.target for each in said])

    def _headings(self, method: str, network: NamedNetwork) -> list[str]:
        """Return the headings of a method's maps and, where there is room for them, of the overlays."""
        heading = method.replace(":", "\n", 1).replace(",", ", ") + (f"\n{network.name}" if self._several else "")
        gap = "\n" if "\n" in heading else " "
        return [heading, f"{heading}{gap}on image"] if self._overlaid else [heading]
