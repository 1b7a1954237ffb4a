"""Maps of a few images by several methods and networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradsculpt import checks
from gradsculpt.attributions import Attribution
from gradsculpt.attributions.heatmap import channel_sum
from gradsculpt.errors import ArgumentError
from gradsculpt.numerics import unit_peak
from gradsculpt.studies.experiments.base import Given
from gradsculpt.studies.experiments.chosen import OnImages, View, few, said, targets, told

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from gradsculpt.models import Classifier


@dataclass(frozen=True)
class Maps(OnImages):
    """Maps of a few images, of each network by each method, for a `Gallery`.

    It keeps, for the i-th network, `maps i` [methods, N, S, S], each up to scale with a largest magnitude of 1;
    `images` [N, S, S, 3] in 8 bits and, where the data have any, `truth` [N, S, S], both as the first network sees
    them; and as notes what was shown, and what each network says of it.

    Args:
        methods: Attributions as texts, or by the names that they shall have in the figure.
        signed: Keep sums of channels with their signs, in place of sums of magnitudes.

    The other arguments are those of `OnImages`.
    Raises: ArgumentError, when made, if a number is out of range or no method is named.
    Source: Gong et al., CVPR 2024, Fig. 2, 4, 7, 8, 10, 12 to 14; the gallery of MoreauGrad (Zhang and Farnia, 2023).
    """

    methods: tuple[str, ...] | Mapping[str, str] = ("gradient",)
    signed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        named(self.methods)

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the methods."""
        return {"Attribution": tuple(named(self.methods).values())}

    def run(self, given: Given) -> None:
        """Keep the maps."""
        arrays, notes = dict[str, Any](), dict[str, Any]()
        kept: dict[str, Any] = {"methods": list(named(self.methods)), "signed": self.signed, "networks": notes}
        total = len(given.runs) * len(self.methods)
        with given.reporter.work("maps", total, "maps of all images") as tell:
            for i, (name, classifier, view) in enumerate(self.views(given)):
                arrays, kept = view.arrays() | arrays, view.notes() | kept
                notes[name] = said(classifier, view)
                maps = []
                for method in named(self.methods).values():
                    attribute = given.attribution(method, classifier)
                    maps.append(self._maps(f"{method} cannot explain {name}", attribute, classifier, view))
                    tell(i * len(self.methods) + len(maps), total)
                arrays[f"maps {i}"] = np.stack(maps)
        given.keep({}, arrays=arrays, **kept)

    def _maps(
        self, fact: str, attribute: Attribution, classifier: "Classifier", view: View
    ) -> "npt.NDArray[np.float16]":
        target, maps = targets(classifier, view, self.target), []
        for rows in few(view.images01):
            x = classifier.space.normalize(view.images01[rows])
            with told(fact):
                maps.append(picture(attribute(classifier.network, x, target[rows]), signed=self.signed))
        return np.concatenate(maps)


def named(methods: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return attributions as texts by the names that they shall have, which are the texts if there are no others.

    Raises: ArgumentError if there are none, one stands there twice, or a text is none.

    Example:
        >>> named(("gradient",)), named({"ours": "moreaugrad"})
        ({'gradient': 'gradient'}, {'ours': 'moreaugrad'})
    """
    by_name = dict(methods) if isinstance(methods, Mapping) else {text: text for text in methods}
    if not by_name:
        raise ArgumentError("methods names none, so nothing can be shown; pass one at least, such as gradient.")
    if len(by_name) < len(methods):
        raise ArgumentError(f"methods={checks.told(methods)} names one twice; leave it out, or give it another name.")
    for name, text in by_name.items():
        if not isinstance(text, str):
            raise ArgumentError(f"methods has {name}={checks.told(text)}; pass an attribution as a text for each name.")
    return by_name


def picture(maps: "Tensor", *, signed: bool = False) -> "npt.NDArray[np.float16]":
    """Return one value a pixel of maps [N, C, S, S] up to scale, the largest magnitude of each map 1: [N, S, S]."""
    maps = unit_peak(maps.detach().float())
    values = unit_peak(channel_sum(maps if signed else maps.abs()))
    shown: npt.NDArray[np.float16] = values.cpu().numpy().astype(np.float16)
    return shown
