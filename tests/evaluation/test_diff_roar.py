"""DiffROAR: masks against plain loops, and scores on images whose signal is known to sit in one corner."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradsculpt.attributions import Attribution, Gradient
from gradsculpt.data import Augment, ImageSet
from gradsculpt.errors import ArgumentError, GradsculptError, RunError
from gradsculpt.evaluation import DiffRoar, Retraining, diff_roar, masked_images
from gradsculpt.evaluation.masked import ranks_of
from gradsculpt.gradients import Model
from gradsculpt.inputs import InputSpace
from gradsculpt.locks import locked
from gradsculpt.models import Classifier
from gradsculpt.objectives import ExplanationDistillation
from gradsculpt.training import TrainSettings

SIDE = 8


def corner_images(count: int, seed: int) -> ImageSet:
    """Return noise whose upper left 2 x 2 pixels are brighter in class 1 than in class 0."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    pixels = random.integers(0, 256, (count, SIDE, SIDE, 3))
    pixels[:, :2, :2] = pixels[:, :2, :2] // 2 + 127 * labels[:, None, None, None]
    names = tuple(f"{seed}-{i}" for i in range(count))
    return ImageSet(pixels.astype(np.uint8), labels, ("dark", "bright"), names)


@dataclass(frozen=True)
class Corner(Attribution):
    """Puts the corner first, last, in random order, or everything level."""

    order: str = "first"

    def __call__(self, model: Model, x: Tensor, target: Tensor | None = None, *, create_graph: bool = False) -> Tensor:
        maps = torch.rand(x.shape, generator=torch.Generator().manual_seed(len(x)))
        if self.order == "level":
            return torch.zeros_like(x)
        if self.order in ("first", "last"):
            maps[:, :, :2, :2] += 5.0 if self.order == "first" else 0.0
            maps[:, :, 2:] += 0.0 if self.order == "first" else 5.0
            maps[:, :, :, 2:] += 0.0 if self.order == "first" else 5.0
        return maps


def least_squares(image_set: ImageSet, seed: int) -> Model:
    """Fit a linear function to the labels; quick, and good enough to see a corner."""
    pixels = np.asarray(image_set.images[np.arange(len(image_set))]).reshape(len(image_set), -1) / 255 - 0.5
    inputs = np.c_[pixels, np.ones(len(pixels))]
    wanted = 2.0 * image_set.labels - 1
    weights = np.linalg.solve(inputs.T @ inputs + np.eye(inputs.shape[1]), inputs.T @ wanted)

    def model(images: Tensor) -> Tensor:
        flat = images.permute(0, 2, 3, 1).flatten(1).double() - 0.5
        score = flat @ torch.from_numpy(weights[:-1]) + weights[-1]
        return torch.stack([-score, score], dim=1)

    return model


def classifier() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2))
    return Classifier(network, InputSpace((0.5,) * 3, (0.25,) * 3), ("dark", "bright"), SIDE)


def score(order: str, **options: Any) -> DiffRoar:
    arguments: dict[str, Any] = {"levels": (0.1, 0.5), "seeds": (0,)} | options
    return diff_roar(
        classifier(), corner_images(400, 0), corner_images(300, 1), Corner(order), least_squares, **arguments
    )


def test_a_map_that_knows_the_corner_scores_high_and_its_inverse_low() -> None:
    first, last = score("first"), score("last")
    assert first.top.min() > 0.85
    assert first.bottom.max() < 0.62
    assert first.values.min() > 0.3
    assert last.values.max() < -0.3
    assert first.mean == pytest.approx(float((first.top - first.bottom).mean()))


@pytest.mark.parametrize("order", ["random", "level"])
def test_maps_that_know_nothing_score_about_nothing(order: str) -> None:
    assert score(order).values.abs().max() < 0.12


def oracle(image: np.ndarray, map: np.ndarray, keep: float, which: str, fill: float) -> np.ndarray:
    """Keep pixels one by one, by the sum of magnitudes over the channels."""
    _, height, width = image.shape
    places = [(i, j) for i in range(height) for j in range(width)]
    places.sort(key=lambda place: sum(abs(map[c][place]) for c in range(len(map))), reverse=which == "top")
    result = np.full_like(image, fill)
    for i, j in places[: int(keep * len(places) + 0.5)]:
        result[:, i, j] = image[:, i, j]
    return result


@pytest.mark.parametrize("which", ["top", "bottom"])
@pytest.mark.parametrize("keep", [0.01, 0.1, 0.35, 0.5, 0.99, 1.0])
def test_masks_equal_a_plain_loop(keep: float, which: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    images, maps = torch.rand(3, 3, 5, 7, generator=generator), torch.randn(3, 2, 5, 7, generator=generator)
    result = masked_images(images, maps, keep, which, fill=0.25)
    for i in range(3):
        np.testing.assert_allclose(result[i], oracle(images[i].numpy(), maps[i].numpy(), keep, which, 0.25))


def test_top_and_bottom_are_complements() -> None:
    images, maps = torch.ones(2, 3, 6, 6), torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0)).round()
    top, bottom = masked_images(images, maps, 0.25), masked_images(images, maps, 0.75, "bottom")
    assert torch.equal(top + bottom, images)
    assert top.sum().item() == 2 * 3 * 9


