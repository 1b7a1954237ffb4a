"""Images put together in the order of their maps, clean and attacked, and what networks make of them meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradsculpt import checks
from gradsculpt.evaluation import Curve
from gradsculpt.evaluation.results import entry
from gradsculpt.metrics import Masking, insertion
from gradsculpt.metrics.fidelity import insertion_curve
from gradsculpt.metrics.masking import inserted
from gradsculpt.studies.experiments.base import Given
from gradsculpt.studies.experiments.chosen import OnImages, drawn, few, targets, told
from gradsculpt.visualize import plain

if TYPE_CHECKING:
    from torch import Tensor

    from gradsculpt.models import Classifier
    from gradsculpt.studies.experiments.chosen import View

_CLEAN, _ATTACKED = "insertion", "adv-insertion"


@dataclass(frozen=True)
class Insertions(OnImages):
    """Insertion curves of every network, and what images look like when a share of their pixels is in their place.

    It keeps, for `Lines`, the curve of each network by the order of its maps, and by that of the maps of attacked
    images (adversarial insertion); and for `Pictures` the images with the first pixels of each order: for the i-th row,
    an image and a network, `pictures i` [shares, S, S, 3] in 8 bits.

    Args:
        method: The attribution, as a text.
        attack: The attack, as a text with its eps in 8-bit levels; none for clean images alone.
        shares: Shares of the pixels at which images are shown.
        steps: Shares at which the curves look at the network.
        limit: How many images the curves are of, at most.
        masking: What stands where a pixel is missing: zero, blur or mean; see `Masking`.

    The other arguments are those of `OnImages`; of the images that they name or draw, reconstructions are shown.
    Raises: ArgumentError, when made, if a number is out of range.
    Source: Joo et al., AAAI 2023, Fig. 2.
    """

    method: str = "gradient"
    attack: str | None = "targeted:eps=4"
    shares: tuple[float, ...] = (0.05, 0.2, 0.4, 0.6)
    steps: int = 20
    limit: int = 256
    masking: str = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.each_at_least(self, steps=1, limit=1)
        checks.one_of("masking", self.masking, ("zero", "blur", "mean"))
        for share in self.shares:
            checks.within("shares", share, 0.0, 1.0)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the method and the attack."""
        return {"Attribution": (self.method,), "Attack": () if self.attack is None else (self.attack,)}

    def run(self, given: Given) -> None:
        """Keep curves and pictures."""
        curves, pictures = dict[str, Curve](), dict[tuple[int, str, str], Any]()
        names: Sequence[str] = self.images
        for network in given.runs:
            classifier, data = given.classifier(network), self.data(given, network)
            names = names or [data.names[i] for i in drawn(data.labels, self.count, given.seed)]
            judged = [data.names[i] for i in drawn(data.labels, min(self.limit, len(data)), given.seed)]
            shown, many = (self.view(network, data, each, given.device) for each in (names, judged))
            with given.reporter.work(f"insertion by {network}", len(many.names)) as tell:
                traces: dict[str, list[Tensor]] = {}
                for batch in few(many.images01):
                    for kind, trace in self._curves(given, network, classifier, many, batch).items():
                        traces.setdefault(kind, []).append(trace)
                    tell(min(batch.stop, len(many.names)), len(many.names))
            for kind, parts in traces.items():
                curves[f"{network} ({kind})"] = self._curve(kind, torch.cat(parts), given.seed)
            for kind, images in self._pictures(given, network, classifier, shown).items():
                after = ", attacked" if kind == _ATTACKED else ""
                for n in range(len(names)):
                    pictures[n, network, after] = np.stack([shown.pixels[n], *(each[n] for each in images)])
        order = sorted(pictures, key=lambda key: key[0])  # an image's rows together, of the networks in their order
        headings = ["image", *(f"{100 * share:g}% of the pixels" for share in self.shares)]
        rows = [f"{shown.classes[int(shown.labels[n])]}\n{network}{after}" for n, network, after in order]
        arrays = {f"pictures {i}": pictures[key] for i, key in enumerate(order)}
        note = f"The first pixels in the order of maps: {self.method}."
        note += "" if self.attack is None else f" Attacked: in the order of maps of images under {self.attack}."
        given.keep({}, curves, arrays, note=note, rows=rows, columns=headings, images=list(names), method=self.method)

    def _maps(
        self, given: Given, network: str, classifier: "Classifier", view: "View", rows: slice
    ) -> "dict[str, Tensor]":
        """Return maps of clean and of attacked images."""
        attribute, target = given.attribution(self.method, classifier), targets(classifier, view, self.target)[rows]
        x = classifier.space.normalize(view.images01[rows])
        with told(f"{self.method} cannot explain {network}, or not under attack"):
            maps = {_CLEAN: attribute(classifier.network, x, target)}
            if self.attack is not None:
                changed = given.attack(self.attack, classifier)(classifier.network, attribute, x, target)
                maps[_ATTACKED] = attribute(classifier.network, changed, target)
        return {kind: each.detach() for kind, each in maps.items()}

    def _curves(
        self, given: Given, network: str, classifier: "Classifier", view: "View", rows: slice
    ) -> "dict[str, Tensor]":
        x, target = classifier.space.normalize(view.images01[rows]), targets(classifier, view, self.target)[rows]
        masking = Masking(self.masking)  # type: ignore[arg-type]
        maps = self._maps(given, network, classifier, view, rows)
        return {
            kind: insertion_curve(classifier.network, x, target, each, self.steps, masking).cpu()
            for kind, each in maps.items()
        }

    def _curve(self, kind: str, values: "Tensor", seed: int) -> Curve:
        points = [entry(kind, insertion.scores[0], 100 * column, seed) for column in values.unbind(dim=1)]
        mean, low, high = zip(*((each.mean, each.low, each.high) for each in points), strict=True)
        x = tuple(round(100 * i / self.steps, 6) for i in range(self.steps + 1))
        order = "most important first (%)" if kind == _CLEAN else "in the order of the attacked map (%)"
        return Curve(kind.capitalize(), f"pixels shown, {order}", "probability of the class (%)", x, mean, low, high)

    def _pictures(self, given: Given, network: str, classifier: "Classifier", view: "View") -> dict[str, list[Any]]:
        """Return by kind, for each share, pictures of the images."""
        pictures: dict[str, list[list[Any]]] = {}
        for rows in few(view.images01):
            x = classifier.space.normalize(view.images01[rows])
            for kind, maps in self._maps(given, network, classifier, view, rows).items():
                parts = [inserted(x, maps, share, self.masking) for share in self.shares]  # type: ignore[arg-type]
                drawings = [plain(classifier.space.denormalize(part).clamp(0, 1)) for part in parts]
                pictures.setdefault(kind, [[] for _ in self.shares])
                for kept, drawing in zip(pictures[kind], drawings, strict=True):
                    kept.extend(drawing)
        return dict(pictures)
