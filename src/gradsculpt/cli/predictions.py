"""What a network says of images, and which class is explained or attacked."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError, did_you_mean
from gradsculpt.models import Classifier

_LISTED = 10


@dataclass(frozen=True)
class Prediction:
    """What a network says of an image: the predicted class, the class that is looked at, and its probability."""

    predicted: str
    target: str
    probability: float

    def __str__(self) -> str:
        return f"{self.target} ({self.probability:.0%})"


def predictions(probabilities: Tensor, target: Tensor, classes: Sequence[str]) -> list[Prediction]:
    """Return what is to be said of images by their probabilities [N, K] and the classes [N] that are looked at."""
    scores = probabilities.gather(1, target[:, None])[:, 0].tolist()
    chosen = zip(probabilities.argmax(dim=1).tolist(), target.tolist(), scores, strict=True)
    return [Prediction(classes[best], classes[looked_at], score) for best, looked_at, score in chosen]


def class_probabilities(classifier: Classifier, images01: Tensor) -> Tensor:
    """Return the probability of every class, [N, K], of images [N, 3, S, S] in [0, 1]."""
    with torch.no_grad():
        probabilities: Tensor = classifier(images01).softmax(dim=1)
    return probabilities


def target_classes(
    wanted: str | None, labels: Sequence[str | None], probabilities: Tensor, classes: Sequence[str]
) -> Tensor:
    """Return the classes [N] to look at, by the names of the true ones, where known, and probabilities [N, K].

    What is wanted is true, predicted or a class; None stands for the true ones where all are known, else predicted.
    """
    position = {name: i for i, name in enumerate(classes)}
    if wanted in (None, "true") and all(label in position for label in labels):
        return torch.tensor([position[str(label)] for label in labels], device=probabilities.device)
    if wanted == "true" and wanted not in position:
        strange = next((label for label in labels if label is not None), None)
        of_network = f"the network knows no class {strange}, the true one"
        fact = "the true class of a file is not known" if strange is None else of_network
        raise ArgumentError(f"{fact}; pass --target predicted or a class name.")
    if wanted in (None, "predicted"):
        return probabilities.argmax(dim=1)
    return torch.full((len(labels),), class_index(str(wanted), classes, "--target"), device=probabilities.device)


def class_index(name: str, classes: Sequence[str], option: str) -> int:
    """Return the index of a class that was typed for an option; raise `ArgumentError` if there is none of that name."""
    if name not in classes:
        more = f" and {len(classes) - _LISTED} more" if len(classes) > _LISTED else ""
        raise ArgumentError(
            f"{option} {name} is no class of this network; its classes are {', '.join(classes[:_LISTED])}{more}."
            f"{did_you_mean(name, classes, 3)}"
        )
    return classes.index(name)