def test_ties_are_broken_at_random_and_repeatably() -> None:
    images, zeros = torch.ones(200, 1, 4, 4), torch.zeros(200, 4, 4)
    first, again = masked_images(images, zeros, 0.5), masked_images(images, zeros, 0.5)
    other = masked_images(images, zeros, 0.5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    share = first.mean(dim=(0, 1))
    assert share.min() > 0.35
    assert share.max() < 0.65


def test_every_pixel_of_a_large_image_has_a_place_of_its_own() -> None:
    side = 260  # more pixels than 16 bits count
    ranks = ranks_of(torch.arange(float(side**2)).reshape(1, 1, side, side), None)
    np.testing.assert_array_equal(ranks[0], np.arange(side**2)[::-1])


def test_a_colour_has_one_value_a_channel_and_bytes_stay_bytes() -> None:
    images = torch.full((1, 3, 2, 2), 9, dtype=torch.uint8)
    result = masked_images(images, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), 0.25, fill=(1, 2, 3))
    assert result.dtype == torch.uint8
    assert result[0, :, 0, 0].tolist() == [9, 9, 9]
    assert result[0, :, 1, 1].tolist() == [1, 2, 3]


class Counting:
    """Counts retrainings, keeps what they were given, and may be stopped."""

    def __init__(self, stop: int | None = None) -> None:
        self.given: list[tuple[ImageSet, int]] = []
        self.stop = stop

    def __call__(self, image_set: ImageSet, seed: int) -> Model:
        if len(self.given) == self.stop:
            raise KeyboardInterrupt
        self.given.append((image_set, seed))
        return least_squares(image_set, seed)


def test_what_is_trained_on_is_masked_by_the_maps_of_the_classifier() -> None:
    train_set, counting, network = corner_images(20, 0), Counting(), classifier()
    options: dict[str, Any] = {"levels": [0.2], "seeds": [4], "batch_size": 7}
    diff_roar(network, train_set, corner_images(9, 1), Gradient(), counting, fill=(0.0, 0.5, 1.0), **options)
    assert [seed for _, seed in counting.given] == [4, 4]
    # The gradient of a linear network is its weight, divided by the standard deviation.
    weight = next(network.parameters()).detach().view(2, 3, SIDE, SIDE).numpy()
    for (given, _), which in zip(counting.given, ("top", "bottom"), strict=True):
        read = given.images[np.array([3, 17])]
        assert read.dtype == np.uint8
        for i, image in zip((3, 17), read, strict=True):
            marked = oracle(np.ones((1, SIDE, SIDE)), weight[train_set.labels[i]], 0.2, which, 0.0)[0] > 0
            np.testing.assert_array_equal(image[marked], train_set.images[i][marked])
            np.testing.assert_array_equal(image[~marked], np.tile([0, 128, 255], (51, 1)))
        np.testing.assert_array_equal(given.images[3], read[0])
        assert given.labels is train_set.labels


def test_predicted_classes_give_other_maps_than_true_ones() -> None:
    found = []
    for target in ("true", "predicted"):
        counting, options = Counting(), {"levels": [0.5], "seeds": [0], "target": target}
        diff_roar(classifier(), corner_images(30, 0), corner_images(9, 1), Gradient(), counting, **options)  # type: ignore[arg-type]
        found.append(counting.given[0][0].images[np.arange(30)])
    assert not np.array_equal(found[0], found[1])


def test_finished_retrainings_are_not_repeated(tmp_path: Path) -> None:
    out, sets, heard = tmp_path / "cells" / "table.csv", (corner_images(60, 0), corner_images(40, 1)), []
    options: dict[str, Any] = {"levels": [0.1, 0.3], "seeds": [0, 1], "out": out}
    with pytest.raises(KeyboardInterrupt):
        diff_roar(classifier(), *sets, Corner(), Counting(stop=3), **options)
    counting = Counting()
    report: Any = lambda *told: heard.append(told)  # noqa: E731
    result = diff_roar(classifier(), *sets, Corner(), counting, progress=report, **options)
    assert len(counting.given) == 8 - 3
    assert heard[-1] == (8, 8)
    whole = diff_roar(classifier(), *sets, Corner(), Counting(), **(options | {"out": None}))
    assert torch.equal(result.top, whole.top)
    assert torch.equal(result.bottom, whole.bottom)
    again = Counting(stop=0)
    assert torch.equal(diff_roar(classifier(), *sets, Corner(), again, **options).top, whole.top)
    assert list(out.parent.iterdir()) == [out]


