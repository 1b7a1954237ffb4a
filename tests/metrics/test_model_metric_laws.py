"""Laws that hold for every metric of a model near an image, and proof that each law catches one that breaks it."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
import torch
from tests.metrics.smooth import images, perceptron
from tests.networks import batch, network, same_state, state
from torch import Tensor, nn

from gradsculpt.attributions import Gradient
from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import METRICS, Metric, Neighbourhood, Score, metric

AnyMetric = Metric[..., Any]
Given = dict[str, Any]
MODEL_NEEDS = {("model", "attribution", "x", "y", "eps"), ("model", "x", "y", "eps"), ("model", "x", "y")}
ON_MODELS: list[AnyMetric] = [each for each in METRICS if each.needs in MODEL_NEEDS]


def given(each: AnyMetric, model: Any, x: Tensor, y: Tensor) -> Given:
    known = {"model": model, "attribution": Gradient(), "x": x, "y": y, "eps": 0.3}
    return {name: known[name] for name in each.needs}


def values(each: AnyMetric, arguments: Given, **options: Any) -> dict[str, Tensor]:
    result = each(**arguments, **options)
    return result if isinstance(result, dict) else {each.name: result}


def law_returns_the_stated_scores_in_range(each: AnyMetric) -> None:
    for shape in ((1, 1, 1), (1, 5, 3), (3, 4, 7)):
        for n in (1, 3):
            result = values(each, given(each, perceptron(shape), *images(n, shape)))
            assert list(result) == [score.name for score in each.scores]
            for score in each.scores:
                found = result[score.name]
                assert found.shape == (n,)
                assert found.dtype == torch.float64
                assert not found.requires_grad
                assert bool(((found >= score.low) & (found <= score.high)).all()), score


def law_flat_models_score_finitely(each: AnyMetric) -> None:
    x, y = images(2, (2, 3, 3))
    for scale in (0.0, 1e-30, 1e30):
        for found in values(each, given(each, lambda x, s=scale: x.flatten(1)[:, :3].sin() * s, x.float(), y)).values():
            assert bool(found.isfinite().all()) or scale == 1e30
            assert not bool(found.isnan().any())


def law_does_not_depend_on_batch_mates(each: AnyMetric) -> None:
    model, (x, y) = perceptron((2, 4, 5)), images(3, (2, 4, 5))
    together = values(each, given(each, model, x, y))
    for i in range(3):
        alone = values(each, given(each, model, x[i : i + 1], y[i : i + 1]))
        for name, value in alone.items():
            torch.testing.assert_close(value[0], together[name][i], rtol=1e-6, atol=1e-9)


def seeded(each: AnyMetric, seed: int) -> dict[str, Any]:
    """Return the options of a metric under which a seed decides."""
    if "neighbourhood" not in signature(each.function).parameters:
        return {"seed": seed}
    return drawn(each, Neighbourhood(seed=seed))


def drawn(each: AnyMetric, neighbourhood: Neighbourhood) -> dict[str, Any]:
    options = {"direction": "random"} if each.name == "linearization_error" else {}
    return {"neighbourhood": neighbourhood, **options}


def law_is_the_same_again_and_differs_by_seed(each: AnyMetric) -> None:
    arguments = given(each, perceptron((2, 4, 5)), *images(3, (2, 4, 5)))
    first, again, other = (values(each, arguments, **seeded(each, seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def law_leaves_no_trace(each: AnyMetric) -> None:
    model, (x, y) = network(dropout=0.5), batch()  # in training mode, with batch norm
    x.requires_grad_()
    before, random = state(model), torch.get_rng_state()
    copies = x.detach().clone(), y.clone()
    with torch.no_grad():
        values(each, given(each, model, x, y))
        assert not torch.is_grad_enabled()
    assert same_state(before, state(model))
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(copies[0], x)
    assert torch.equal(copies[1], y)
    assert x.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


def law_works_in_inference_mode(each: AnyMetric) -> None:
    model, (x, y) = perceptron((1, 4, 4)), images(2, (1, 4, 4))
    expected = values(each, given(each, model, x, y))
    with torch.inference_mode():
        for name, found in values(each, given(each, model, x.clone(), y.clone())).items():
            torch.testing.assert_close(found, expected[name])


def law_bad_images_and_classes_are_refused(each: AnyMetric) -> None:
    model, (x, y) = perceptron((1, 4, 4)), images(2, (1, 4, 4))
    for bad in (given(each, model, x[0], y), given(each, model, x, y[:1]), given(each, model, x, y + 5)):
        with pytest.raises(ArgumentError):
            each(**bad)


LAWS: list[Callable[[AnyMetric], None]] = [
    law_returns_the_stated_scores_in_range,
    law_flat_models_score_finitely,
    law_does_not_depend_on_batch_mates,
    law_is_the_same_again_and_differs_by_seed,
    law_leaves_no_trace,
    law_works_in_inference_mode,
    law_bad_images_and_classes_are_refused,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("each", ON_MODELS, ids=repr)
def test_law(each: AnyMetric, law: Callable[[AnyMetric], None]) -> None:
    law(each)


@pytest.mark.parametrize("each", ON_MODELS, ids=repr)
def test_copies_in_one_pass_or_one_by_one(each: AnyMetric) -> None:
    if "neighbourhood" not in signature(each.function).parameters:  # whose batch goes in one piece
        return
    arguments = given(each, perceptron((2, 4, 5)), *images(3, (2, 4, 5)))
    expected = values(each, arguments, **drawn(each, Neighbourhood(5, batch_size=1)))
    for batch_size in (6, 100):
        options = drawn(each, Neighbourhood(5, batch_size=batch_size))
        for name, found in values(each, arguments, **options).items():
            torch.testing.assert_close(found, expected[name])


def test_there_are_metrics_under_the_laws() -> None:
    names = {"rps", "local_lipschitz", "max_sensitivity", "upper_bound", "hessian_norm", "linearization_error"}
    names |= {"top_eigenvalue"}
    assert names <= {each.name for each in ON_MODELS}


def slope(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return Gradient()(model, x, y).flatten(1).abs().sum(dim=1)


def misshapen(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return slope(model, x, y)[None]


def normalised(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return slope(model, x, y) / slope(model, x, y)


def pooled(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return slope(model, x, y) / slope(model, x, y).sum()


def unseeded(model: Any, x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    return slope(model, x, y) * torch.rand(len(x))


def careless(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits: Tensor = model(x).detach()
    return logits.sum(dim=1)


def ungraded(model: Any, x: Tensor, y: Tensor) -> Tensor:
    point = x.detach().requires_grad_()
    return torch.autograd.grad(model(point).sum(), point)[0].flatten(1).sum(dim=1)


def lenient(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)


BROKEN = [
    (law_returns_the_stated_scores_in_range, misshapen),
    (law_flat_models_score_finitely, normalised),
    (law_does_not_depend_on_batch_mates, pooled),
    (law_is_the_same_again_and_differs_by_seed, unseeded),
    (law_leaves_no_trace, careless),
    (law_works_in_inference_mode, ungraded),
    (law_bad_images_and_classes_are_refused, lenient),
]


@pytest.mark.parametrize(("law", "function"), BROKEN, ids=lambda part: part.__name__)
def test_law_bites(law: Callable[[AnyMetric], None], function: Callable[..., Tensor]) -> None:
    broken = metric(Score(function.__name__, 0.0, float("inf"), "higher"))(function)
    with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)):
        law(broken)


def test_every_law_is_shown_to_bite() -> None:
    assert [law for law, _ in BROKEN] == LAWS
