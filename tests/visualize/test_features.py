"""The image of a class: its spectrum and colours, its random views, and where the ascent ends."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradsculpt import visualize
from gradsculpt.attributions.gradient import Output
from gradsculpt.cli.main import main
from gradsculpt.errors import ArgumentError, ModelError
from gradsculpt.inputs import InputSpace
from gradsculpt.models import Classifier, load
from gradsculpt.visualize import IMAGENET_COLOURS, Ascent, class_features, colour_matrix
from gradsculpt.visualize.features import variation
from gradsculpt.visualize.spectrum import Colours, Spectrum
from tests.networks import Recorder, same_state, state

SIDE = 16
SPACE = InputSpace((0.5, 0.45, 0.4), (0.25, 0.2, 0.3))
GREY: Colours = ((1.0,),)
STILL = Ascent(jitter=0.0, zoom=1.0, rotation=0.0)
GENTLE = Ascent(jitter=0.06, zoom=1.1, rotation=5.0)
QUICK = Ascent(steps=12, lr=0.2)

Array = npt.NDArray[np.float64]


def network(dropout: float = 0.0) -> nn.Sequential:
    """Return a small network of four classes, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        body = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Softplus(), nn.Conv2d(8, 12, 3, stride=2)]
        head = nn.Linear(48, 4)
        end = [nn.Softplus(), nn.Dropout(dropout), nn.AdaptiveAvgPool2d(2), nn.Flatten(), head]
        head.weight.data *= 20  # logits that differ as those of a trained network do, with no favourite class
        model = nn.Sequential(*body, *end).eval()
        head.bias.data -= logits(model, torch.rand(99, 3, SIDE, SIDE)).mean(dim=0)
        return model


def logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = model(SPACE.normalize(images))
    return scores


def slow_images(coefficients: Array, colours: Colours, decay: float) -> Array:
    """Add up the waves one by one, mix the planes into colours, and take the sigmoid."""
    channels, side, half = coefficients.shape[:3]
    wave = np.fft.fftfreq(side)
    weight = np.empty((side, side))
    for i in range(side):
        for j in range(side):
            weight[i, j] = max(np.hypot(wave[i], wave[j]), 1 / side) ** -decay
    weight /= np.sqrt(2 * np.mean(weight**2))
    planes = np.zeros((channels, side, side))
    for c in range(channels):
        for y in range(side):
            for x in range(side):
                for i in range(side):
                    for j in range(half):
                        alone = j == 0 or 2 * j == side
                        turn = np.exp(2j * np.pi * (i * y + j * x) / side)
                        term = complex(*coefficients[c, i, j]) * turn * weight[i, j] / side
                        planes[c, y, x] += term.real * (np.sqrt(2) if alone else 2)
    mix = np.array(colours) / np.linalg.norm(colours, axis=0).max()
    images: Array = 1 / (1 + np.exp(-np.einsum("dc,cyx->dyx", mix, planes)))
    return images


