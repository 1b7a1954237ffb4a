"""Insertion, deletion and AOPC against loops over pixels, and against Quantus where it does the same."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import quantus as quantus_package
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.metrics import (
    Masking,
    Metric,
    aopc_morf,
    deletion,
    deletion_curve,
    inserted,
    insertion,
    insertion_curve,
    morf_curve,
    relative_drop,
)
from gradsculpt.metrics.masking import baseline_images

FIDELITY: list[Metric[..., Tensor]] = [insertion, deletion, aopc_morf]
quantus: Any = quantus_package  # its types are not declared
Array = np.ndarray[Any, np.dtype[np.float64]]


class Small(nn.Module):
    """Three tanh units, two classes; remembers how many images each call brought."""

    def __init__(self, size: int) -> None:
        super().__init__()
        random = np.random.default_rng(size)
        self.first, self.second = random.normal(size=(3, size)) / math.sqrt(size), random.normal(size=(2, 3)) * 3
        self.seen: list[int] = []
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        hidden = torch.tanh(x.double().flatten(1) @ torch.from_numpy(self.first).T)
        return hidden @ torch.from_numpy(self.second).T

    def plain(self, image: Array, y: int, output: str) -> float:
        logits = self.second @ np.tanh(self.first @ image.ravel())
        if output == "logit":
            return float(logits[y])
        if output == "accuracy":
            return float(int(logits[1] > logits[0]) == y)
        return float(np.exp(logits[y]) / np.exp(logits).sum())


def plain_order(values: Array) -> list[tuple[int, int]]:
    """Positions of a [H, W] array from large to small, those of equal values line by line."""
    height, width = values.shape
    places = [(i, j) for i in range(height) for j in range(width)]
    return sorted(places, key=lambda place: -values[place])


def plain_replaced(image: Array, base: Array, places: list[tuple[int, int]]) -> Array:
    result = image.copy()
    for i, j in places:
        for channel in range(len(image)):
            result[channel, i, j] = base[channel, i, j]
    return result


def plain_curves(model: Small, image: Array, base: Array, y: int, attribution: Array, steps: int, output: str) -> Array:
    """Insertion and deletion curve of one image."""
    order = plain_order(np.abs(attribution).sum(axis=0))
    rows = []
    for i in range(steps + 1):
        count = math.floor(i * len(order) / steps + 0.5)
        shown = plain_replaced(base, image, order[:count])
        left = plain_replaced(image, base, order[:count])
        rows.append([model.plain(shown, y, output), model.plain(left, y, output)])
    return np.array(rows).T


def plain_morf(
    model: Small, image: Array, base: Array, y: int, attribution: Array, steps: int, patch: int
) -> list[float]:
    """Outputs after 0, 1, ... perturbed regions."""
    _, height, width = image.shape
    sums = {}
    for top in range(0, height, patch):
        for left in range(0, width, patch):
            inside = attribution[:, top : top + patch, left : left + patch]
            sums[top, left] = np.abs(inside).sum()
    order = sorted(sums, key=lambda corner: -sums[corner])
    values, now = [model.plain(image, y, "probability")], image
    for top, left in order[:steps]:
        rows, columns = range(top, min(top + patch, height)), range(left, min(left + patch, width))
        now = plain_replaced(now, base, [(i, j) for i in rows for j in columns])
        values.append(model.plain(now, y, "probability"))
    return values


def problem(seed: int, shape: tuple[int, ...], channels: int, levels: int) -> tuple[Small, Any, Any, Any]:
    """A network, images, classes, and maps with `levels` different magnitudes: few make many ties and zeros."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=shape), random.integers(0, 2, size=shape[0])
    maps = random.integers(-levels, levels + 1, size=(shape[0], channels, *shape[2:])).astype(float)
    return Small(math.prod(shape[1:])), x, y, maps


SIZES = {
    "seed": st.integers(0, 1000),
    "shape": st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    "channels": st.integers(1, 3),
    "levels": st.sampled_from([0, 1, 3, 1000]),
    "batch_size": st.sampled_from([1, 2, 7, 64]),
}


def plain_baseline(image: Array, name: str) -> Array:
    return np.zeros_like(image) if name == "zero" else np.ones_like(image) * image.mean(axis=(1, 2), keepdims=True)


