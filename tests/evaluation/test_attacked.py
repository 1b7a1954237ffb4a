"""What is said of attacked images, against NumPy on the arrays themselves."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attacks import RandomPerturbation, TargetedManipulation, TopKAttack
from gradsculpt.attributions import Gradient, GuidedBackprop
from gradsculpt.errors import ModelError
from gradsculpt.evaluation.attacked import View, attacked_images, figures
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, build


def classifier(softplus: float | None) -> Classifier:
    torch.manual_seed(0)
    network = build("convnet", num_classes=3, image_size=16, softplus=softplus)
    return Classifier(network, InputSpace((0.5,) * 3, (0.2, 0.25, 0.3)), ("a", "b", "c"), 16).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255


def heat(maps: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    sums = maps.abs().sum(dim=1).double().numpy()
    return np.asarray(sums / sums.max(axis=(1, 2), keepdims=True))


def test_views_and_figures_are_those_of_the_images(images: Tensor) -> None:
    model, target = classifier(3.0), torch.tensor([0, 1, 2])
    attack = TopKAttack(model.space.pixels(6 / 255) * 768**0.5, k=0.2, steps=3, bounds=model.space.bounds)
    views, smooth_beta = attacked_images(model, Gradient(), attack, images, target)
    assert smooth_beta is None
    assert list(views) == ["before", "after", "rounded"]
    x = model.space.normalize(images)
    moved = model.space.denormalize(attack(model.network, Gradient(), x, target)).clamp(0, 1)
    torch.testing.assert_close(views["after"].images, moved)
    torch.testing.assert_close(views["rounded"].images * 255, (moved * 255).round())
    assert torch.equal(views["before"].images, images)
    assert (views["after"].scores < 1).all()  # judged beside the clean map, of which all of the top is its own
    for view in views.values():
        torch.testing.assert_close(view.probabilities, model(view.images).softmax(dim=1).detach())
        expected = Gradient()(model.network, model.space.normalize(view.images), target)
        torch.testing.assert_close(view.maps, expected)
    rows = figures(views, k=0.3)
    for prefix, view in (("", views["after"]), ("rounded_", views["rounded"])):
        change = (view.images - images).double().numpy() * 255
        a, b = heat(views["before"].maps), heat(view.maps)
        for i, row in enumerate(rows):
            assert row[f"{prefix}linf"] == pytest.approx(np.abs(change[i]).max(), rel=1e-4)
            assert row[f"{prefix}rms"] == pytest.approx(np.sqrt((change[i] ** 2).mean()), rel=1e-4)
            cosine = (a[i] * b[i]).sum() / np.linalg.norm(a[i]) / np.linalg.norm(b[i])
            assert row[f"{prefix}cosine"] == pytest.approx(cosine, rel=1e-4)
            top = [set(np.argsort(-each[i].ravel())[: round(0.3 * 256)]) for each in (a, b)]
            assert row[f"{prefix}topk"] == pytest.approx(len(top[0] & top[1]) / len(top[0]), abs=1e-6)
            assert row[f"{prefix}goal"] == pytest.approx(float(view.scores[i]))
            assert row["goal_before"] == 1.0


def test_without_a_slope_softplus_leads_and_is_told(images: Tensor) -> None:
    model, target = classifier(None), torch.tensor([0, 1, 2])
    attack = TargetedManipulation(model.space.pixels(8 / 255), steps=3, smooth_beta="auto")
    views, smooth_beta = attacked_images(model, Gradient(), attack, images, target)
    assert smooth_beta == 20.0
    assert (views["after"].scores < views["before"].scores).all()
    _, smooth_beta = attacked_images(
        model, Gradient(), TargetedManipulation(model.space.pixels(8 / 255), steps=1, smooth_beta=5.0), images, target
    )
    assert smooth_beta == 5.0
    with pytest.raises(ModelError, match="do not change with the images"):
        attacked_images(model, GuidedBackprop(), attack, images, target)


def test_an_attack_without_a_criterion_has_no_scores(images: Tensor) -> None:
    model, target = classifier(3.0), torch.tensor([0, 1, 2])
    views, smooth_beta = attacked_images(model, Gradient(), RandomPerturbation(0.0), images, target)
    assert smooth_beta is None
    assert all(view.scores.isnan().all() for view in views.values())
    assert torch.equal(views["after"].images, images)  # to the last bit, though it went through normalisation
    assert np.isnan(figures(views)[0]["goal"])


def test_a_view_keeps_the_model_as_it_is(images: Tensor) -> None:
    model = classifier(3.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    views, _ = attacked_images(
        model, Gradient(), RandomPerturbation(model.space.pixels(1 / 255)), images, torch.tensor([0, 1, 2])
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert isinstance(views["after"], View)
    assert not any(tensor.requires_grad for tensor in vars(views["after"]).values())
    assert isinstance(model, nn.Module)