@pytest.mark.parametrize(("side", "decay"), [(4, 1.0), (5, 1.5)])
def test_images_are_sums_of_waves_in_mixed_colours(side: int, decay: float) -> None:
    spectrum = Spectrum(side, decay=decay)
    coefficients = torch.randn(spectrum.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = spectrum.images(coefficients[None])[0]
    np.testing.assert_allclose(found, slow_images(coefficients.numpy(), IMAGENET_COLOURS, decay), atol=1e-12)


@pytest.mark.parametrize(("side", "decay"), [(32, 1.0), (33, 1.0), (32, 0.0), (32, 2.0)])
def test_noise_has_variance_1_and_a_spectrum_that_falls_as_asked(side: int, decay: float) -> None:
    spectrum = Spectrum(side, GREY, decay)
    noise = torch.randn(600, *spectrum.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    planes = torch.special.logit(spectrum.images(noise))[:, 0].numpy()
    assert np.mean(planes**2) == pytest.approx(1, rel=0.05)
    power = np.mean(np.abs(np.fft.fft2(planes, norm="ortho")) ** 2, axis=0)
    wave = np.fft.fftfreq(side)
    frequency = np.hypot(wave[:, None], wave)
    ratio = np.sqrt(power[frequency > 0]) * frequency[frequency > 0] ** decay
    assert ratio.max() / ratio.min() < 1.4  # the noise of 600 samples; a wrong column would be off by a factor


def test_the_colours_of_noise_vary_together_as_asked() -> None:
    spectrum = Spectrum(32)
    noise = torch.randn(300, *spectrum.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    colours = torch.special.logit(spectrum.images(noise)).transpose(0, 1).flatten(1).numpy()
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    np.testing.assert_allclose(
        np.corrcoef(colours), np.corrcoef(root @ np.random.default_rng(0).normal(size=(3, 99999))), atol=0.05
    )


def test_a_colour_matrix_is_a_root_of_the_covariance_with_orthogonal_columns() -> None:
    pixels = np.random.default_rng(3).random((5, 3, 6, 7)) * np.array([1.0, 0.5, 0.1])[:, None, None]
    pixels[:, 1] += 0.4 * pixels[:, 0]
    matrix = np.array(colour_matrix(torch.from_numpy(pixels)))
    np.testing.assert_allclose(matrix @ matrix.T, np.cov(pixels.transpose(1, 0, 2, 3).reshape(3, -1), ddof=0))
    square = matrix.T @ matrix
    np.testing.assert_allclose(square - np.diag(np.diag(square)), 0, atol=1e-12)
    assert (np.diff(np.diag(square)) < 0).all()
    with pytest.raises(ArgumentError, match="alike"):
        colour_matrix(torch.full((2, 3, 4, 4), 0.5))


def test_total_variation_sums_the_steps_between_neighbours() -> None:
    images = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for image, value in zip(images.numpy(), variation(images), strict=True):
        steps = 0.0
        for plane in image:
            for y in range(5):
                for x in range(5):
                    steps += abs(plane[y, x] - plane[y - 1, x]) if y else 0
                    steps += abs(plane[y, x] - plane[y, x - 1]) if x else 0
        assert float(value) == pytest.approx(steps / 2 / 5)


def test_views_move_as_far_as_they_say() -> None:
    images = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def view(x: float, y: float, **settings: Any) -> Tensor:
        return replace(STILL, **settings).view(images, torch.tensor([[1.0], [1.0], [x], [y]]))

    right = view(1.0, 0.5, jitter=0.25)  # read 3 pixels further right
    torch.testing.assert_close(right[..., :9], images[..., 3:])
    torch.testing.assert_close(right[..., 9:], images[..., 9:].flip(3))
    down = view(0.5, 0.0, jitter=0.25)
    torch.testing.assert_close(down[..., 3:, :], images[..., :9, :])
    torch.testing.assert_close(view(0.5, 0.5, rotation=90.0), images.rot90(1, (2, 3)))
    middle = images[..., 3:9, 3:9]
    torch.testing.assert_close(
        view(0.5, 0.5, zoom=2.0).mean(),
        nn.functional.interpolate(middle, 12, mode="bilinear").mean(),
        atol=0.02,
        rtol=0,
    )


@pytest.mark.parametrize("side", [7, 32])
def test_views_keep_the_shape_and_can_be_differentiated(side: int) -> None:
    ascent, generator = Ascent(jitter=0.2, zoom=1.4, rotation=20.0), torch.Generator().manual_seed(6)
    images = torch.rand(3, 2, side, side, generator=generator, dtype=torch.float64, requires_grad=True)
    seen = ascent.view(images, torch.rand(4, 3, generator=generator))
    assert seen.shape == images.shape
    assert seen.min() >= 0
    assert seen.max() <= 1
    if side == 7:
        unit = torch.rand(4, 3, generator=generator)
        assert torch.autograd.gradcheck(lambda point: ascent.view(point, unit), images)
    with torch.no_grad():
        pair = ascent.view(images[:1].expand(2, -1, -1, -1), torch.rand(4, 2, generator=generator))
    assert (pair[0] - pair[1]).abs().max() > 0.01


def test_the_logit_rises_far_above_that_of_noise_and_views_do_not_lower_it() -> None:
    model = network()
    images, reached = class_features(
        model, [0, 1, 2, 3], SPACE, SIDE, replace(GENTLE, steps=30, lr=0.2, total_variation=0.01)
    )
    torch.testing.assert_close(reached, logits(model, images).diagonal())
    noise = logits(model, torch.rand(200, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(7)))
    assert (reached > noise.mean(dim=0) + 6 * noise.std(dim=0)).all()
    moved = GENTLE.view(images, torch.rand(4, 4, generator=torch.Generator().manual_seed(8)))
    assert (logits(model, moved).diagonal() > noise.mean(dim=0) + 2 * noise.std(dim=0)).all()
    assert images.shape == (4, 3, SIDE, SIDE)
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_total_variation_falls_with_its_weight() -> None:
    found = [
        class_features(network(), [1, 2], SPACE, SIDE, Ascent(25, 0.2, total_variation=weight))
        for weight in (0.0, 0.1, 1.0)
    ]
    none, some, much = (variation(one.images) for one in found)
    assert (none > some).all()
    assert (some > much).all()
    assert (found[0].reached > found[2].reached).all()


def test_a_heavy_total_variation_does_not_hold_an_image_at_grey() -> None:
    def contrast(x: Tensor) -> Tensor:  # flat at grey, where every edge costs total variation already
        return 60 * x.var(dim=(2, 3))

    found = class_features(
        contrast, [0], image_size=SIDE, ascent=replace(STILL, steps=60, lr=0.05, total_variation=2.0)
    )
    assert found.reached > 5


@pytest.mark.parametrize("output", ["probability", "log_probability"])
def test_other_outputs_are_raised_too(output: Output) -> None:
    model = network()
    images, reached = class_features(
        model, [2], SPACE, SIDE, replace(GENTLE, steps=30, lr=0.2, total_variation=0.0, output=output)
    )
    probability = logits(model, images).softmax(1)[:, 2]
    torch.testing.assert_close(reached, probability.log() if output == "log_probability" else probability)
    assert probability > 0.9


def test_a_class_has_one_image_alone_in_company_and_in_any_grouping() -> None:
    model = network()
    together = class_features(model, torch.tensor([3, 0, 1]), SPACE, SIDE, QUICK)
    for i, index in enumerate((3, 0, 1)):
        alone = class_features(model, [index], SPACE, SIDE, QUICK)
        torch.testing.assert_close(alone.images[0], together.images[i], atol=1e-3, rtol=0)
    grouped = class_features(model, [3, 0, 1], SPACE, SIDE, QUICK, batch_size=2)
    torch.testing.assert_close(grouped.images, together.images, atol=1e-3, rtol=0)
    assert (together.images[0] - together.images[1]).abs().max() > 0.05


def test_the_seed_decides_and_nothing_else_does() -> None:
    first = class_features(network(), [0], SPACE, SIDE, QUICK)
    torch.manual_seed(99)
    assert torch.equal(first.images, class_features(network(), [0], SPACE, SIDE, QUICK).images)
    other = class_features(network(), [0], SPACE, SIDE, Ascent(steps=12, lr=0.2, seed=1))
    assert (first.images - other.images).abs().max() > 0.01
    starts = class_features(network(), [0, 1], SPACE, SIDE, Ascent(steps=0))
    assert (starts.images[0] - starts.images[1]).abs().max() > 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_no_trace_is_left(training: bool) -> None:
    model = network(dropout=0.5).train(training)
    torch.manual_seed(3)
    before, first = state(model), class_features(model, [0, 1], SPACE, SIDE, QUICK)
    torch.manual_seed(4)
    random, found = torch.get_rng_state(), class_features(model, [0, 1], SPACE, SIDE, QUICK)
    assert torch.equal(found.images, first.images)  # dropout masks included
    assert same_state(before, state(model))
    assert torch.equal(random, torch.get_rng_state())
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not found.images.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(class_features(model, [0, 1], SPACE, SIDE, QUICK).images, found.images)


def test_a_classifier_brings_its_space_and_size() -> None:
    model = network()
    classifier = Classifier(model, SPACE, ("a", "b", "c", "d"), SIDE)
    assert torch.equal(
        class_features(classifier, [1], ascent=QUICK).images, class_features(model, [1], SPACE, SIDE, QUICK).images
    )
    with pytest.raises(ArgumentError, match="leave the space out"):
        class_features(classifier, [1], SPACE)


def test_any_callable_channels_and_precision() -> None:
    weights = torch.linspace(-1, 1, 81, dtype=torch.float64).view(1, 9, 9)
    found = class_features(
        lambda x: torch.stack([(x * weights).sum((1, 2, 3)), x.sum((1, 2, 3))], 1),
        [0],
        InputSpace((0.5,), (0.5,)),
        9,
        QUICK,
    )
    assert found.images.shape == (1, 1, 9, 9)
    assert found.images[0, 0, -1].mean() > found.images[0, 0, 0].mean()
    recorder = Recorder(network().double())
    assert class_features(recorder, [0], SPACE, SIDE, Ascent(steps=1)).images.dtype == torch.float64
    assert all(x.dtype == torch.float64 for x in recorder.seen)
    half = class_features(network().to(torch.bfloat16), [0], SPACE, SIDE, QUICK)
    assert half.images.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        cast = class_features(network(), [0], SPACE, SIDE, QUICK)
    assert cast.reached > class_features(network(), [0], SPACE, SIDE, Ascent(steps=0)).reached


def test_progress_counts_every_step_of_every_group() -> None:
    seen = []
    class_features(
        network(), [0, 1, 2], SPACE, SIDE, Ascent(steps=2), batch_size=2, progress=lambda *now: seen.append(now)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": -1}, "steps"),
        ({"lr": 0.0}, "lr"),
        ({"jitter": 0.6}, "jitter"),
        ({"zoom": 0.9}, "zoom"),
        ({"rotation": -1.0}, "rotation"),
        ({"total_variation": -0.1}, "total_variation"),
        ({"decay": float("nan")}, "decay"),
        ({"output": "loss"}, "output"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Ascent(**settings)


@pytest.mark.parametrize(
    ("classes", "change", "words"),
    [
        ([4], {}, "4 outputs"),
        ([-1], {}, "which no class has"),
        ([], {}, "number of classes"),
        ([0.5], {}, "class indices"),
        (torch.zeros(1, 1, dtype=torch.int64), {}, "class indices"),
        ([0], {"image_size": None}, "image_size"),
        ([0], {"batch_size": 0}, "batch_size"),
        ([0], {"colours": GREY}, "3 channels"),
        ([0], {"colours": ((1.0, 0.0),) * 3}, "square"),
        ([0], {"colours": ((0.0,) * 3,) * 3}, "colours"),
    ],
)
def test_what_cannot_be_sought_is_refused(classes: Any, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        class_features(network(), classes, **{"space": SPACE, "image_size": SIDE, "ascent": Ascent(steps=1), **change})


def test_an_output_that_is_not_finite_is_an_error() -> None:
    model = network()
    with torch.no_grad():
        list(model.parameters())[-1][2] = float("nan")
    with pytest.raises(ModelError, match="class 2"):
        class_features(model, [0, 2], SPACE, SIDE, Ascent(steps=1))


def test_the_names_are_exported() -> None:
    assert {"Ascent", "ClassFeatures", "class_features", "colour_matrix", "IMAGENET_COLOURS"} <= set(visualize.__all__)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pixels = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, level in (("dark one", 40), ("light", 200)):
        (folder / name).mkdir()
        for i in range(12):
            noise = pixels.integers(-20, 20, (16, 16, 3))
            Image.fromarray((level + noise).astype(np.uint8)).save(folder / name / f"{i:02}.png")
    out = tmp_path_factory.mktemp("runs") / "standard"
    words = ["train", "--data", f"folder:{folder}", "--val-fraction", "0.2", "--image-size", "16", "--batch-size", "16"]
    assert main([*words, "--threads", "1", "--epochs", "1", "--out", str(out)]) == 0
    return out


def test_the_command_writes_a_picture_a_class_an_index_and_a_sheet(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    few = ["--steps", "3", "--lr", "0.2", "--total-variation", "0.1", "--device", "cpu"]
    assert main(["features", str(run), "--classes", "light", "dark one", "--out", str(tmp_path / "a"), *few]) == 0
    with (tmp_path / "a" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["light", "dark one"]
    ascent = Ascent(steps=3, lr=0.2, total_variation=0.1)
    images, reached = class_features(load(run), [1, 0], ascent=ascent)
    assert [float(row["reached"]) for row in rows] == pytest.approx(reached.tolist(), abs=1e-3)
    picture = np.asarray(Image.open(tmp_path / "a" / rows[0]["file"]))
    assert np.abs(picture[::14, ::14] / 255 - images[0].permute(1, 2, 0).numpy()).max() < 0.01
    assert Image.open(tmp_path / "a" / "sheet.png").width > 200
    assert main(["features", str(run), "--colours", "data", "--out", str(tmp_path / "b"), *few]) == 0
    assert len(list((tmp_path / "b").glob("*-*.png"))) == 2
    coloured = (tmp_path / "b" / rows[0]["file"]).read_bytes()
    assert coloured != (tmp_path / "a" / rows[0]["file"]).read_bytes()
    capfd.readouterr()
    assert main(["features", str(run), "--classes", "lihgt", "--out", str(tmp_path / "c")]) == 2
    error = capfd.readouterr().err
    assert "Did you mean light?" in error
    assert error.count("\n") == 1
