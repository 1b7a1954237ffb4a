"""A folder of attacked images: arrays, pictures, maps before and after, figures, and a sheet of the first ones."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gradsculpt.cli.folder import ResultFolder, Sheet
from gradsculpt.cli.images import NamedImage
from gradsculpt.cli.predictions import predictions
from gradsculpt.cli.runs import NamedNetwork
from gradsculpt.evaluation.attacked import AttackedImages
from gradsculpt.visualize import colour, plain

_SHEET_ROWS = 16
_HEADINGS = ("image", "attacked image", "map", "map of the attacked image", "difference, scaled up")
_SHOWN = 0.995


class AttackFolder:
    """Writes attacked images as they come, and the contact sheet in the end.

    Args:
        path: The folder; made if need be.
        network: Whose maps are attacked.
        k: Share of the non-zero pixels of a map whose overlap is reported.
    """

    def __init__(self, path: Path, network: NamedNetwork, k: float) -> None:
        self._folder, self._sheet = ResultFolder(path), Sheet(_HEADINGS, _SHEET_ROWS)
        self._network, self._k = network, k

    def add(self, images: Sequence[NamedImage], target: Tensor, result: AttackedImages) -> None:
        """Write what an attack made of a few images, and how the classes [N] that it was to keep fared."""
        before, after, rounded = result.before, result.after, result.rounded
        for image, values, picture in zip(images, after.images, plain(rounded.images), strict=True):
            self._folder.add_map(f"{image.name}.attacked", values, picture, side=None)
        pictures = colour(before.maps), colour(after.maps)
        for i, image in enumerate(images):
            self._folder.add_map(f"{image.name}.before", before.maps[i], pictures[0][i])
            self._folder.add_map(f"{image.name}.after", after.maps[i], pictures[1][i])
        figures = {name: values.tolist() for name, values in result.figures(self._k).items()}
        classes = self._network.classifier.classes
        said = [predictions(view.probabilities, target, classes) for view in (before, after, rounded)]
        rows, kept, moved = [], [], []
        for i, image in enumerate(images):
            values = {name: column[i] for name, column in figures.items()}
            row = {"image": image.name, "network": self._network.name, "true": image.label or ""}
            row |= {"target": said[0][i].target}
            moments = [(when, each[i]) for when, each in zip(("before", "after", "rounded"), said, strict=True)]
            row |= {f"predicted_{when}": prediction.predicted for when, prediction in moments}
            row |= {f"probability_{when}": f"{prediction.probability:.4f}" for when, prediction in moments}
            # What an attack without a criterion is judged by is not a number.
            rows.append(row | {name: "" if math.isnan(value) else f"{value:.4f}" for name, value in values.items()})
            kept.append(f"SSIM {values['ssim']:.2f}, top {self._k:.0%} kept {values['topk']:.0%}")
            moved.append(f"up to {values['linf']:.3g}, rms {values['rms']:.2g} of 255")
        self._folder.add_rows(rows)
        columns = (
            (plain(before.images), [each.predicted for each in said[0]]),
            (plain(after.images), [each.predicted for each in said[1]]),
            (pictures[0], [f"{each.target} ({each.probability:.0%})" for each in said[0]]),
            (pictures[1], kept),
            (plain(_difference(after.images - before.images)), moved),
        )
        for heading, (column, captions) in zip(_HEADINGS, columns, strict=True):
            self._sheet.add(heading, column, captions)
        self._sheet.label([image.title for image in images])

    def finish(self, note: str) -> None:
        """Draw the sheet, with a line under the whole."""
        self._sheet.write(self._folder, note)


def _difference(change: Tensor) -> Tensor:
    """Show a change of images, [N, C, S, S], in [0, 1]: grey is none."""
    # A few entries may have moved much farther than the rest, of which nothing would be seen beside them.
    large = change.flatten(1).abs().quantile(_SHOWN, dim=1).clamp(min=torch.finfo(change.dtype).tiny)
    return (0.5 + change / (2 * large.view(-1, 1, 1, 1))).clamp(0, 1)
