"""Laws that hold for every metric of maps, and proof that each law catches a metric that breaks it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradsculpt.errors import ArgumentError
from gradsculpt.metrics import METRICS, Metric, Score, metric

AnyMetric = Metric[..., Any]
Inputs = dict[str, Any]

MAP_NEEDS = {
    ("maps",),
    ("a", "b"),
    ("maps", "truth"),
    ("maps", "gaze"),
    ("model", "x", "y", "maps"),
    ("logits", "y"),
}
OF_ANY_SCALE = {"a", "b", "maps", "gaze"}
CLASSES = 3
ON_MAPS: list[AnyMetric] = [each for each in METRICS if each.needs in MAP_NEEDS]
SYMMETRIC = {"cosine", "pearson", "spearman", "ssim", "stability", "topk_dice"}


def inputs(each: AnyMetric, seed: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    made: Inputs = {}
    for name in each.needs:
        if name == "model":
            made[name] = classifier
            continue
        if name == "y":
            made[name] = torch.randint(0, CLASSES, shape[:1], generator=generator)
            continue
        if name == "logits":
            made[name] = 5 * torch.randn(shape[0], CLASSES, generator=generator, dtype=torch.float64).to(dtype)
            continue
        if name == "truth":
            levels = torch.randint(0, 3, (shape[0], *shape[-2:]), generator=generator)
            made[name] = torch.tensor([0.0, 0.4, 0.9])[levels]
            continue
        maps = torch.randn(shape, generator=generator, dtype=torch.float64)
        kept = torch.rand(shape, generator=generator) < 0.7
        maps = maps * kept  # zeros and ties
        maps[torch.rand(shape[0], generator=generator) < 0.2] = 0  # and whole maps of zeros
        if name == "gaze":
            maps = maps.abs() if maps.ndim == 3 else maps[:, :1].abs()
        if name == "x" and maps.ndim == 3:
            maps = maps[:, None]
        made[name] = maps.to(dtype)
    return made


def classifier(x: Tensor) -> Tensor:
    """Three smooth functions of an image of any size and dtype."""
    rows = x.double().flatten(1)
    weights = torch.cos(torch.arange(CLASSES * rows.shape[1], dtype=torch.float64)).view(CLASSES, -1)
    return 2 * torch.tanh(rows @ weights.T)


def batch(arguments: Inputs) -> Tensor:
    """Return the argument whose dtype and number of samples the scores have."""
    found: Tensor = next(part for part in arguments.values() if isinstance(part, Tensor))
    return found


def tensors(arguments: Inputs) -> dict[str, Tensor]:
    return {name: part for name, part in arguments.items() if isinstance(part, Tensor)}


def values(each: AnyMetric, arguments: Inputs) -> dict[str, Tensor]:
    result = each(**arguments)
    return result if isinstance(result, dict) else {each.name: result}


def law_returns_the_stated_scores(each: AnyMetric, arguments: Inputs) -> None:
    result = values(each, arguments)
    maps = batch(arguments)
    assert list(result) == [score.name for score in each.scores]
    assert all(value.shape == (len(maps),) and value.dtype == maps.dtype for value in result.values())


def law_stays_in_the_stated_range(each: AnyMetric, arguments: Inputs) -> None:
    result = values(each, arguments)
    for score in each.scores:
        assert bool(((result[score.name] >= score.low) & (result[score.name] <= score.high)).all()), score


def law_does_not_depend_on_batch_mates(each: AnyMetric, arguments: Inputs) -> None:
    together = values(each, arguments)
    for i in range(len(batch(arguments))):
        alone = values(each, {**arguments, **{name: part[i : i + 1] for name, part in tensors(arguments).items()}})
        for name, value in alone.items():
            torch.testing.assert_close(value[0], together[name][i], atol=2e-5, rtol=0)


def law_equal_maps_score_best(each: AnyMetric, arguments: Inputs) -> None:
    if each.needs != ("a", "b"):
        return
    result = values(each, {"a": arguments["a"], "b": arguments["a"].clone()})
    for score in each.scores:
        assert score.best is not None
        best = torch.full_like(result[score.name], score.best)
        torch.testing.assert_close(result[score.name], best, atol=1e-4, rtol=0)


def law_is_symmetric(each: AnyMetric, arguments: Inputs) -> None:
    if each.needs == ("a", "b") and each.name in SYMMETRIC:
        torch.testing.assert_close(
            each(arguments["a"], arguments["b"]), each(arguments["b"], arguments["a"]), atol=2e-5, rtol=0
        )


def law_common_scale_changes_nothing(each: AnyMetric, arguments: Inputs) -> None:
    scaled = {name: part * 2.0**-20 if name in OF_ANY_SCALE else part for name, part in arguments.items()}
    expected = values(each, arguments)
    for name, value in values(each, scaled).items():
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=0)


def law_inputs_are_not_changed(each: AnyMetric, arguments: Inputs) -> None:
    before = {name: part.clone() for name, part in tensors(arguments).items()}
    each(**arguments)
    assert all(torch.equal(part, before[name]) for name, part in tensors(arguments).items())


def law_nan_is_refused_by_name(each: AnyMetric, arguments: Inputs) -> None:
    for name, part in tensors(arguments).items():
        if not part.is_floating_point():
            continue
        spoilt = {**arguments, name: part.clone()}
        spoilt[name].view(-1)[0] = float("nan")
        with pytest.raises(ArgumentError, match=f"^{name} "):
            each(**spoilt)


LAWS: list[Callable[[AnyMetric, Inputs], None]] = [
    law_returns_the_stated_scores,
    law_stays_in_the_stated_range,
    law_does_not_depend_on_batch_mates,
    law_equal_maps_score_best,
    law_is_symmetric,
    law_common_scale_changes_nothing,
    law_inputs_are_not_changed,
    law_nan_is_refused_by_name,
]
SHAPES = st.one_of(
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 14)),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 14), st.integers(1, 6)),
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("each", ON_MAPS, ids=repr)
@settings(deadline=None, max_examples=12, derandomize=True)
@given(seed=st.integers(0, 10_000), shape=SHAPES)
def test_law(each: AnyMetric, law: Callable[[AnyMetric, Inputs], None], seed: int, shape: tuple[int, ...]) -> None:
    law(each, inputs(each, seed, shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("each", ON_MAPS, ids=repr)
def test_other_dtypes(each: AnyMetric, dtype: torch.dtype) -> None:
    arguments = inputs(each, 0, (3, 3, 16, 12), dtype)
    law_returns_the_stated_scores(each, arguments)
    law_stays_in_the_stated_range(each, arguments)
    double = {name: part.double() for name, part in tensors(arguments).items() if part.is_floating_point()}
    expected = values(each, {**arguments, **double})
    for name, value in values(each, arguments).items():
        torch.testing.assert_close(value.double(), expected[name], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("each", ON_MAPS, ids=repr)
def test_one_pixel(each: AnyMetric) -> None:
    for shape in ((2, 1, 1), (2, 1, 1, 1)):
        arguments = inputs(each, 1, shape)
        law_returns_the_stated_scores(each, arguments)
        law_stays_in_the_stated_range(each, arguments)


@pytest.mark.parametrize("each", ON_MAPS, ids=repr)
def test_maps_that_carry_a_graph_are_scored_without_one(each: AnyMetric) -> None:
    arguments = inputs(each, 2, (2, 3, 4, 4))
    for name, part in tensors(arguments).items():
        part.requires_grad_(part.is_floating_point() and name != "truth")
    assert not any(value.requires_grad for value in values(each, arguments).values())


def flat_cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.cosine_similarity(a.flatten(1).abs(), b.flatten(1).abs(), dim=1)


def mean_magnitude(maps: Tensor) -> Tensor:
    return maps.abs().flatten(1).mean(dim=1)


def share_of_batch(maps: Tensor) -> Tensor:
    return mean_magnitude(maps) / mean_magnitude(maps).sum()


def pooled(maps: Tensor) -> Tensor:
    return maps.abs().mean()[None]


def takes_the_first(a: Tensor, b: Tensor) -> Tensor:
    return (flat_cosine(a, b) * (a.flatten(1).abs().sum(1) > b.flatten(1).abs().sum(1))).to(a.dtype)


def rectifies_in_place(maps: Tensor) -> Tensor:
    return mean_magnitude(maps.abs_())


BROKEN = [
    (law_returns_the_stated_scores, pooled),
    (law_stays_in_the_stated_range, mean_magnitude),
    (law_does_not_depend_on_batch_mates, share_of_batch),
    (law_equal_maps_score_best, takes_the_first),
    (law_is_symmetric, takes_the_first),
    (law_common_scale_changes_nothing, mean_magnitude),
    (law_inputs_are_not_changed, rectifies_in_place),
    (law_nan_is_refused_by_name, flat_cosine),
]


@pytest.mark.parametrize(("law", "function"), BROKEN, ids=lambda part: part.__name__)
def test_law_bites(
    law: Callable[[AnyMetric, Inputs], None], function: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = metric(Score(function.__name__, 0.0, 1.0, "higher"))(function)
    monkeypatch.setitem(globals(), "SYMMETRIC", {function.__name__})
    maps = 10 * torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    arguments = {name: maps.roll(i, dims=0).clone() for i, name in enumerate(broken.needs)}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        law(broken, arguments)


def test_every_law_is_shown_to_bite() -> None:
    assert [law for law, _ in BROKEN] == LAWS
