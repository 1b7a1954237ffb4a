"""What people hand in by mistake is refused in one line that says what to hand in."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradsculpt as gs
from gradsculpt.attacks import TargetedManipulation
from gradsculpt.attributions import MoreauGrad
from gradsculpt.errors import ArgumentError, GradsculptError, ModelError
from gradsculpt.evaluation import Protocol, Sparsity
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier
from gradsculpt.objectives import CrossEntropy

# What they refuse at run time is also refused by types, of which these are freed.
Gradient: Any = gs.attributions.Gradient
SmoothGrad: Any = gs.attributions.SmoothGrad
evaluate: Any = gs.evaluate
SPACE = InputSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LAYERS = (nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
NETWORK = nn.Sequential(*LAYERS, nn.Linear(72, 4)).eval()
CLASSIFIER = Classifier(NETWORK, SPACE, (), 8)
X, Y = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3])
LAST = X.permute(0, 2, 3, 1)


def quickly(names: list[str]) -> gs.Scorecard:
    return evaluate(NETWORK, [(X, Y)], Protocol((Sparsity(),)), names=names)


MISTAKES: dict[str, tuple[Callable[[], Any], type[GradsculptError], str]] = {
    "channels last": (lambda: Gradient()(NETWORK, LAST.numpy(), Y), ModelError, r"x\.permute\(0, 3, 1, 2\)"),
    "channels last, trained": (lambda: CrossEntropy()(NETWORK, LAST, Y), ModelError, r"x\.permute\(0, 3, 1, 2\)"),
    "channels last, classifier": (lambda: Gradient()(CLASSIFIER, LAST, Y), ArgumentError, r"permute\(0, 3, 1, 2\)"),
    "one image, channels last": (lambda: SPACE.normalize(LAST[0]), ArgumentError, r"permute\(2, 0, 1\).*x\[None\]"),
    "one image": (lambda: SPACE.normalize(X[0]), ArgumentError, r"x\[None\]"),
    "grey images": (lambda: Gradient()(NETWORK, X[:, :1], Y), ModelError, "so many channels"),
    "large images": (lambda: Gradient()(NETWORK, X.repeat(1, 1, 2, 2), Y), ModelError, "of this size"),
    "small images": (lambda: Gradient()(NETWORK, X[..., :2, :2], Y), ModelError, "of this size"),
    "normalised": (lambda: Gradient()(CLASSIFIER, SPACE.normalize(X), Y), ArgumentError, r"in \[0, 1\] and normalises"),
    "up to 255": (lambda: SmoothGrad(2)(CLASSIFIER, 255 * X, Y), ArgumentError, "divide by 255"),
    "up to 255, attacked": (
        lambda: TargetedManipulation(1, steps=1)(CLASSIFIER, Gradient(), 255 * X, Y),
        ArgumentError,
        "divide by 255",
    ),
    "8 bits": (lambda: SPACE.normalize((255 * X).byte()), ArgumentError, "torch.uint8"),
    "mean of 8 bits": (lambda: InputSpace((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)), ArgumentError, "by 255"),
    "no network": (lambda: Gradient()(None, X, Y), ArgumentError, "model=None cannot be called"),
    "settings": (lambda: Gradient(NETWORK, X, Y), ArgumentError, r"Gradient\(\)\(model, x, target\)"),
    "array": (lambda: SmoothGrad(NETWORK, X.numpy()), ArgumentError, r"SmoothGrad\(\)\(model, x"),
    "class": (lambda: TargetedManipulation(0.1)(NETWORK, Gradient, X, Y), ArgumentError, "Attribution"),
    "name": (lambda: evaluate(NETWORK, [(X, Y)], "quick"), ArgumentError, "protocol='quick'"),
    "method": (lambda: evaluate(NETWORK, [(X, Y)], Protocol.quick), ArgumentError, "protocol="),
    "names": (lambda: quickly(["a"]), ArgumentError, "names has 1 entries"),
    "data set": (lambda: evaluate(NETWORK, torch.utils.data.TensorDataset(X, Y)), ArgumentError, "DataLoader"),
    "device": (lambda: gs.models.pretrained("mobilenet_v2", device="gpu"), ArgumentError, "device='gpu'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str) -> None:
    mistake, kind, told = MISTAKES[name]
    with pytest.raises(kind, match=told) as caught:
        mistake()
    assert "\n" not in str(caught.value)


def test_images_that_a_method_alters_itself_are_not_looked_at() -> None:
    assert SmoothGrad(2, sigma=5.0)(CLASSIFIER, X, Y).isfinite().all()
    wide = TargetedManipulation(3.0, steps=2)(CLASSIFIER, Gradient(), X, Y)
    assert wide.isfinite().all()


def test_a_refusal_does_not_spoil_the_next_call() -> None:
    for _ in range(2):
        with pytest.raises(ArgumentError, match="class indices"):
            MoreauGrad(steps=2)(NETWORK, X, torch.tensor([0, 7]))
        with pytest.raises(ArgumentError, match="divide by 255"):
            Gradient()(CLASSIFIER, 255 * X, Y)


def test_images_a_little_beyond_the_range_are_taken() -> None:
    x = (X - 0.5) * 1.4 + 0.5  # a resampled picture overshoots
    assert Gradient()(CLASSIFIER, x, Y).shape == Gradient()(NETWORK, 255 * x, Y).shape == x.shape


def test_attributions_are_copied_and_pickled_as_before() -> None:
    made = SmoothGrad(4, sigma=0.2)
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made
    assert np.array_equal(made(NETWORK, X, Y), SmoothGrad(samples=4, sigma=0.2)(NETWORK, X, Y))


def test_names_go_with_the_values(tmp_path: Path) -> None:
    evaluate(NETWORK, [(X, Y)], Protocol((Sparsity(),)), names=["a", "b"], folder=tmp_path)
    assert [line.split(",")[0] for line in (tmp_path / "scorecard.csv").read_text().splitlines()] == ["image", "a", "b"]