def test_what_was_measured_under_other_conditions_is_not_used(tmp_path: Path) -> None:
    sets = corner_images(60, 0), corner_images(40, 1)
    options: dict[str, Any] = {"levels": [0.1], "seeds": [0], "out": tmp_path / "table.csv"}
    diff_roar(classifier(), *sets, Corner(), Counting(), **options)
    moved = classifier()
    next(moved.parameters()).data += 1e-3
    relabelled = replace(sets[0], labels=1 - sets[0].labels)
    # The same names, shapes, means and deviations.
    mirrored, other_test = (replace(each, images=each.images[:, :, ::-1]) for each in sets)
    changed: list[tuple[Classifier, ImageSet, ImageSet, Corner, dict[str, Any]]] = [
        (moved, *sets, Corner(), {}),
        (classifier(), relabelled, sets[1], Corner(), {}),
        (classifier(), mirrored, sets[1], Corner(), {}),
        (classifier(), sets[0], other_test, Corner(), {}),
        (classifier(), *sets, Corner("last"), {}),
        (classifier(), *sets, Corner(), {"target": "predicted"}),
        (classifier(), *sets, Corner(), {"fill": (0.0, 0.0, 0.0)}),
    ]
    for network, train_set, test_set, attribution, more in changed:
        counting = Counting()
        diff_roar(network, train_set, test_set, attribution, counting, **options, **more)
        assert len(counting.given) == 2
    unchanged = Counting(stop=0)
    diff_roar(classifier(), *sets, Corner(), unchanged, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ()}, "pass at least one of each"),
        ({"levels": (0.5, 1.0)}, "levels are shares"),
        ({"seeds": ()}, "pass at least one"),
        ({"target": "both"}, "target='both' is not known"),
    ],
)
def test_errors_say_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        score("first", **options)


def test_bad_masks_are_refused() -> None:
    images = torch.zeros(1, 3, 4, 4)
    for arguments, message in (
        ((torch.zeros(1, 4, 5), 0.5), "maps have shape"),
        ((torch.zeros(1, 4, 4), 0.0), "keep=0.0 is not a share"),
        ((torch.full((1, 4, 4), torch.nan), 0.5), "maps holds NaN"),
        ((torch.zeros(1, 4, 4), 0.5, "middle"), "which='middle' is not known"),
    ):
        with pytest.raises(ArgumentError, match=message):
            masked_images(images, *arguments)


@pytest.mark.parametrize(
    "text", [b"a,b\n1,2\n", b"key,k,which,seed,accuracy\na,.1,top,0,hig", b"\xff\xfe", b'key,"k\n', b"key\x00\n1\n"]
)
def test_a_file_that_is_something_else_is_kept(tmp_path: Path, text: bytes) -> None:
    out = tmp_path / "notes.csv"
    out.write_bytes(text)
    with pytest.raises(GradsculptError, match="is no table of DiffROAR"):
        score("first", out=out)
    assert out.read_bytes() == text


def test_a_table_has_one_writer(tmp_path: Path) -> None:
    out, refused = tmp_path / "table.csv", list[str]()

    def write() -> None:
        try:
            score("second", out=out)
        except GradsculptError as error:
            refused.append(str(error))

    with locked(tmp_path, "diff_roar", name=".table.csv.lock"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert "is being written to (diff_roar by" in refused[0]
    assert list(tmp_path.iterdir()) == []


def test_retraining_trains_as_a_run_does_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    labels = np.arange(48) % 2
    pixels = (random.integers(0, 100, (48, 16, 16, 3)) + 120 * labels[:, None, None, None]).astype(np.uint8)
    image_set = ImageSet(pixels, labels, ("dark", "bright"), tuple(map(str, range(48))))
    settings = TrainSettings(out=tmp_path / "run", model="convnet", epochs=2, batch_size=8, augment=Augment(crop=0.0))
    before = torch.get_rng_state()
    made = [Retraining(settings)(image_set, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert list(tmp_path.iterdir()) == []
    first, again, other = ([p.detach() for p in each.parameters()] for each in made)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not made[0].network.training
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    assert (made[0](images).argmax(dim=1).numpy() == labels).mean() > 0.9


def test_a_retraining_is_named_by_what_decides_the_weights(tmp_path: Path) -> None:
    settings = TrainSettings(out=tmp_path)
    same, other = replace(settings, out=tmp_path / "x", threads=1, seed=5), replace(settings, epochs=3)
    assert repr(Retraining(settings)) == repr(Retraining(same)) != repr(Retraining(other))


def test_retraining_has_no_teacher(tmp_path: Path) -> None:
    settings = TrainSettings(out=tmp_path, objective=ExplanationDistillation(weight=1.0, eps=0.1))
    with pytest.raises(RunError, match="trains a teacher first"):
        Retraining(settings)(corner_images(4, 0), 0)
