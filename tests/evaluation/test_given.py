"""What an evaluation is handed: 8 bits, [0, 1] or normalised, told and never guessed; tensors, arrays, a whole set."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.evaluation import Accuracy, GroundTruth, Protocol, RobustnessRandom, Scorecard, Sparsity, evaluate
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from tests.evaluation.cases import SPACE, levels, network

PLAIN = Protocol((Accuracy(), Sparsity(), RobustnessRandom(), GroundTruth()))
IMAGES = torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1])
CLASSIFIER = Classifier(network(), SPACE, ("a", "b", "c"), 8).eval()
X = SPACE.normalize(IMAGES / 255)


def means(card: Scorecard) -> dict[str, Any]:
    return {name: pytest.approx(entry.mean, abs=1e-5) for name, entry in card.entries.items()}


EXPECTED = {name: entry.mean for name, entry in evaluate(CLASSIFIER, [(IMAGES, LABELS)], PLAIN).entries.items()}

WAYS: dict[str, Callable[[], Scorecard]] = {
    "8 bits": lambda: evaluate(network(), [(IMAGES, LABELS)], PLAIN, space=SPACE),
    "in [0, 1]": lambda: evaluate(network(), [(IMAGES / 255, LABELS)], PLAIN, space=SPACE),
    "in [0, 1], told": lambda: evaluate(network(), [(IMAGES / 255, LABELS)], PLAIN, space=SPACE, normalized=False),
    "normalised": lambda: evaluate(network(), [(X, LABELS)], PLAIN, space=SPACE),
    "normalised, told": lambda: evaluate(network(), [(X, LABELS)], PLAIN, space=SPACE, normalized=True),
    "a classifier": lambda: evaluate(CLASSIFIER, [(X, LABELS)], PLAIN, normalized=True),
    "a classifier and its space": lambda: evaluate(CLASSIFIER, [(X, LABELS)], PLAIN, space=SPACE),
    "batches": lambda: evaluate(network(), zip(X.split(2), LABELS.split(2), strict=True), PLAIN, space=SPACE),
    "a whole set": lambda: evaluate(network(), (X, LABELS), PLAIN, space=SPACE),
    "a whole set in a list": lambda: evaluate(network(), [X.numpy(), LABELS.numpy()], PLAIN, space=SPACE),
    "arrays": lambda: evaluate(network(), [(IMAGES.numpy(), LABELS.numpy())], PLAIN, space=SPACE),
    "arrays of float64": lambda: evaluate(network(), [(X.double().numpy(), LABELS.tolist())], PLAIN, space=SPACE),
    "a list": lambda: evaluate(network(), [[IMAGES / 255, LABELS]], PLAIN, space=SPACE),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_images_give_the_same_scores_however_they_are_handed_in(way: str) -> None:
    card = WAYS[way]()
    assert means(card) == EXPECTED
    assert card.settings["images"] == 5


def test_truth_and_single_labels_in_arrays() -> None:
    truth = levels()
    expected = evaluate(CLASSIFIER, [(IMAGES, LABELS * 0 + 1, truth)], PLAIN).entries
    for given in ((IMAGES.numpy(), 1, truth.numpy()), (IMAGES, np.int64(1), truth[:, 0].numpy())):
        assert evaluate(CLASSIFIER, [given], PLAIN).entries == expected
        assert evaluate(CLASSIFIER, given, PLAIN).entries == expected
    assert "ground-truth" in {entry.group for entry in expected.values()}


def bright(count: int = 2) -> Tensor:
    """Normalised images that happen to lie within [0, 1]."""
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.9


def test_what_lies_within_0_and_1_is_read_as_told() -> None:
    x, y = bright(), LABELS[:2]
    pixels = SPACE.denormalize(x)
    expected = evaluate(CLASSIFIER, [(pixels, y)], PLAIN)
    assert means(expected) == {
        n: e.mean for n, e in evaluate(CLASSIFIER, [(x, y)], PLAIN, normalized=True).entries.items()
    }
    assert evaluate(network(), [(x, y)], PLAIN, space=SPACE)["gini"].mean != pytest.approx(expected["gini"].mean)
    # After a batch that cannot be pixels, such a batch belongs to it.
    both = evaluate(network(), [(X[:2], y), (x, y)], PLAIN, space=SPACE)
    told = evaluate(network(), [(X[:2], y), (x, y)], PLAIN, space=SPACE, normalized=True)
    assert both.entries == told.entries


OTHER = InputSpace((0.5,) * 3, (0.5,) * 3)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "negative without a space": (
        lambda: evaluate(network(), [(X, LABELS)]),
        r"values from -.* 8 bits .*nor \[0, 1\].*space=InputSpace\(mean, std\), normalized=True",
    ),
    "negative for a classifier": (lambda: evaluate(CLASSIFIER, [(X, LABELS)]), "normalized=True"),
    "up to 255": (lambda: evaluate(network(), [(IMAGES.float(), LABELS)]), r"to 255, .*divide by 255"),
    "up to 255 with a space": (lambda: evaluate(network(), [(IMAGES.float(), LABELS)], space=SPACE), "to 255, .*takes"),
    "a little over 1": (lambda: evaluate(network(), [(IMAGES / 250, LABELS)]), r"to 1\.02, .*clamp\(0, 1\)"),
    "a little over 1, with a space": (
        lambda: evaluate(network(), [(IMAGES / 250, LABELS)], space=SPACE),
        r"normalised or resampled; say normalized=True, or cut them off by clamp\(0, 1\)",
    ),
    "told to be pixels": (
        lambda: evaluate(network(), [(X, LABELS)], space=SPACE, normalized=False),
        r"neither 8 bits .*nor \[0, 1\]",
    ),
    "normalised by another space": (
        lambda: evaluate(network(), [(X, LABELS)], space=OTHER),
        r"takes images in \[0, 1\] to -1 to 1; pass the space",
    ),
    "told, by another space": (
        lambda: evaluate(network(), [(X, LABELS)], space=OTHER, normalized=True),
        "pass the space that they were normalised by",
    ),
    "8 bits told to be normalised": (
        lambda: evaluate(network(), [(IMAGES, LABELS)], space=SPACE, normalized=True),
        "in 8 bits, so they are not normalised",
    ),
    "normalised by nothing": (lambda: evaluate(network(), [(X, LABELS)], normalized=True), "does not say by what"),
    "a classifier and another space": (
        lambda: evaluate(CLASSIFIER, [(X, LABELS)], space=OTHER),
        "is not that of the classifier",
    ),
    "a first batch within [0, 1]": (
        lambda: evaluate(network(), [(bright(), LABELS[:2]), (X, LABELS)], space=SPACE),
        r"normalised therefore, while batches before were within \[0, 1\]",
    ),
    "whole numbers": (lambda: evaluate(network(), [(IMAGES.long(), LABELS)]), "dtype torch.int64"),
    "infinite": (lambda: evaluate(network(), [(X / 0, LABELS)], space=SPACE), "not all of them finite"),
    "images alone": (lambda: evaluate(network(), [X, X], space=SPACE), "a batch is .*pass batches as tuples"),
    "a tensor": (lambda: evaluate(network(), X, space=SPACE), "a batch is tensor of shape"),
    "a mapping": (lambda: evaluate(network(), [{"x": X, "y": LABELS}]), "pass batches as tuples"),
    "no labels": (lambda: evaluate(network(), [(X, None)], space=SPACE), "pass batches as tuples"),
    "a path": (lambda: evaluate(network(), "photos"), "pass batches as tuples"),
    "a number": (lambda: evaluate(network(), 5), "pass batches as tuples"),  # type: ignore[arg-type]
    "one image": (lambda: evaluate(network(), [(IMAGES[0], 0)]), r"batch \[N, C, H, W\] is needed"),
    "a set of single images": (lambda: evaluate(network(), list(zip(X, LABELS, strict=True))), "batch"),
    "fewer labels": (lambda: evaluate(network(), (IMAGES, LABELS[:3])), "one integer for each image"),
    "no space": (lambda: evaluate(network(), (X, LABELS), space=(0.5, 0.5)), "space="),  # type: ignore[arg-type]
    "no module": (lambda: evaluate(network().forward, (X, LABELS)), "classifier="),  # type: ignore[arg-type]
    "words": (lambda: evaluate(network(), (X, LABELS), normalized="yes"), "normalized='yes'"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_what_was_told_is_refused_in_one_line_with_the_remedy(name: str) -> None:
    call, said = REFUSED[name]
    with pytest.raises(ArgumentError) as error:
        call()
    assert re.search(said, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)
