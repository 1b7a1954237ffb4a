"""Maps of a few images by several methods and networks, before and after an attack on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradsculpt import checks
from gradsculpt.attacks import Attack
from gradsculpt.attributions import Attribution
from gradsculpt.evaluation.attacked import attacked_images, figures
from gradsculpt.studies.experiments.base import Given
from gradsculpt.studies.experiments.chosen import OnImages, View, few, said, targets, told
from gradsculpt.studies.experiments.maps import named, picture

if TYPE_CHECKING:
    import numpy.typing as npt

    from gradsculpt.models import Classifier

_LEVELS = 255


@dataclass(frozen=True)
class AttackedMaps(OnImages):
    """Maps of a few images before and after an attack on them, of each network by each method, for a `Gallery`.

    It keeps what `Maps` does, and in the same shape `attacked i`, the maps of the attacked images; the attacked images
    themselves as `changed i` [methods, N, S, S, 3] in 8 bits; and as notes how alike the maps are: `ssim`, `cosine` and
    `topk`, the share that is kept of the largest pixels.

    Args:
        methods: Attributions as texts, or by the names that they shall have in the figure.
        attack: An attack as a text, its eps in 8-bit levels: targeted:eps=4, or topk:eps=2,steps=50.
        k: Share of the non-zero pixels that are the largest.

    The other arguments are those of `OnImages`.
    Raises: ArgumentError, when made, if a number is out of range or no method is named.
    Source: Gong et al., CVPR 2024, Fig. 16; Joo et al., AAAI 2023, Fig. 3(a).
    """

    methods: tuple[str, ...] | Mapping[str, str] = ("gradient",)
    attack: str = "targeted:eps=4"
    k: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        named(self.methods)
        checks.share("k", self.k)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the methods and the attack."""
        return {"Attribution": tuple(named(self.methods).values()), "Attack": (self.attack,)}

    def run(self, given: Given) -> None:
        """Attack, and keep the maps."""
        arrays, notes = dict[str, Any](), dict[str, Any]()
        kept: dict[str, Any] = {"methods": list(named(self.methods)), "networks": notes, "signed": False}
        kept |= {"attack": self.attack, "k": self.k}
        total = len(given.runs) * len(self.methods)
        with given.reporter.work("attacked maps", total, "maps of all images") as tell:
            for i, (name, classifier, view) in enumerate(self.views(given)):
                arrays, kept = view.arrays() | arrays, view.notes() | kept
                notes[name], attack = said(classifier, view), given.attack(self.attack, classifier)
                results: dict[str, list[Any]] = {key: [] for key in ("maps", "attacked", "changed")}
                for method in named(self.methods).values():
                    fact = f"the maps of {name} by {method} cannot be attacked"
                    attribute = given.attribution(method, classifier)
                    parts, alike = self._attacked(fact, attribute, attack, classifier, view)
                    for key, value in parts.items():
                        results[key].append(value)
                    for key, values in alike.items():
                        notes[name].setdefault(key, []).append(values)
                    tell(i * len(self.methods) + len(results["maps"]), total)
                arrays |= {f"{key} {i}": np.stack(values) for key, values in results.items()}
        given.keep({}, arrays=arrays, **kept)

    def _attacked(
        self, fact: str, attribute: Attribution, attack: Attack, classifier: "Classifier", view: View
    ) -> "tuple[dict[str, npt.NDArray[Any]], dict[str, list[float]]]":
        """Return arrays of maps before and after and of images, and how alike the maps are, by name."""
        target = targets(classifier, view, self.target)
        arrays: dict[str, list[Any]] = {"maps": [], "attacked": [], "changed": []}
        alike: dict[str, list[float]] = {"ssim": [], "cosine": [], "topk": []}
        for rows in few(view.images01):
            with told(fact):
                views, _ = attacked_images(classifier, attribute, attack, view.images01[rows], target[rows])
            arrays["maps"].append(picture(views["before"].maps))
            arrays["attacked"].append(picture(views["after"].maps))
            pixels = (views["rounded"].images * _LEVELS).round().to(torch.uint8)
            arrays["changed"].append(pixels.permute(0, 2, 3, 1).cpu().numpy())
            for scores in figures(views, self.k):
                for key, values in alike.items():
                    values.append(round(scores[key], 4))
        return {key: np.concatenate(parts) for key, parts in arrays.items()}, alike
