"""Whether there is anything in the maps of a network, and in what it says of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gradsculpt.metrics import Score
from gradsculpt.numerics import length
from gradsculpt.outputs import logits_at, predicted
from gradsculpt.studies.experiments.base import Given
from gradsculpt.studies.experiments.chosen import told
from gradsculpt.studies.experiments.tested import OnTests, scored

_LENGTH = Score("map_length", 0.0, float("inf"), None, meaning="How strong the map is: 0 for one that is blank.")
_SAME = Score(
    "same_answer", 0.0, 1.0, None, "fraction", "How many images get the answer that the network gives most often."
)


@dataclass(frozen=True)
class MapLength(OnTests):
    """How strong the maps of a network are, and whether it says anything but one class.

    It keeps `map_length`, the L2 length of each image's map of its true class, and `same_answer`, 1 for images whose
    predicted class is the one that most of all images have.

    Args:
        method: The map, as a text.

    The other argument is that of `OnTests`.
    Source: Gong et al., CVPR 2024, C.2.6: with permuted labels a network "outputs exactly the same prediction
        disregarding the input images", and maps are zero.
    """

    method: str = "gradient"

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the method."""
        return {"Attribution": (self.method,)}

    def run(self, given: Given) -> None:
        """Compute the maps, and keep their lengths."""
        tested, classifier, done = self.tested(given), given.classifier(), 0
        attribution = given.attribution(self.method, classifier)
        sizes, answers = [], []
        with given.reporter.work("measuring maps", len(tested)) as tell:
            for batch in scored(tested, classifier):
                with told(f"{self.method} cannot explain the network"):
                    sizes.append(length(attribution(classifier.network, batch.x, batch.y)).double().cpu())
                with torch.no_grad():
                    answers.append(predicted(logits_at(classifier.network, batch.x)).cpu())
                done += len(batch.names)
                tell(done, len(tested))
        answer = torch.cat(answers)
        same = (answer == answer.mode().values).double()
        columns = {_LENGTH: torch.cat(sizes), _SAME: same}
        given.keep({score: dict(zip(tested.names, values.tolist(), strict=True)) for score, values in columns.items()})
