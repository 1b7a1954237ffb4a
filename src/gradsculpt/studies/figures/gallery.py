"""Images and their maps by networks and methods, before and after an attack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradsculpt import checks
from gradsculpt.drawing import Drawing
from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.models.imagenet import in_words
from gradsculpt.studies.figures.base import Figure, Results
from gradsculpt.studies.figures.sheet import Cell, sheet

if TYPE_CHECKING:
    import numpy.typing as npt

_COLUMNS = 14  # of maps; more of them go by rows


@dataclass(frozen=True)
class Gallery(Figure):
    """Images with their maps, a column a network and method; all of one size, each map scaled by itself.

    The true class stands beside an image, and under the maps of a network what it says of the image, marked where that
    is wrong. Where there are too many networks and methods for one row, methods have rows. Below stand the maps after
    an attack, and the attacked image, that of the first network and method.

    Args:
        measure: An experiment as `Maps` or `AttackedMaps`.
        networks: Those to be shown, in this order; none for all.
        methods: Those to be shown; none for all.
        count: How many of the images; None for all.
        clip: Percentile of a map that becomes the brightest; see `heatmap`.

    Raises: ArgumentError, when drawn, if the experiment was not run, or there is no network or method of a name.
    """

    measure: str
    networks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    count: int | None = None
    clip: float = 99.0

    def __post_init__(self) -> None:
        checks.declared(self)
        checks.each_at_least(self, count=1)
        checks.within("clip", self.clip, 0.0, 100.0)

    def draw(self, results: Results) -> Drawing:
        """Return the figure."""
        notes, arrays = results.notes(self.measure), results.arrays(self.measure)
        if not arrays or "networks" not in notes:
            raise ArgumentError(
                f"{self.measure} has no maps, so there is nothing to draw; run an experiment as maps, or name another."
            )
        # Some networks may not be run at a scale.
        networks = chosen("networks", self.networks, list(notes["networks"]), all_of_them=False)
        methods = chosen("methods", self.methods, list(notes["methods"]), all_of_them=True)
        content = _Content(notes, arrays, self.clip)
        blocks = [(networks, methods)]
        if len(networks) * len(methods) > _COLUMNS and len(methods) > 1:
            blocks = [(networks, [method]) for method in methods]
        truth = "truth" in arrays
        rows, labels = list[list[Cell | None]](), list[str]()
        for n in range(min(self.count or len(content.images), len(content.images))):
            for stage in ("maps", "attacked") if "attacked 0" in arrays else ("maps",):
                for b, (some, how) in enumerate(blocks):
                    shown: list[Cell | None] = [content.image(stage, n, networks[0], methods[0])]
                    shown += [content.truth(n) if stage == "maps" else None] if truth else []
                    rows.append([cell if not b else None for cell in shown])
                    rows[-1] += [content.cell(stage, n, net, way, named=not b) for net in some for way in how]
                    labels.append(content.label(stage, n, how[0] if len(blocks) > 1 else "", first=not b))
        (some, how), *_ = blocks
        both = len(how) > 1 and len(some) > 1
        headings = ["image", *(["truth"] if truth else [])]
        headings += [_heading(net, method, both, len(some) > 1 or len(how) == 1) for net in some for method in how]
        return sheet(rows, headings, labels, content.note(methods, self.clip), bar=content.signed)


class _Content:
    """What an experiment kept, as cells and words."""

    def __init__(self, notes: Mapping[str, Any], arrays: "Mapping[str, npt.NDArray[Any]]", clip: float) -> None:
        self._notes, self._arrays, self._clip = notes, arrays, clip
        self.images, self.signed = list(notes["images"]), bool(notes.get("signed", False))
        self._places = {name: i for i, name in enumerate(notes["networks"])}

    def image(self, stage: str, n: int, network: str, method: str) -> Cell:
        """Return an image; of the attacked ones, that of a network and method."""
        if stage == "maps":
            return Cell(self._arrays["images"][n])
        return Cell(self._arrays[f"changed {self._places[network]}"][list(self._notes["methods"]).index(method), n])

    def truth(self, n: int) -> Cell:
        return Cell(self._arrays["truth"][n], clip=100.0)

    def cell(self, stage: str, n: int, network: str, method: str, *, named: bool) -> Cell:
        """Return a map, or an attacked image, with what the network says of it, or how alike maps are."""
        m, said = list(self._notes["methods"]).index(method), self._notes["networks"][network]
        content = self._arrays[f"{stage} {self._places[network]}"][m, n]
        if stage == "attacked":
            alike = f"SSIM {said['ssim'][m][n]:.2f}\ntop {self._notes['k']:.0%}: {said['topk'][m][n]:.0%}"
            return Cell(content, self.signed, self._clip, alike)
        blank = [] if np.any(content) else ["zero everywhere"]
        if not named:
            return Cell(content, self.signed, self._clip, "\n".join(blank))
        predicted = said["predicted"][n]
        caption = "\n".join([in_words(predicted), f"{said['probability'][n]:.0%}", *blank])
        return Cell(content, self.signed, self._clip, caption, marked=predicted != self._notes["true"][n])

    def label(self, stage: str, n: int, method: str, *, first: bool) -> str:
        """Return what stands beside a row: the true class, or that it is of the attack; and the method of its maps."""
        what = in_words(self._notes["true"][n]) if stage == "maps" else "attacked"
        return "\n".join(filter(None, [what if first else "", method]))

    def note(self, methods: Sequence[str], clip: float) -> str:
        """Return how the figure is to be read."""
        text = f"Each map is scaled by itself: the brightest colour is its {clip:g}% quantile. "
        text += f"Maps: {methods[0]}. " if len(methods) == 1 else ""
        text += "Beside an image its true class; under a map what the network predicts, in red where it is wrong."
        if "attack" in self._notes:
            text += (
                f" Attack: {self._notes['attack']} (eps in 8-bit levels; the image is that of the first column); under "
            )
            text += (
                f"a map how alike it is to the clean one, and the share of its top {self._notes['k']:.0%} that is kept."
            )
        return text


def chosen(what: str, wanted: Sequence[str], there: Sequence[str], *, all_of_them: bool) -> list[str]:
    """Return those that are wanted, all that are there if none is named.

    Raises: ArgumentError if one, or, unless `all_of_them` are needed, every one is not there.
    """
    kept = [name for name in wanted if name in there] if wanted else list(there)
    lacking = [name for name in wanted if name not in there]
    if lacking and (all_of_them or not kept):
        raise ArgumentError(
            f"{what}={lacking[0]} has no maps, so none can be drawn; choose from {', '.join(there)}."
            f"{did_you_mean(lacking[0], list(there))}"
        )
    return kept


def _heading(network: str, method: str, both: bool, by_network: bool) -> str:
    told = method.replace(":", "\n", 1).replace(",", ", ")
    return f"{network}\n{told}" if both else network if by_network else told