@settings(deadline=None, max_examples=40)
@given(
    **SIZES,
    steps=st.sampled_from([1, 3, 20]),
    baseline=st.sampled_from(["zero", "mean"]),
    output=st.sampled_from(["probability", "logit", "accuracy"]),
)
def test_insertion_and_deletion_equal_loops_over_pixels(
    seed: int,
    shape: tuple[int, ...],
    channels: int,
    levels: int,
    batch_size: int,
    steps: int,
    baseline: Any,
    output: Any,
) -> None:
    model, x, y, maps = problem(seed, shape, channels, levels)
    images, labels, attributions = (torch.from_numpy(array) for array in (x, y, maps))
    masking = Masking(baseline, output, batch_size=batch_size)
    curves = [curve(model, images, labels, attributions, steps, masking) for curve in (insertion_curve, deletion_curve)]
    means = [measure(model, images, labels, attributions, steps, masking) for measure in (insertion, deletion)]
    for i in range(len(x)):
        expected = plain_curves(model, x[i], plain_baseline(x[i], baseline), y[i], maps[i], steps, output)
        for row, curve, mean in zip(expected, curves, means, strict=True):
            np.testing.assert_allclose(curve[i], row, atol=1e-12)
            assert mean[i].item() == pytest.approx(row.mean(), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(**SIZES, steps=st.sampled_from([1, 4, 100]), patch=st.integers(1, 4))
def test_aopc_equals_loops_over_regions(
    seed: int, shape: tuple[int, ...], channels: int, levels: int, batch_size: int, steps: int, patch: int
) -> None:
    model, x, y, maps = problem(seed, shape, channels, levels)
    images, labels, attributions = (torch.from_numpy(array) for array in (x, y, maps))
    masking = Masking(patch=patch, batch_size=batch_size)
    curve = morf_curve(model, images, labels, attributions, steps, masking)
    area = aopc_morf(model, images, labels, attributions, steps, masking)
    for i in range(len(x)):
        expected = plain_morf(model, x[i], np.zeros_like(x[i]), y[i], maps[i], steps, patch)
        np.testing.assert_allclose(curve[i], expected, atol=1e-12)
        mean = sum(expected[0] - value for value in expected) / len(expected)
        assert area[i].item() == pytest.approx(mean, abs=1e-12)


class Convolutions(nn.Module):
    """A small network as Quantus wants it: a module in evaluation mode, in single precision."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 5),
        )
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


def images(channels: int, shape: tuple[int, int] = (8, 8)) -> tuple[Convolutions, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, maps = (torch.randn(4, channels, *shape, generator=generator) for _ in range(2))
    return Convolutions(channels), x, torch.tensor([0, 3, 1, 3]), maps


def flipped(model: nn.Module, x: Tensor, y: Tensor, maps: Tensor, baseline: float | str, features: int) -> Array:
    metric = quantus.PixelFlipping(
        features_in_step=features, abs=True, normalise=False, perturb_baseline=baseline, disable_warnings=True
    )
    return np.array(metric(model=model, x_batch=x.numpy(), y_batch=y.numpy(), a_batch=maps.numpy(), softmax=True))


def test_deletion_equals_quantus_pixel_flipping_on_one_channel() -> None:
    model, x, y, maps = images(1)
    curve = deletion_curve(model, x, y, maps, steps=16)
    flips = flipped(model, x, y, maps, baseline=0.0, features=4)
    np.testing.assert_allclose(curve[:, 1:], flips, atol=1e-6)
    # Quantus leaves the whole image out of its curve, and takes the area by np.trapz, which NumPy 2.4 no longer has.
    score = deletion(model, x, y, maps, steps=16)
    np.testing.assert_allclose(score, (whole(model, x, y) + flips.sum(axis=1)) / 17, atol=1e-6)


def whole(model: nn.Module, x: Tensor, y: Tensor) -> Array:
    return np.array([model(x).softmax(dim=1)[i, label].item() for i, label in enumerate(y)])


def test_quantus_takes_out_entries_instead_of_pixels_and_its_black_is_the_darkest_value() -> None:
    model, x, y, maps = images(3, (12, 12))
    pixels = maps.abs().sum(dim=1, keepdim=True)
    ours = deletion_curve(model, x, y, pixels, steps=36)
    # Spread over the channels, a map has three equal entries a pixel. At 12 entries a step, whole pixels are taken out
    # only if the three stand together in an order that does not keep ties in place.
    spread = np.argsort(-np.broadcast_to(pixels.numpy(), x.shape).reshape(4, -1), axis=1)
    together = np.sort(spread.reshape(4, -1, 3) % 144, axis=2)
    assert (together[..., 0] == together[..., 2]).all(), "equal entries are apart only within a pixel"
    np.testing.assert_allclose(ours[:, 1:], flipped(model, x, y, pixels, baseline=0.0, features=12), atol=1e-6)
    split = flipped(model, x, y, maps, baseline=0.0, features=12)  # entries of a pixel in different places of the order
    assert np.abs(ours[:, 1:].numpy() - split).max() > 0.01
    black = flipped(model, x, y, pixels, baseline="black", features=12)
    darkest = x.flatten(1).amin(dim=1).view(-1, 1, 1, 1)
    assert np.abs(ours[:, 1:].numpy() - black).max() > 0.01
    first = deletion_curve(model, x, y, pixels, steps=36, masking=Masking(darkest))[:, 1]
    np.testing.assert_allclose(first, black[:, 0], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_morf_equals_quantus_region_perturbation(channels: int) -> None:
    model, x, y, maps = images(channels)
    theirs = quantus.RegionPerturbation(
        patch_size=2, order="morf", regions_evaluation=10, abs=True, normalise=False, perturb_baseline=0.0,
        disable_warnings=True,
    )(model=model, x_batch=x.numpy(), y_batch=y.numpy(), a_batch=maps.numpy(), softmax=True)  # fmt: skip
    curve = morf_curve(model, x, y, maps, steps=10, masking=Masking(patch=2))
    np.testing.assert_allclose(curve[:, :1] - curve[:, 1:], np.array(theirs), atol=1e-6)


def test_the_model_sees_no_image_twice_and_no_batch_too_large() -> None:
    for measure, whole in ((insertion, 5 * 20 + 1), (deletion, 5 * 20 + 1)):
        model, x, y, maps = problem(0, (5, 1, 6, 6), 1, 1000)
        images, labels, attributions = (torch.from_numpy(array) for array in (x, y, maps))
        measure(model, images, labels, attributions, masking=Masking(batch_size=32))
        assert sum(model.seen) == whole
        assert max(model.seen) <= 32
    model, x, y, maps = problem(0, (5, 1, 6, 6), 1, 1000)
    aopc_morf(model, torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(maps), steps=10)
    assert sum(model.seen) == 5 * 11
    model, x, y, maps = problem(0, (5, 1, 1, 2), 1, 1000)  # three different images at twenty-one shares
    insertion(model, torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(maps))
    assert sum(model.seen) == 5 * 2 + 1


def test_maps_of_the_right_order_score_better() -> None:
    weight = torch.linspace(0.05, 0.5, 36).view(1, 6, 6)

    def model(x: Tensor) -> Tensor:
        logit = (x * weight).flatten(1).sum(dim=1)
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)

    x, y = torch.ones(1, 1, 6, 6), torch.tensor([0])
    right, wrong = weight[None], weight[None].flip(2, 3)
    assert insertion(model, x, y, right) > insertion(model, x, y, wrong) + 0.01
    assert deletion(model, x, y, right) < deletion(model, x, y, wrong) - 0.01
    assert aopc_morf(model, x, y, right, steps=18) > aopc_morf(model, x, y, wrong, steps=18) + 0.01


def test_more_steps_begin_with_fewer() -> None:
    model, x, y, maps = images(3)
    long, short = (morf_curve(model, x, y, maps, steps, Masking(patch=2)) for steps in (12, 5))
    torch.testing.assert_close(long[:, :6], short)


def test_regions_are_in_proportion_to_the_image() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.stack([(x != 0).double().mean(dim=(1, 2, 3)), torch.zeros(len(x))], dim=1)

    for side, patch in ((224, 9), (128, 5), (32, 1), (448, 18), (1, 1)):
        x = torch.ones(1, 1, side, side)
        curve = morf_curve(model, x, torch.tensor([0]), x, steps=1, masking=Masking(output="logit"))
        assert (1 - curve[0, 1]).item() == pytest.approx(patch**2 / side**2, rel=1e-5)


def test_baselines() -> None:
    x = torch.randn(2, 3, 13, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert not baseline_images(x, "zero").any()
    expected = np.empty(x.shape)
    for i, j in np.ndindex(13, 4):
        total = np.zeros((2, 3))
        weights = 0.0
        for u, v in np.ndindex(13, 4):
            if max(abs(u - i), abs(v - j)) <= 5:
                weight = math.exp(-((u - i) ** 2 + (v - j) ** 2) / (2 * 5.0**2))
                total, weights = total + weight * x[:, :, u, v].numpy(), weights + weight
        expected[:, :, i, j] = total / weights
    np.testing.assert_allclose(baseline_images(x, "blur"), expected, atol=1e-12)
    grey = torch.full((1, 3, 1, 1), 0.5)
    assert (baseline_images(x, grey) == 0.5).all()
    model, y = Small(3 * 13 * 4), torch.tensor([0, 1])
    for baseline in ("zero", "mean", grey, torch.full_like(x, 0.5)):
        empty = baseline_images(x, baseline).expand_as(x)
        curve = insertion_curve(model, x, y, x, steps=2, masking=Masking(baseline))
        torch.testing.assert_close(curve[:, 0], model(empty).softmax(1).gather(1, y[:, None])[:, 0])
        torch.testing.assert_close(curve[:, 2], model(x).softmax(1).gather(1, y[:, None])[:, 0])


def test_reconstructions() -> None:
    _, x, _, maps = images(3, (10, 4))
    for gamma, count in ((0.0, 0), (0.05, 2), (0.2, 8), (0.4, 16), (0.6, 24), (1.0, 40)):
        shown = inserted(x, maps, gamma)
        kept = shown != 0
        assert (kept.sum(dim=(2, 3)) == count).all()
        assert torch.equal(shown, torch.where(kept, x, 0.0))
        values = maps.abs().sum(dim=1)
        for i in range(len(x)):
            lowest = values[i][kept[i, 0]].min() if count else values.new_tensor(math.inf)
            assert (values[i][~kept[i, 0]] < lowest).all()


def test_zero_and_constant_maps_are_scanned_line_by_line() -> None:
    model, *arrays = problem(3, (2, 2, 3, 4), 1, 5)
    x, y, _ = map(torch.from_numpy, arrays)
    lines = torch.arange(12.0, 0.0, -1.0).view(1, 3, 4).expand(2, 3, 4)
    for measure in FIDELITY:
        for constant in (torch.zeros(2, 3, 4), torch.full((2, 2, 3, 4), -0.3)):
            assert torch.equal(measure(model, x, y, constant), measure(model, x, y, lines))


def test_huge_maps_are_put_in_order() -> None:
    model, *arrays = problem(4, (2, 2, 5, 5), 3, 1000)
    x, y, maps = map(torch.from_numpy, arrays)
    for measure in FIDELITY:
        found = measure(model, x, y, (maps * 1e35).float())
        torch.testing.assert_close(found, measure(model, x, y, maps))


def test_state_mode_and_random_numbers_are_left_alone() -> None:
    _, x, y, maps = images(3)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5)
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    for measure in FIDELITY:
        measure(model, x, y, maps, steps=3)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_writes_into_its_input_does_not_change_the_image() -> None:
    model, x, y, maps = images(3)
    before = x.clone()
    spoiler = nn.Sequential(nn.ReLU(inplace=True), model).eval()
    for measure in FIDELITY:
        expected = measure(nn.Sequential(nn.ReLU(), model).eval(), x, y, maps, steps=3)
        torch.testing.assert_close(measure(spoiler, x, y, maps, steps=3), expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("measure", FIDELITY, ids=repr)
def test_bad_arguments_are_named(measure: Metric[..., Tensor]) -> None:
    model, x, y, maps = images(3)
    bad: list[tuple[str, Callable[[], Tensor]]] = [
        ("steps=0", lambda: measure(model, x, y, maps, 0)),
        ("output='odds'", lambda: measure(model, x, y, maps, 1, Masking(output="odds"))),  # type: ignore[arg-type]
        ("baseline='grey'", lambda: measure(model, x, y, maps, 1, Masking("grey"))),  # type: ignore[arg-type]
        ("baseline has shape", lambda: measure(model, x, y, maps, 1, Masking(torch.zeros(3, 8, 8)))),
        ("baseline has shape", lambda: measure(model, x, y, maps, 1, Masking(torch.full((1, 1, 1, 1), math.nan)))),
        ("batch_size=0", lambda: measure(model, x, y, maps, 1, Masking(batch_size=0))),
        ("maps has shape", lambda: measure(model, x, y, maps[:, :, :4], 1)),
        ("maps holds NaN", lambda: measure(model, x, y, maps * math.nan, 1)),
        ("x holds NaN", lambda: measure(model, x * math.inf, y, maps, 1)),
        ("x has shape", lambda: measure(model, x[0], y, maps, 1)),
        ("class indices", lambda: measure(model, x, y[:2], maps, 1)),
        ("class indices", lambda: measure(model, x, y + 3, maps, 1)),
        ("class indices", lambda: measure(model, x, y + 3, maps, 1, Masking(output="accuracy"))),
    ]
    for message, call in bad:
        with pytest.raises(ArgumentError, match=message):
            call()
    with pytest.raises(ModelError, match="returns NaN"):
        measure(lambda x: model(x) * math.nan, x, y, maps, 1)
    with pytest.raises(ModelError, match="not one row of class scores"):
        measure(lambda x: x, x, y, maps, 1)


def test_more_bad_arguments() -> None:
    model, x, y, maps = images(3)
    with pytest.raises(ArgumentError, match=r"gamma=1\.5"):
        inserted(x, maps, 1.5)
    with pytest.raises(ArgumentError, match="baseline='grey'"):
        inserted(x, maps, 0.5, "grey")  # type: ignore[arg-type]
    for patch in (0, 2.5):
        with pytest.raises(ArgumentError, match="patch="):
            Masking(patch=patch)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"steps=2\.5"):
        insertion_curve(model, x, y, maps, 2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("patch", [2, 3])
def test_squares_are_put_in_and_taken_out_as_one(patch: int) -> None:
    _, x, y, maps = images(1, (5, 4))
    seen: list[Tensor] = []

    def model(batch: Tensor) -> Tensor:
        seen.append(batch.clone())
        return batch.flatten(1)[:, :2]

    x = x[:1].abs() + 1
    squares = {(i // patch, j // patch): [] for i in range(5) for j in range(4)}  # type: dict[tuple[int, int], list[int]]
    for i in range(5):
        for j in range(4):
            squares[i // patch, j // patch].append(4 * i + j)
    sums = {square: float(maps[0].abs().flatten()[inside].sum()) for square, inside in squares.items()}
    first = squares[max(sums, key=lambda square: sums[square])]
    shown = {insertion_curve: first, deletion_curve: sorted(set(range(20)) - set(first))}
    for curve, expected in shown.items():
        seen.clear()
        curve(model, x, y[:1] * 0, maps[:1], len(squares), Masking(patch=patch))
        images_seen = torch.cat(seen).flatten(1)
        step = images_seen[1 if curve is insertion_curve else -2]
        assert step.nonzero().flatten().tolist() == expected


def test_relative_drop_is_that_of_the_means() -> None:
    base, other = torch.tensor([0.6, -0.1, 0.1]), torch.tensor([0.1, 0.1, 0.1])
    assert relative_drop(base, other).item() == pytest.approx(0.5)
    assert relative_drop(base, base).item() == 0
    assert relative_drop(base, base + 0.2).item() == pytest.approx(-1)
    for wrong in (base[:2], base[None], base[:0]):
        with pytest.raises(ArgumentError, match="base has shape"):
            relative_drop(wrong, other[:0] if len(wrong) == 0 else other)
    with pytest.raises(ArgumentError, match="of which nothing can be lost"):
        relative_drop(torch.zeros(3), other)
