"""Arrays of NumPy, lists and single numbers are taken wherever tensors are, with the same result."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attacks import ATTACKS, Attack, TargetedManipulation
from gradsculpt.attributions import ATTRIBUTIONS, Attribution, Gradient, heatmap, signed_heatmap
from gradsculpt.errors import ArgumentError
from gradsculpt.inputs import InputSpace, as_images
from gradsculpt.metrics import METRICS, Metric
from gradsculpt.models import Classifier
from gradsculpt.visualize import Ascent, class_features

SIDE = 8


def array(values: Tensor) -> Any:
    """Return an array in the place of a tensor, which annotations ask for."""
    return values.numpy()


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (SIDE - 2) ** 2, 3)]
    return nn.Sequential(*layers).to(dtype).eval()


X = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([1, 2])
FORMS: dict[str, Callable[[Tensor], Any]] = {
    "array": lambda t: t.numpy(),
    "float64": lambda t: t.double().numpy() if t.is_floating_point() else t.int().numpy(),
    "not contiguous": lambda t: np.asarray(t.numpy().T.copy().T),
    "read only": lambda t: np.frombuffer(t.numpy().tobytes(), t.numpy().dtype).reshape(t.shape),
    "list of arrays": lambda t: list(t.numpy()),
    "list of tensors": lambda t: list(t),
    "lists": lambda t: t.tolist(),
}
every_form = pytest.mark.parametrize("form", FORMS)


@every_form
@pytest.mark.parametrize("cls", ATTRIBUTIONS, ids=lambda cls: cls.__name__)
def test_attributions(cls: type[Attribution], form: str) -> None:
    settings = {"samples": 2} if "samples" in vars(cls).get("__dataclass_fields__", {}) else {}
    attribution, model, given = cls(**settings), network(), FORMS[form]
    expected = attribution(model, X, Y)
    torch.testing.assert_close(attribution(model, given(X), given(Y)), expected)
    torch.testing.assert_close(attribution(model, x=given(X), target=given(Y)), expected)


@pytest.mark.parametrize("one", [1, np.int64(1), torch.tensor(1), [1, 1], (1, 1), np.array([1, 1], np.uint8)], ids=repr)
@pytest.mark.parametrize("cls", ATTRIBUTIONS[:3], ids=lambda cls: cls.__name__)
def test_one_target_for_all_images(cls: type[Attribution], one: Any) -> None:
    expected = cls()(network(), X, torch.tensor([1, 1]))
    torch.testing.assert_close(cls()(network(), array(X), one), expected)


@every_form
@pytest.mark.parametrize("cls", ATTACKS, ids=lambda cls: cls.__name__)
def test_attacks(cls: type[Attack], form: str) -> None:
    settings: dict[str, Any] = {"steps": 2} if "steps" in cls.__dataclass_fields__ else {}  # type: ignore[attr-defined]
    attack, given = cls(0.1, **settings), FORMS[form]  # type: ignore[call-arg]
    expected = attack(network(), Gradient(), X, Y)
    assert torch.equal(attack(network(), Gradient(), given(X), given(Y)), expected)
    assert torch.equal(attack(network(), Gradient(), x=given(X), y=given(Y)), expected)
    one = attack(network(), Gradient(), X, torch.tensor([1, 1]))
    assert torch.equal(attack(network(), Gradient(), given(X), 1), one)  # type: ignore[arg-type]
    if hasattr(attack, "run"):
        assert torch.equal(attack.run(network(), Gradient(), given(X), 1).x, one)


GIVEN: dict[str, Any] = {
    "maps": torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)),
    "a": torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(2)),
    "b": torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(3)),
    "truth": torch.randint(0, 2, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(4)).float(),
    "gaze": torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(5)),
    "x": X,
    "y": Y,
    "logits": torch.randn(2, 3, generator=torch.Generator().manual_seed(6)),
}
OTHERS: dict[str, Any] = {"model": network(), "attribution": Gradient(), "eps": 0.1}


@every_form
@pytest.mark.parametrize("each", METRICS, ids=str)
def test_metrics(each: Metric[..., Any], form: str) -> None:
    given = {name: {**GIVEN, **OTHERS}[name] for name in each.needs}
    expected = each(**given)
    arrays = {name: FORMS[form](value) if name in GIVEN else value for name, value in given.items()}
    mixed = {**arrays, each.needs[-1]: given[each.needs[-1]]}
    for found in (each(**arrays), each(*arrays.values()), each(**mixed)):
        torch.testing.assert_close(found, expected, check_dtype=False)


@every_form
def test_heat_maps_spaces_and_classifiers(form: str) -> None:
    given, space = FORMS[form], InputSpace((0.5,) * 3, (0.25,) * 3)
    for function in (heatmap, signed_heatmap, space.normalize, space.denormalize):
        torch.testing.assert_close(function(given(X)), function(X), check_dtype=False)
    classifier = Classifier(network(), space, ("a", "b", "c"), SIDE)
    torch.testing.assert_close(classifier(given(X)), classifier(X))
    torch.testing.assert_close(classifier.probabilities(given(X)), classifier.probabilities(X))
    quick = Ascent(steps=1)
    one = class_features(classifier, 1, ascent=quick)
    torch.testing.assert_close(class_features(classifier, array(torch.tensor([1])), ascent=quick).images, one.images)


def test_arrays_come_in_the_precision_of_the_model_and_stay_whose_they_are() -> None:
    doubles = array(X.double())
    for dtype in (torch.float32, torch.float64, torch.float16):
        for model in (network(dtype), network(dtype).forward):
            assert as_images(model, doubles).dtype == dtype
    assert as_images(lambda t: t, doubles).dtype == torch.float32
    assert as_images(network(), X.double()).dtype == torch.float64  # a tensor is as its owner wants it
    assert as_images(network(), (255 * doubles).astype(np.uint8)).dtype == torch.uint8
    as_images(network(torch.float64), doubles).zero_()
    assert doubles.any()


WRONG: dict[str, Any] = {
    "no batch": X[0].numpy(),
    "8 bits": (255 * X).byte().numpy(),
    "words": [["a"]],
    "ragged": [[1.0], [1.0, 2.0]],
    "nothing": None,
    "a file": "cat.jpg",
    "objects": np.array([object()]),
    "empty": np.zeros((0, 3, SIDE, SIDE)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_batch_of_images_is_refused_in_one_line(name: str) -> None:
    attack: Any = TargetedManipulation(0.1)
    for call in (lambda x: Gradient()(network(), x), lambda x: attack(network(), Gradient(), x, 0)):
        with pytest.raises(ArgumentError) as error:
            call(WRONG[name])
        assert "\n" not in str(error.value)


class Halved(Attribution):
    """An attribution of one's own, which knows nothing of arrays."""

    def __call__(
        self, model: Any, images: Tensor, target: Tensor | None = None, *, create_graph: bool = False
    ) -> Tensor:
        return Gradient()(model, images, target, create_graph=create_graph) / 2


class Darker(Attack):
    """An attack of one's own."""

    def __call__(self, model: Any, attribution: Attribution, images: Tensor, y: Tensor) -> Tensor:
        return images.mul(0.99)


def test_ones_own_attributions_and_attacks_take_arrays_too() -> None:
    expected = Gradient()(network(), X, 1) / 2  # type: ignore[arg-type]
    torch.testing.assert_close(Halved()(network(), X.numpy(), 1), expected)  # type: ignore[arg-type]
    torch.testing.assert_close(Halved()(network(), images=X.numpy(), target=1), expected)  # type: ignore[arg-type]
    assert torch.equal(Darker()(network(), Halved(), X.numpy(), 1), X.mul(0.99))  # type: ignore[arg-type]
